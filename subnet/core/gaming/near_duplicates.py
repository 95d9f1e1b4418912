"""answers of two owners -> LIKENESS: do they give nearly the same answers to different prompts?

Honest answers of one release share phrases, so some pairs are alike whoever gave them. What is
counted is pairs of answers that share most of their shingles, one answer in one pair only, and what
it is held against is how often the same happens between all other owners.

Null: given its number, each pair of alike answers falls on a pair of owners in proportion to the
comparisons made there. Bound: with owners that answer independently, a report shows any two as a
finding with probability at most `LEVEL`.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from subnet.core.gaming.chance import LEVEL, SAMPLE_MIN, binomial_tail
from subnet.core.gaming.mark import Observation, likeness

ALIKE: Final = 0.6
"""Estimated Jaccard similarity from which two answers count as nearly the same."""
ANSWERS_MAX: Final = 200
"""Of one owner, drawn by hash of their request: time grows with the square of common phrases."""
COMMONPLACE: Final = 50
"""An answer that so many share is the release's own, not an owner's."""
BAND_BYTES: Final = 16
"""Four words of a sketch: answers .6 alike share one of 16 such bands in 89 % of cases, .7 in 99 %.
"""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two owners whose answers are alike."""

    owners: tuple[str, str]
    alike: int
    """Pairs of nearly equal answers to different prompts."""
    comparisons: int
    expected: float
    """Pairs by the rate between all other owners; 0 if there is no other pair."""
    p_value: float
    level: float
    """The p-value that makes a finding, `LEVEL` over all pairs of owners."""

    @property
    def is_finding(self) -> bool:
        """Whether chance does not explain it."""
        return self.p_value < self.level


def near_duplicates(
    observations: Sequence[Observation],
    owner_of: Mapping[str, str],
    level: float = LEVEL,
) -> list[Likeness]:
    """Every pair of owners that have 20 sketches each and any alike answers, the likest first.

    `owner_of` maps hotkeys to coldkeys; a hotkey that is not there counts as its own owner. Needs
    three owners or more: without others there is no telling what is common.
    """
    by_owner: defaultdict[str, list[Observation]] = defaultdict(list)
    for one in observations:
        if one.mark.sketch:
            by_owner[owner_of.get(one.mark.miner_hotkey, one.mark.miner_hotkey)].append(one)
    samples = {
        owner: sorted(answers, key=_lot)[:ANSWERS_MAX]
        for owner, answers in sorted(by_owner.items())
        if len(answers) >= SAMPLE_MIN
    }
    if len(samples) < 3:
        return []
    alike = _alike(samples)
    sizes = {owner: len(answers) for owner, answers in samples.items()}
    weights = {pair: sizes[pair[0]] * sizes[pair[1]] for pair in itertools.combinations(sizes, 2)}
    found = [
        _likeness(pair, hits, alike, weights, level / len(weights)) for pair, hits in alike.items()
    ]
    return sorted(found, key=lambda one: (one.p_value, one.owners))


def _lot(one: Observation) -> bytes:
    return hashlib.sha256(b"assay/alike/1\n" + one.mark.request_id.encode()).digest()


def _likeness(
    pair: tuple[str, str],
    hits: int,
    alike: Counter[tuple[str, str]],
    weights: Mapping[tuple[str, str], int],
    level: float,
) -> Likeness:
    """Given all alike pairs, how many of them should lie between these two.

    One more comparison with a hit elsewhere (Laplace), so that the first one anywhere is no proof.
    """
    others_hits = sum(alike.values()) - hits + 1
    others_weight = sum(weights.values()) - weights[pair]
    share = weights[pair] / (weights[pair] + others_weight)
    return Likeness(
        owners=pair,
        alike=hits,
        comparisons=weights[pair],
        expected=(others_hits - 1) * weights[pair] / others_weight,
        p_value=binomial_tail(hits, hits + others_hits, share),
        level=level,
    )


def _alike(samples: Mapping[str, Sequence[Observation]]) -> Counter[tuple[str, str]]:
    """Pairs of alike answers by pair of owners; an answer counts once in each pair of owners."""
    found: Counter[tuple[str, str]] = Counter()
    used: set[tuple[str, str]] = set()
    for (owner, one), (other_owner, other) in _candidates(samples):
        pair = (owner, other_owner)
        ends = ((one.mark.request_id, other_owner), (other.mark.request_id, owner))
        if used.isdisjoint(ends) and likeness(one.mark.sketch, other.mark.sketch) >= ALIKE:
            found[pair] += 1
            used.update(ends)
    return found


_Answer = tuple[str, Observation]


def _candidates(
    samples: Mapping[str, Sequence[Observation]],
) -> Iterator[tuple[_Answer, _Answer]]:
    """Answers of different owners to different prompts that share a band of their sketches."""
    bands: defaultdict[tuple[int, bytes], list[_Answer]] = defaultdict(list)
    for owner, answers in samples.items():
        for one in answers:
            sketch = one.mark.sketch
            for start in range(0, len(sketch), BAND_BYTES):
                bands[start, sketch[start : start + BAND_BYTES]].append((owner, one))
    for sharing in bands.values():
        if len(sharing) > COMMONPLACE:
            continue
        for first, second in itertools.combinations(sharing, 2):
            is_same_prompt = first[1].mark.prompt_digest == second[1].mark.prompt_digest
            if first[0] != second[0] and not is_same_prompt:
                yield (first, second) if first[0] < second[0] else (second, first)
