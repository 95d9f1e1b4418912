"""honest transcripts -> CALIBRATION -> evidence: how often honest tokens show each margin.

Everything numeric is measured per release and band, never assumed: small margins are 5 to 9 times
more frequent at temperature 0.1 than at 1. A request outside the measured envelope is
inconclusive: nobody is accused by a table that was not made for it.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

BASE_EDGES_LOGITS: Final = (0.03, 0.1, 0.3)
"""Everything below 3 sigma is one quiet bucket: that honest numerics fill it says nothing."""
BASE_SIGMA_LOGITS: Final = 0.01
"""The numeric noise that the base edges fit; a noisier release gets them scaled up."""
BUCKETS: Final = len(BASE_EDGES_LOGITS) + 1

Milli = Annotated[int, Field(ge=0, le=2000)]
Counts = Annotated[tuple[int, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]
Bounds = Annotated[tuple[float, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationParams(_Frozen):
    """How counts become bounds."""

    joint_error: float = 1e-6
    """Probability that any bound of the table lies below the truth."""
    safety_factor: float = 1.5
    """On top of the confidence bound, against drift between hosts."""
    slack_quantile: float = 0.999
    """Border blur of the support: `slack_factor` times this quantile of the numeric noise.

    A quantile, as the noise has a heavy tail: nearly none where the model is certain.
    """
    slack_factor: float = 2.0
    slack_logits_min: float = 0.05


class Band(_Frozen):
    """One calibrated (temperature, top-p) point. Bucket 0 is the quiet one, below 3 sigma."""

    temperature_milli: Milli
    top_p_milli: Milli
    counts: Counts
    """Honest tokens per bucket."""
    p0: Bounds
    """Upper bound on each bucket's honest probability; 1 for bucket 0, which accuses nobody."""


class Provenance(_Frozen):
    """What it takes to measure the table again."""

    release_digest: str
    engine: str
    engine_modes: tuple[str, ...]
    """How the engine ran the model, such as eager and compiled, sharing the prompts equally."""
    referee: str
    versions: dict[str, str]
    seed: int
    prompts_digest: str
    prompts: int
    responses: int
    tokens: int
    batch_sizes: tuple[int, ...]


class HeldOut(_Frozen):
    """The table tried on honest answers to prompts that it was not fitted on."""

    responses: int
    tokens: int
    max_margin_logits: float
    buckets_above_p0: int
    """(band, bucket) pairs whose held-out frequency exceeds p0; 0 is expected."""
    evidence_max: float
    """The largest mixture evidence that honest answers reached, all in one detector."""
    alarms: int


class CalibrationTable(_Frozen):
    """Everything numeric that a referee and a detector need to know about one release."""

    noise: Literal["murmur3-gumbel-v1"] = "murmur3-gumbel-v1"
    sigma_logits: float
    """Root mean square of engine minus referee raw log-probability."""
    slack_logits: float
    """How far the support's borders are blurred (`support`)."""
    edges_logits: tuple[float, ...]
    context_tokens_max: int
    """Longest prompt plus answer that was measured."""
    params: CalibrationParams
    bands: tuple[Band, ...]
    held_out: HeldOut | None
    provenance: Provenance

    def bounds(
        self, temperature_milli: int, top_p_milli: int, context_tokens: int
    ) -> tuple[float, ...] | None:
        """p0 for a request, or None outside the envelope (inconclusive).

        Between calibrated points the largest bound of the surrounding ones holds. Greedy is a
        point of its own: nothing between 0 and the lowest positive temperature is covered.
        """
        if context_tokens > self.context_tokens_max:
            return None
        temperatures = _around(temperature_milli, {band.temperature_milli for band in self.bands})
        if temperature_milli > 0 and 0 in temperatures:
            return None
        near = [band for band in self.bands if band.temperature_milli in temperatures]
        if temperature_milli == 0:
            chosen = near
        else:
            top_ps = _around(top_p_milli, {band.top_p_milli for band in near})
            chosen = [band for band in near if band.top_p_milli in top_ps]
        if not chosen:
            return None
        return tuple(max(column) for column in zip(*(band.p0 for band in chosen), strict=True))


def _around(value: int, points: set[int]) -> set[int]:
    """The calibrated points next to `value` on both sides; itself if calibrated; {} outside."""
    below = [point for point in points if point <= value]
    above = [point for point in points if point >= value]
    return {max(below), min(above)} if below and above else set()


def numeric_noise(gaps: npt.ArrayLike, params: CalibrationParams) -> tuple[float, float]:
    """(sigma, slack), both in logits, from |engine - referee| raw log-probabilities."""
    found = np.asarray(gaps, dtype=np.float64)
    slack = params.slack_factor * float(np.quantile(found, params.slack_quantile))
    return float(np.sqrt(np.mean(found**2))), max(params.slack_logits_min, slack)


def scaled_edges(sigma_logits: float) -> tuple[float, ...]:
    """Bucket edges for a release with this numeric noise."""
    scale = max(1.0, sigma_logits / BASE_SIGMA_LOGITS)
    return tuple(edge * scale for edge in BASE_EDGES_LOGITS)


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


def fitted_band(
    temperature_milli: int,
    top_p_milli: int,
    counts: tuple[int, ...],
    bands: int,
    params: CalibrationParams,
) -> Band:
    """One band's bounds; `bands` is how many share the table's joint error."""
    error = params.joint_error / (bands * (len(counts) - 1))
    trials = sum(counts)
    bounds = (
        min(1.0, params.safety_factor * upper_bound(hits, trials, error)) for hits in counts[1:]
    )
    return Band(
        temperature_milli=temperature_milli,
        top_p_milli=top_p_milli,
        counts=counts,
        p0=(1.0, *bounds),
    )
