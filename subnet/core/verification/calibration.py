"""honest transcripts -> CALIBRATION -> evidence: how often honest tokens show each margin.

Everything numeric is measured per release and band, never assumed: small margins are 5 to 9 times
more frequent at temperature 0.1 than at 1. A request outside the measured envelope is
inconclusive: nobody is accused by a table that was not made for it.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from protocol.inference import Environment
from subnet.core.verification.bounds import (
    CalibrationParams,
    Milli,
    around,
    calibrated_around,
    honest_bounds,
    larger_bounds,
)
from subnet.core.verification.environments import EnvironmentPair
from subnet.core.verification.gaps import GapTable
from subnet.core.verification.power import PowerReport

BASE_EDGES_LOGITS: Final = (0.03, 0.1, 0.3)
"""Everything below 3 sigma is one quiet bucket: that honest numerics fill it says nothing."""
BASE_SIGMA_LOGITS: Final = 0.01
"""The numeric noise that the base edges fit; a noisier release gets them scaled up."""
BUCKETS: Final = len(BASE_EDGES_LOGITS) + 1

Counts = Annotated[tuple[int, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]
Bounds = Annotated[tuple[float, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
    engine_modes: tuple[str, ...]
    """How the engine ran the model, such as eager and compiled, sharing the prompts equally."""
    versions: dict[str, str]
    seed: int
    prompts_digest: str
    prompts: int
    responses: int
    tokens: int
    batch_sizes: tuple[int, ...]


class HeldOut(_Frozen):
    """Bounds tried on honest answers to prompts that they were not fitted on."""

    responses: int
    tokens: int
    max_margin_logits: float
    buckets_above_p0: int
    """(band, bucket) pairs whose held-out frequency exceeds p0; 0 is expected."""
    gap_buckets_above_p0: int
    """The same of (temperature, length class, bucket) triples of the second channel."""
    mean_factor_max: float
    """The largest mean factor e of any bet: what the bound on false accusation needs at most 1."""
    evidence_max: float
    """The largest mixture evidence that honest answers reached, all in one detector."""
    alarms: int


class UserBounds(_Frozen):
    """What holds for prompts that users choose: benchmarks', and what a search found to be worst.

    Each bound is the larger of both kinds', so that no mixture of them can convict. There are none
    on gaps: an answer's mean gap belongs to its prompt, and whoever asks the worst one over and
    over would convict by any bound that holds for the average.
    """

    bands: tuple[Band, ...]
    """Counts are those of hostile prompts, all top-p of a temperature together."""
    held_out: HeldOut | None
    """Of hostile prompts alone."""
    repeated_prompts: int
    """Held-out hostile prompts that were asked again and again, each in a detector of its own."""
    repeated_alarms: int
    prompts: int
    """Different hostile ones, held-out ones included."""
    prompts_digest: str
    traffic_percent: float
    """Share of the calibration's requests that asked one of them."""
    gap_ratio: float
    """Root mean square of their honest log-probability gaps over that of ordinary answers."""
    loud_ratio: float
    """Rate of their honest margins over the lowest edge over that of ordinary answers."""


