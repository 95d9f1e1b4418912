"""prober, auditor -> BOOK -> weight setter: the standings in memory, as the store has them.

All three run in one event loop and change a standing in one step without waiting in between, so
there is one writer at a time; each saves to the store first, then here.
"""

from collections.abc import Iterable

from subnet.core.standing import (
    MinerStanding,
    fitted_standing,
    fresh_standing,
    moved_standing,
)
from subnet.core.verification.evidence import EvidenceParams
from subnet.ports import ValidatorStore


class StandingBook:
    """The standings of one release, by hotkey."""

    def __init__(
        self, store: ValidatorStore, release_digest: str, evidence: EvidenceParams
    ) -> None:
        self._release_digest = release_digest
        self._evidence = evidence
        self._by_hotkey: dict[str, MinerStanding] = {}
        for found in sorted(store.standings(), key=self._rank):
            self._by_hotkey[found.hotkey] = fitted_standing(found, evidence)

    def standing(self, hotkey: str) -> MinerStanding:
        """What is known of a hotkey on this release; a fresh standing if nothing is."""
        found = self._by_hotkey.get(hotkey)
        if found is None:
            return fresh_standing(hotkey, self._release_digest, self._evidence)
        if found.release_digest != self._release_digest:
            return moved_standing(found, self._release_digest)
        return found

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

    def _rank(self, standing: MinerStanding) -> tuple[bool, bool, float]:
        """The last in this order counts: this release's own, else the worst of the others."""
        is_own = standing.release_digest == self._release_digest
        return is_own, standing.closure is not None, standing.log_evidence
