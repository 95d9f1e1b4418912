"""observations of two kinds of traffic -> GAP: does a miner serve users as it serves benchmarks?

Users ask other things than benchmarks do, so an honest miner's answers differ too: longer, slower,
at other margins. Its peers of the same release differ alike. So a miner's gap is counted against
the peers' gap:

    effect = (its organic - its benchmark) - median over peers of (organic - benchmark)

Null: the effect is 0. Bound: with honest miners alone, a report shows any gap as a finding with
probability at most `LEVEL`, as far as means of 20 or more are normal.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from subnet.core.audit import Traffic
from subnet.core.gaming.chance import (
    LEVEL,
    SAMPLE_MIN,
    Moments,
    half_width,
    moments,
    share_moments,
)
from subnet.core.gaming.mark import Observation

EFFECT_MIN: Final = 0.02
"""Two percent, of requests or of a time: less is nobody's gain."""
PEERS_MIN: Final = 3
"""Fewer have no median that one cheat could not be."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One measure of one miner, users against benchmarks, beyond what its peers show."""

    miner_hotkey: str
    measure: str
    organic: int
    """Observations of users' traffic."""
    benchmark: int
    effect: float
    """A difference of shares, or of natural logarithms of times and lengths."""
    low: float
    """Confidence interval, at a level that all miners and measures share."""
    high: float

    @property
    def is_finding(self) -> bool:
        """Whether neither chance explains it nor it is too small to matter."""
        return self.low > EFFECT_MIN or self.high < -EFFECT_MIN


@dataclass(frozen=True, slots=True)
class _Measure:
    value: Callable[[Observation], float | None]
    summary: Callable[[Sequence[float]], Moments]


def _no_answer(one: Observation) -> float:
    return float(one.mark.fault is not None)


def _loud(one: Observation) -> float | None:
    return None if one.is_loud is None else float(one.is_loud)


def _first_token(one: Observation) -> float | None:
    return _log(one, one.mark.first_token_us)


def _per_token(one: Observation) -> float | None:
    rest = one.mark.total_us - one.mark.first_token_us
    return _log(one, rest / max(1, one.mark.tokens - 1))


def _length(one: Observation) -> float | None:
    return _log(one, one.mark.tokens)


def _log(one: Observation, value: float) -> float | None:
    return None if one.mark.fault is not None else math.log(max(value, 1.0))


MEASURES: Final[Mapping[str, _Measure]] = {
    "no answer": _Measure(_no_answer, share_moments),
    "loud margins": _Measure(_loud, share_moments),
    "first token": _Measure(_first_token, moments),
    "per token": _Measure(_per_token, moments),
    "length": _Measure(_length, moments),
}


@dataclass(frozen=True, slots=True)
class _Sides:
    organic: Moments
    benchmark: Moments

    @property
    def gap(self) -> float:
        return self.organic.mean - self.benchmark.mean

    @property
    def variance(self) -> float:
        return self.organic.variance_of_mean + self.benchmark.variance_of_mean


def organic_gaps(observations: Sequence[Observation], level: float = LEVEL) -> list[Gap]:
    """Every measure of every miner with 20 observations of each traffic, and three such peers."""
    sides = {
        name: found
        for name, measure in MEASURES.items()
        if len(found := _sides(observations, measure)) > PEERS_MIN
    }
    looks = sum(len(found) for found in sides.values())
    return [
        _gap(name, hotkey, found, level / looks)
        for name, found in sides.items()
        for hotkey in found
    ]


def _sides(observations: Sequence[Observation], measure: _Measure) -> dict[str, _Sides]:
    samples: defaultdict[str, dict[Traffic, list[float]]] = defaultdict(
        lambda: {Traffic.ORGANIC: [], Traffic.BENCHMARK: []}
    )
    for one in observations:
        value = measure.value(one)
        # Echoes are on neither side: a miner takes them for users', and we for benchmarks.
        if value is not None and one.mark.traffic is not Traffic.ECHO:
            samples[one.mark.miner_hotkey][one.mark.traffic].append(value)
    return {
        hotkey: _Sides(
            measure.summary(values[Traffic.ORGANIC]), measure.summary(values[Traffic.BENCHMARK])
        )
        for hotkey, values in sorted(samples.items())
        if min(map(len, values.values())) >= SAMPLE_MIN
    }


def _gap(name: str, hotkey: str, sides: Mapping[str, _Sides], level: float) -> Gap:
    own, norm = sides[hotkey], _norm([one for peer, one in sides.items() if peer != hotkey])
    effect = own.gap - norm.mean
    width = half_width((own.organic, own.benchmark, norm), level)
    return Gap(
        miner_hotkey=hotkey,
        measure=name,
        organic=own.organic.count,
        benchmark=own.benchmark.count,
        effect=effect,
        low=effect - width,
        high=effect + width,
    )


def _norm(peers: Sequence[_Sides]) -> Moments:
    """The median of the peers' gaps, which one peer that cheats hardly moves.

    A median of k has pi / 2 of the variance of a mean of k; the peers' own spread counts if it is
    larger than chance makes it, as their machines differ.
    """
    middle = median(one.gap for one in peers)
    spread = (1.4826 * median(abs(one.gap - middle) for one in peers)) ** 2
    chance = math.fsum(one.variance for one in peers) / len(peers)
    return Moments(
        count=sum(one.organic.count + one.benchmark.count for one in peers),
        mean=middle,
        variance_of_mean=math.pi / 2 * max(spread, chance) / len(peers),
    )
