"""turn, miner -> ECHO DESK -> dispatcher: which user's prompt a request of our own asks again."""

from typing import Final

from subnet.config import Settings
from subnet.core.draws import period_secret
from subnet.core.echoes import PeriodEchoes
from subnet.core.history import UserPrompt
from subnet.store import ValidatorStore

PERIODS_KEPT: Final = 2
"""A turn that is taken as a period ends is asked when the next one has begun."""


class EchoDesk:
    """Finds the words of drawn echoes. Remembers periods, which only saves time."""

    def __init__(self, *, store: ValidatorStore, settings: Settings, release_digest: str) -> None:
        self._store = store
        self._rules = settings.rules
        self._release_digest = release_digest
        self._periods: dict[int, tuple[PeriodEchoes, dict[str, UserPrompt]]] = {}

    def drawn(self, period: int, counter: int, hotkey: str) -> UserPrompt | None:
        """The user's prompt that this turn asks of this miner; None for a generated task."""
        if period not in self._periods:
            while len(self._periods) >= PERIODS_KEPT:
                del self._periods[min(self._periods)]
            self._periods[period] = self._begin(period)
        echoes, prompts = self._periods[period]
        digest = echoes.drawn(counter, hotkey)
        return None if digest is None else prompts[digest]

    def _begin(self, period: int) -> tuple[PeriodEchoes, dict[str, UserPrompt]]:
        start = self._store.period_start(period)
        assert start is not None, "nobody is asked before a period has begun"
        assert start.first_counter is not None, "likewise"
        echoes = PeriodEchoes(
            period_secret(self._store.master_secret, period),
            start.first_counter,
            start.pool,
            self._rules,
            self._release_digest,
        )
        wanted = {one.digest for one in start.pool.prompts}
        prompts = [one for one in self._store.prompts() if one.has_consent] if wanted else []
        return echoes, {one.digest: one for one in prompts if one.digest in wanted}
