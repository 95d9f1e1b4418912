"""standings, records -> BOOK -> scores: all miners' standings, moved by records alone.

The validator's roles run in one event loop and change a standing in one step without waiting in
between, so there is one writer at a time; each saves to the store first, then here. A replay keeps
the same book over an epoch's records.
"""

from collections.abc import Iterable

from subnet.core.records import Moving
from subnet.core.rules import RuleParams
from subnet.core.standing import (
    MinerStanding,
    fitted_standing,
    fresh_standing,
    moved_standing,
)


class StandingBook:
    """The standings on one release, by hotkey."""

    def __init__(
        self, found: Iterable[MinerStanding], release_digest: str, rules: RuleParams
    ) -> None:
        """`found` are those of every hotkey and release that are remembered."""
        self._release_digest = release_digest
        self._rules = rules
        self._by_hotkey: dict[str, MinerStanding] = {}
        for one in sorted(found, key=self._rank):
            self._by_hotkey[one.hotkey] = fitted_standing(one, rules.evidence)

    def standing(self, hotkey: str) -> MinerStanding:
        """What is known of a hotkey on this release; a fresh standing if nothing is."""
        found = self._by_hotkey.get(hotkey)
        if found is None:
            return fresh_standing(hotkey, self._release_digest, self._rules.evidence)
        if found.release_digest != self._release_digest:
            return moved_standing(found, self._release_digest)
        return found

    def after(self, record: Moving) -> MinerStanding:
        """The standing that a record leads to; `put` it once it is saved."""
        return record.apply(self.standing(record.miner_hotkey), self._rules)

    def put(self, standings: Iterable[MinerStanding]) -> None:
        """Take over standings that the store has."""
        for standing in standings:
            self._by_hotkey[standing.hotkey] = standing

    def known(self) -> list[MinerStanding]:
        """All standings on this release."""
        return [
            standing
            for standing in self._by_hotkey.values()
            if standing.release_digest == self._release_digest
        ]

    def remembered(self) -> list[MinerStanding]:
        """The standing of every hotkey, on whatever release it was last seen."""
        return list(self._by_hotkey.values())

    def _rank(self, standing: MinerStanding) -> tuple[bool, bool, float]:
        """The last in this order counts: this release's own, else the worst of the others."""
        is_own = standing.release_digest == self._release_digest
        return is_own, standing.closure is not None, standing.log_evidence
