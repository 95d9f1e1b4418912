"""Engines behind hotkeys, probed together by the real rules: who proves what, burst by burst."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from subnet.core.capacity import (
    BurstResult,
    Capacity,
    CapacityParams,
    after_burst,
    has_fallen,
    paid_tps_milli,
)
from subnet.core.cover import (
    Cover,
    Pair,
    draw_cover,
    draw_pair,
    group_of,
    met_ppm,
    pairs,
    retries_max,
    suspects_of,
    tried_again_for,
)

ENGINE_TPS_MILLI = 500_000
Sharing = Callable[[str, int], int]
"""(hotkey, hotkeys of its engine in this burst) -> rate."""


def equally(_: str, present: int) -> int:
    """An engine that serves all requests alike."""
    return ENGINE_TPS_MILLI // present


def names(count: int) -> list[str]:
    """So many hotkeys."""
    return [f"miner-{number}" for number in range(count)]


@dataclass
class Probed:
    """A subnet under bursts; `engine_of` names each hotkey's engine."""

    engine_of: Mapping[str, str]
    params: CapacityParams
    seed: int = 0
    noise: float = 0.0
    """Standard deviation of a rate, as a share of it."""
    sharing: Sharing = equally
    is_up: Callable[[str, int], bool] = lambda *_: True
    """(hotkey, burst) -> whether it answers at all."""
    known: dict[str, Capacity] = field(default_factory=dict)
    bursts: int = 0
    covers: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    """In which cover each last had a second try."""
    income: Counter[str] = field(default_factory=Counter)
    """Sum over bursts of what was paid."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._pay: dict[str, int] = {}
        self._secret = self.seed.to_bytes(32, "little")

    def cover(self) -> None:
        """One whole cover."""
        cover = draw_cover(
            self._secret, self.bursts + 1, self.engine_of, self._suspects(), self.params
        )
        self.covers += 1
        left = pairs(len(cover.blocks))
        retries = retries_max(len(cover.blocks))
        again: list[tuple[Pair, dict[str, tuple[int, ...]]]] = []
        while left or again:
            is_first = not again
            pair, group = again.pop() if again else (self._next(cover, left), {})
            group |= group_of(cover, pair, self._suspects(), (), self.params)
            fallen = self._burst(cover, group, is_first=is_first)
            blocks = len(cover.blocks)
            wanted = tried_again_for(fallen, self.asked, self.covers, retries, blocks)
            if wanted:
                self.asked |= dict.fromkeys(wanted, self.covers)
                retries -= 1
                again.append((pair, group))

    def _next(self, cover: Cover, left: list[Pair]) -> Pair:
        met = {hotkey: self.known.get(hotkey, Capacity()).met_ppm for hotkey in cover.hotkeys}
        pair = draw_pair(self._secret, self.bursts, left, cover, met)
        left.remove(pair)
        return pair

    def _suspects(self) -> dict[str, int]:
        return suspects_of(self.known, self.params.shortfall_tolerated_ppm)

    def _burst(
        self, cover: Cover, group: Mapping[str, tuple[int, ...]], *, is_first: bool
    ) -> list[str]:
        """Who fell in it."""
        present = Counter(self.engine_of[hotkey] for hotkey in group)
        fallen = []
        for hotkey, beside in group.items():
            rate = self.sharing(hotkey, present[self.engine_of[hotkey]])
            rate = round(rate * max(0.0, self._dice.gauss(1.0, self.noise)))
            result = BurstResult(
                cover=cover.number,
                burst=self.bursts,
                beside=beside,
                met_ppm=met_ppm(cover, beside) if is_first else 0,
                rate_tps_milli=rate if self.is_up(hotkey, self.bursts) else 0,
            )
            before = self.known.get(hotkey, Capacity())
            if has_fallen(before, result.rate_tps_milli, self.params):
                fallen.append(hotkey)
            self.known[hotkey] = after_burst(before, result, self.params)
            self._pay[hotkey] = paid_tps_milli(self.known[hotkey], self.params)
        self.bursts += 1
        self.income.update(self._pay)
        return fallen

    def paid(self, *hotkeys: str) -> int:
        """What these are paid for now."""
        return sum(self._pay[hotkey] for hotkey in hotkeys)
