"""honest counts -> BOUNDS: what honest tokens or answers do at most, at a stated confidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

PARTS: Final = 3
"""Margins and gaps of benchmarks, and margins of users' prompts, share the joint error."""
Milli = Annotated[int, Field(ge=0, le=2000)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one channel saw in one answer: how often each bucket was hit, and its honest bound."""

    counts: tuple[int, ...]
    p0: tuple[float, ...]


class CalibrationParams(BaseModel):
    """How counts become bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joint_error: float = 1e-6
    """Probability that any bound of the table lies below the truth; `drawn` has as much again."""
    safety_factor: float = 1.5
    """On top of the confidence bound, against drift between hosts."""
    slack_quantile: float = 0.999
    """Border blur of the support: `slack_factor` times this quantile of the numeric noise.

    A quantile, as the noise has a heavy tail: nearly none where the model is certain.
    """
    slack_factor: float = 2.0
    slack_logits_min: float = 0.05


def bucket_counts(margins: npt.ArrayLike, edges: Sequence[float]) -> tuple[int, ...]:
    """How many margins fall into each bucket: at most edges[0], then up to each next edge."""
    index = np.searchsorted(np.asarray(edges), np.asarray(margins, dtype=np.float64), side="left")
    return tuple(int(count) for count in np.bincount(index, minlength=len(edges) + 1))


def upper_bound(hits: int, trials: int, error: float) -> float:
    """Clopper-Pearson upper bound on a probability: P(at most `hits`) is `error` there.

    Solved by bisection on the logarithm of the binomial distribution function.
    """
    if hits >= trials:
        return 1.0
    ranks = np.arange(1, hits + 1)
    choose = np.concatenate(([0.0], np.cumsum(np.log((trials - ranks + 1) / ranks))))
    successes = np.arange(hits + 1)
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        terms = choose + successes * math.log(middle) + (trials - successes) * math.log1p(-middle)
        peak = float(terms.max())
        if peak + math.log(float(np.exp(terms - peak).sum())) > math.log(error):
            low = middle
        else:
            high = middle
    return high


def honest_bounds(
    counts: Sequence[int], tables: int, params: CalibrationParams
) -> tuple[float, ...]:
    """p0 per bucket; `tables` is how many such tables its part has. Bucket 0 has 1."""
    error = params.joint_error / (PARTS * tables * (len(counts) - 1))
    trials = sum(counts)
    bounds = (
        min(1.0, params.safety_factor * upper_bound(hits, trials, error)) for hits in counts[1:]
    )
    return (1.0, *bounds)


def larger_bounds(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    """What holds under both, bucket by bucket, and so under every mixture of both."""
    return tuple(max(pair) for pair in zip(one, other, strict=True))


def calibrated_around(temperature_milli: int, points: set[int]) -> set[int]:
    """As `around`; nothing between greedy and the lowest positive temperature is covered."""
    near = around(temperature_milli, points)
    return set() if temperature_milli > 0 and 0 in near else near


def around(value: int, points: set[int]) -> set[int]:
    """The calibrated points next to `value` on both sides; itself if calibrated; {} outside."""
    below = [point for point in points if point <= value]
    above = [point for point in points if point >= value]
    return {max(below), min(above)} if below and above else set()
