"""counts -> TAILS: how likely chance alone is, exactly where that is cheap.

All levels are split evenly over everything that is looked at (Bonferroni), so that they bound the
probability of any false finding in one report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

LEVEL: Final = 0.01
"""Probability of any false finding of one kind in a report of honest miners."""
SAMPLE_MIN: Final = 20
"""Observations of each side that a finding needs."""


@dataclass(frozen=True, slots=True)
class Moments:
    """A sample's mean with the variance of that mean."""

    count: int
    mean: float
    variance_of_mean: float


def moments(values: Sequence[float]) -> Moments:
    """Of two values or more."""
    count = len(values)
    assert count >= 2, count
    mean = math.fsum(values) / count
    spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Moments(count, mean, spread / count)


def share_moments(values: Sequence[float]) -> Moments:
    """Of zeros and ones, with one more of each (Agresti and Caffo), so that no variance is 0."""
    count = len(values) + 2
    share = (math.fsum(values) + 1) / count
    return Moments(len(values), share, share * (1 - share) / count)


def half_width(parts: Sequence[Moments], level: float) -> float:
    """Half of a two-sided confidence interval of a signed sum of independent means.

    Welch's degrees of freedom; Student's quantile by Cornish and Fisher, good from 10 degrees on.
    """
    variance = math.fsum(part.variance_of_mean for part in parts)
    if variance == 0:
        return 0.0
    shares = math.fsum(part.variance_of_mean**2 / (part.count - 1) for part in parts)
    degrees = variance**2 / shares
    z = NormalDist().inv_cdf(1 - level / 2)
    quantile = (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
    return quantile * math.sqrt(variance)


def binomial_tail(hits: int, count: int, share: float) -> float:
    """P(X >= hits) for X ~ Binomial(count, share)."""
    assert 0 <= share <= 1, share
    if hits <= 0:
        return 1.0
    if share in (0.0, 1.0):
        return float(share == 1.0 and hits <= count)
    return min(1.0, math.fsum(_binomial(k, count, share) for k in range(hits, count + 1)))


def _binomial(hits: int, count: int, share: float) -> float:
    chosen = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(chosen + hits * math.log(share) + (count - hits) * math.log1p(-share))


@dataclass(frozen=True, slots=True)
class Stratum:
    """Units of one kind, in which two parties each failed or not."""

    units: int
    first: int
    """Units in which the first failed."""
    second: int
    both: int


def stratified_tail(strata: Sequence[Stratum]) -> float:
    """P(as many joint failures or more), if within each stratum both fail independently.

    Exact, given how often each failed in each stratum: a convolution of hypergeometric
    distributions, which for one stratum is Fisher's one-sided test.
    """
    total = [1.0]
    for one in strata:
        law = _hypergeometric(one)
        out = [0.0] * (len(total) + len(law) - 1)
        for at, mass in enumerate(total):
            for more, part in enumerate(law):
                out[at + more] += mass * part
        total = out
    return min(1.0, math.fsum(total[sum(one.both for one in strata) :]))


def _hypergeometric(one: Stratum) -> list[float]:
    """Probabilities of 0, 1, ... joint failures."""
    whole = math.comb(one.units, one.second)
    return [
        math.comb(one.first, both) * math.comb(one.units - one.first, one.second - both) / whole
        if both <= one.second
        else 0.0
        for both in range(min(one.first, one.second) + 1)
    ]
