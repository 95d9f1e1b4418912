"""failures of two hotkeys -> COINCIDENCE: do they fail together more than independence allows?

Two hotkeys on one machine stall together; two that share a cache are wrong together. But so are all
when the network is down or a kind of task is hard. So time is cut into bins, and bins are grouped
by how many of the *other* miners failed in them, and by family of task: within a group, a pair's
joint failures are counted against what its own failures make likely. Bins in which half of the
others failed say nothing about a pair, and are left out.

Null: within a group, the two fail independently. Bound: with independent miners, a report shows any
pair as a finding with probability at most `LEVEL`.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from subnet.core.gaming.chance import LEVEL, SAMPLE_MIN, Stratum, stratified_tail
from subnet.core.gaming.mark import Observation

BIN_NS: Final = 60 * 10**9
OTHERS_SHARES: Final = (0.0, 0.1, 0.3)
"""Bins are grouped by the share of other miners that failed: none, up to a tenth, up to three."""
OUTAGE_SHARE: Final = 0.5
"""From this share on the fault is not a pair's."""
RIGHT: Final = 0.5
"""A grade below is a wrong answer."""

_Failed = dict[tuple[str, int], dict[str, bool]]
"""(family, bin) -> hotkey -> whether it failed there."""


@dataclass(frozen=True, slots=True)
class Coincidence:
    """Two hotkeys that fail together."""

    hotkeys: tuple[str, str]
    kind: str
    """`faults` or `wrong answers`."""
    bins: int
    """In which both were seen and most others did well."""
    together: int
    expected: float
    """By independence, within the groups of bins."""
    p_value: float
    level: float
    """The p-value that makes a finding, `LEVEL` over all pairs of that kind."""

    @property
    def is_finding(self) -> bool:
        """Whether chance does not explain it."""
        return self.p_value < self.level


def coincidences(observations: Sequence[Observation], level: float = LEVEL) -> list[Coincidence]:
    """Every pair that ever failed together and shares 20 bins, the least likely first."""
    found = [
        one
        for kind, failed in (
            ("faults", _bins(observations, _fault)),
            ("wrong answers", _bins(observations, _wrong)),
        )
        for one in _of_kind(kind, failed, level)
    ]
    return sorted(found, key=lambda one: (one.p_value, one.kind, one.hotkeys))


def _fault(one: Observation) -> tuple[str, bool]:
    return "", one.mark.fault is not None


def _wrong(one: Observation) -> tuple[str, bool] | None:
    return None if one.grade is None else (one.family, one.grade < RIGHT)


def _bins(
    observations: Sequence[Observation],
    failure: Callable[[Observation], tuple[str, bool] | None],
) -> _Failed:
    """A hotkey failed in a bin if it failed in at least half of its requests there."""
    seen: defaultdict[tuple[str, int], defaultdict[str, list[bool]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in observations:
        found = failure(one)
        if found is not None:
            family, has_failed = found
            at = (family, one.mark.sent_at_ns // BIN_NS)
            seen[at][one.mark.miner_hotkey].append(has_failed)
    return {
        at: {hotkey: 2 * sum(each) >= len(each) for hotkey, each in by_hotkey.items()}
        for at, by_hotkey in seen.items()
    }


def _of_kind(kind: str, failed: _Failed, level: float) -> list[Coincidence]:
    bins_of: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for at, by_hotkey in failed.items():
        for hotkey in by_hotkey:
            bins_of[hotkey].add(at)
    pairs = {
        pair: bins_of[pair[0]] & bins_of[pair[1]]
        for pair in itertools.combinations(sorted(bins_of), 2)
    }
    pairs = {pair: shared for pair, shared in pairs.items() if len(shared) >= SAMPLE_MIN}
    found = []
    for pair, shared in pairs.items():
        strata = _strata(pair, shared, failed)
        together = sum(one.both for one in strata)
        if together:
            expected = math.fsum(one.first * one.second / one.units for one in strata)
            tail = stratified_tail(strata)
            bins = sum(one.units for one in strata)
            found.append(
                Coincidence(pair, kind, bins, together, expected, tail, level / len(pairs))
            )
    return found


def _strata(
    pair: tuple[str, str],
    shared: set[tuple[str, int]],
    failed: Mapping[tuple[str, int], dict[str, bool]],
) -> list[Stratum]:
    groups: defaultdict[tuple[str, int], list[tuple[bool, bool]]] = defaultdict(list)
    for at in shared:
        by_hotkey = failed[at]
        first, second = by_hotkey[pair[0]], by_hotkey[pair[1]]
        others = len(by_hotkey) - 2
        share = (sum(by_hotkey.values()) - first - second) / others if others else 0.0
        if share < OUTAGE_SHARE:
            groups[at[0], sum(share > bound for bound in OTHERS_SHARES)].append((first, second))
    return [
        Stratum(
            units=len(each),
            first=sum(first for first, _ in each),
            second=sum(second for _, second in each),
            both=sum(first and second for first, second in each),
        )
        for each in groups.values()
    ]