class DrawnBounds(_Frozen):
    """What holds for the questions that validators draw most, and for no others.

    They are shorter and surer than the rest of the envelope, so their honest answers err less: the
    table's other bounds, which hold for any prompt, hide fp8 weights among them for 590 answers
    where these take 60.
    """

    families: tuple[str, ...]
    tier: int
    """What was drawn: other questions have none of these bounds."""
    top_k: int
    band: Band
    """The most frequent point of the sampling mix."""
    gaps: GapTable
    seed: int
    held_out: HeldOut | None


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
    pairs: Annotated[tuple[EnvironmentPair, ...], Field(min_length=1)]
    """Where answers came from and where they were scored: the table is silent on all others."""
    bands: tuple[Band, ...]
    gaps: GapTable
    held_out: HeldOut | None
    users: UserBounds | None
    """None if no search for hostile prompts was made: what users ask is inconclusive then."""
    drawn: DrawnBounds | None = None
    power: PowerReport | None
    provenance: Provenance

    def covers(self, miner: Environment, referee: Environment) -> bool:
        """Whether this pair was measured; an audit of any other is inconclusive."""
        return any(pair.fits(miner, referee) for pair in self.pairs)

    def for_draws(self, families: Iterable[str], tier: int) -> "CalibrationTable":
        """The table of who draws these: without `drawn` if that was fitted on others."""
        drawn = self.drawn
        if drawn is None or (set(drawn.families), drawn.tier) == (set(families), tier):
            return self
        return self.without_drawn()

    def without_drawn(self) -> "CalibrationTable":
        """What holds for any prompt."""
        return self.model_copy(update={"drawn": None})

    def for_benchmark(
        self, temperature_milli: int, top_p_milli: int, top_k: int
    ) -> "CalibrationTable":
        """What judges a validator's own question: by sharper bounds if it was drawn most often.

        Of a length that no honest answer to these questions had, the gap is read as any other's.
        """
        drawn = self.drawn
        if drawn is None or top_k != drawn.top_k:
            return self
        band = drawn.band
        if (temperature_milli, top_p_milli) != (band.temperature_milli, band.top_p_milli):
            return self
        gaps = drawn.gaps.beside(self.gaps)
        return self.model_copy(update={"bands": (band,), "gaps": gaps, "drawn": None})

    def bounds(
        self,
        temperature_milli: int,
        top_p_milli: int,
        context_tokens: int,
        *,
        of_users: bool = False,
    ) -> tuple[float, ...] | None:
        """p0 for a benchmark or a user's request; None outside the envelope (inconclusive).

        Between calibrated points the largest bound of the surrounding ones holds. Greedy is a
        point of its own: nothing between 0 and the lowest positive temperature is covered.
        """
        if context_tokens > self.context_tokens_max:
            return None
        searched = () if self.users is None else self.users.bands
        bands = searched if of_users else self.bands
        temperatures = calibrated_around(
            temperature_milli, {band.temperature_milli for band in bands}
        )
        near = [band for band in bands if band.temperature_milli in temperatures]
        if temperature_milli == 0:
            chosen = near
        else:
            top_ps = around(top_p_milli, {band.top_p_milli for band in near})
            chosen = [band for band in near if band.top_p_milli in top_ps]
        if not chosen:
            return None
        return tuple(max(column) for column in zip(*(band.p0 for band in chosen), strict=True))


def numeric_noise(gaps: npt.ArrayLike, params: CalibrationParams) -> tuple[float, float]:
    """(sigma, slack), both in logits, from |engine - referee| raw log-probabilities."""
    found = np.asarray(gaps, dtype=np.float64)
    slack = params.slack_factor * float(np.quantile(found, params.slack_quantile))
    return float(np.sqrt(np.mean(found**2))), max(params.slack_logits_min, slack)


def scaled_edges(sigma_logits: float) -> tuple[float, ...]:
    """Bucket edges for a release with this numeric noise."""
    scale = max(1.0, sigma_logits / BASE_SIGMA_LOGITS)
    return tuple(edge * scale for edge in BASE_EDGES_LOGITS)


def fitted_band(
    temperature_milli: int,
    top_p_milli: int,
    counts: tuple[int, ...],
    bands: int,
    params: CalibrationParams,
) -> Band:
    """One band's bounds; `bands` is how many share the table's joint error."""
    return Band(
        temperature_milli=temperature_milli,
        top_p_milli=top_p_milli,
        counts=counts,
        p0=honest_bounds(counts, bands, params),
    )


def users_bands(
    bands: Iterable[Band], hostile: Mapping[int, tuple[int, ...]], params: CalibrationParams
) -> tuple[Band, ...]:
    """The bands of users' prompts; `hostile` counts tokens per bucket at each temperature.

    All top-p of a temperature share one count: rounding moves logits before top-p cuts them. A
    band whose temperature has none covers nothing.
    """
    worst = {
        temperature_milli: honest_bounds(counts, len(hostile), params)
        for temperature_milli, counts in hostile.items()
    }
    return tuple(
        Band(
            temperature_milli=band.temperature_milli,
            top_p_milli=band.top_p_milli,
            counts=hostile[band.temperature_milli],
            p0=larger_bounds(band.p0, worst[band.temperature_milli]),
        )
        for band in bands
        if band.temperature_milli in hostile
    )
