"""log-probability GAPS of one answer -> READING: the second channel, one observation an answer.

The statistic is an answer's mean |miner's - referee's| raw log-probability. Its tokens share a
context and so are not independent; whole answers are. It sees weights and caches that were rounded
to fewer bits, which sampling hardly shows; it is blind to sampling cheats, and whoever runs the
reference anyway can forge it. So it is averaged with the margins, never trusted alone.

Honest gaps grow with the temperature, which draws unlikelier tokens, and shrink with the length,
over which they average out: bounds are fitted for each (temperature range, length class) cell. A
cell has to be wide, as an answer counts once; the safety factor covers what differs inside it, and
`GapTable.buckets_above` tests that on held-out answers of each temperature by itself.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from subnet.core.verification.bounds import (
    CalibrationParams,
    Milli,
    Reading,
    bucket_counts,
    honest_bounds,
)

EDGE_QUANTILES: Final = (0.8, 0.95, 0.99, 0.998)
"""Where the buckets' edges lie among a length class's honest answers, all temperatures pooled."""
GAP_BUCKETS: Final = len(EDGE_QUANTILES) + 1
LENGTH_CLASSES_TOKENS: Final = (1, 4, 9, 33)
"""The shortest answer of each class."""
TEMPERATURE_RANGES_MILLI: Final = (0, 1001)
"""The lowest temperature of each range."""

_Counts = Annotated[tuple[int, ...], Field(min_length=GAP_BUCKETS, max_length=GAP_BUCKETS)]
_Bounds = Annotated[tuple[float, ...], Field(min_length=GAP_BUCKETS, max_length=GAP_BUCKETS)]
_Edges = Annotated[tuple[float, ...], Field(min_length=GAP_BUCKETS - 1, max_length=GAP_BUCKETS - 1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GapCell(_Frozen):
    """One calibrated (temperature range, length class); counts are answers, not tokens."""

    temperature_min_milli: Milli
    tokens_min: int
    counts: _Counts
    p0: _Bounds
    """Upper bound on each bucket's honest probability; 1 for bucket 0, which accuses nobody."""


class GapTable(_Frozen):
    """What honest answers' mean gaps look like on one release."""

    edges_nats: dict[int, _Edges]
    """Bucket edges by length class."""
    cells: tuple[GapCell, ...]

    def reading(self, gaps: Sequence[float], temperature_milli: int) -> Reading | None:
        """One answer in its bucket, with the bounds; None without gaps or outside the table."""
        place = (temperature_range(temperature_milli), length_class(len(gaps)))
        for cell in self.cells:
            if (cell.temperature_min_milli, cell.tokens_min) == place:
                counts = bucket_counts([float(np.mean(gaps))], self.edges_nats[cell.tokens_min])
                return Reading(counts, cell.p0)
        return None

    def beside(self, others: "GapTable") -> "GapTable":
        """These cells, and those of `others` for length classes that have none here."""
        missing = others.edges_nats.keys() - self.edges_nats.keys()
        return GapTable(
            edges_nats=self.edges_nats | {one: others.edges_nats[one] for one in sorted(missing)},
            cells=(*self.cells, *(cell for cell in others.cells if cell.tokens_min in missing)),
        )

    def buckets_above(self, answers: Iterable[tuple[int, Sequence[float]]]) -> int:
        """(temperature, length class, bucket) triples that honest answers fill beyond p0.

        Beyond by more than three standard deviations, as some triples have few answers.
        """
        found: dict[tuple[int, int], list[Reading]] = defaultdict(list)
        for temperature_milli, gaps in answers:
            reading = self.reading(gaps, temperature_milli)
            if reading is not None:
                found[temperature_milli, length_class(len(gaps))].append(reading)
        return sum(
            sum(column) > _three_sigma_above(bound, len(readings))
            for readings in found.values()
            for column, bound in zip(
                zip(*(reading.counts for reading in readings), strict=True),
                readings[0].p0,
                strict=True,
            )
        )


def _three_sigma_above(bound: float, answers: int) -> float:
    expected = bound * answers
    return expected + 3 * math.sqrt(expected * (1 - bound))


def length_class(tokens: int) -> int:
    """The shortest answer of the class that an answer of `tokens` is in; 0 for an empty one."""
    return max((start for start in LENGTH_CLASSES_TOKENS if start <= tokens), default=0)


def temperature_range(temperature_milli: int) -> int:
    """The lowest temperature of the range, both in thousandths."""
    return max(start for start in TEMPERATURE_RANGES_MILLI if start <= temperature_milli)


def fitted_gap_table(
    answers: Iterable[tuple[int, Sequence[float]]], params: CalibrationParams
) -> GapTable:
    """The table of honest (temperature in thousandths, gaps of one answer's tokens) pairs."""
    means: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for temperature_milli, gaps in answers:
        if gaps:
            ranged = temperature_range(temperature_milli)
            means[length_class(len(gaps))][ranged].append(float(np.mean(gaps)))
    edges = {
        tokens_min: tuple(
            float(edge)
            for edge in np.quantile(np.concatenate(list(found.values())), EDGE_QUANTILES)
        )
        for tokens_min, found in sorted(means.items())
    }
    places = [(start, t) for start, found in sorted(means.items()) for t in sorted(found)]
    cells = []
    for tokens_min, temperature_min_milli in places:
        counts = bucket_counts(means[tokens_min][temperature_min_milli], edges[tokens_min])
        cells.append(
            GapCell(
                temperature_min_milli=temperature_min_milli,
                tokens_min=tokens_min,
                counts=counts,
                p0=honest_bounds(counts, len(places), params),
            )
        )
    return GapTable(edges_nats=edges, cells=tuple(cells))
