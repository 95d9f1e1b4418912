"""scores of two classes -> AUC: how well a classifier ranks them, and how sure that is."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Auc:
    """The probability that an organic request is scored above a benchmark; .5 is blind."""

    value: float
    low: float
    """95 % confidence interval (DeLong), requests taken as independent."""
    high: float
    organic: int
    benchmark: int


def auc_of(scores: NDArray[np.float64], is_organic: NDArray[np.bool_]) -> Auc:
    """From scores of held-out requests, two of each class at least."""
    ours, others = scores[is_organic], scores[~is_organic]
    assert min(len(ours), len(others)) >= 2
    beaten = _placements(ours, others)
    beating = _placements(others, ours)
    value = float(beaten.mean())
    spread = np.sqrt(beaten.var(ddof=1) / len(ours) + beating.var(ddof=1) / len(others))
    width = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * float(spread)
    return Auc(value, max(0.0, value - width), min(1.0, value + width), len(ours), len(others))


def _placements(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of `among` below each of `of`; ties count half."""
    ranked = np.sort(among)
    below = np.searchsorted(ranked, of, side="left")
    up_to = np.searchsorted(ranked, of, side="right")
    return (below + up_to) / (2 * len(among))
