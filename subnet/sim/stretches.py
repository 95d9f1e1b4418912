"""epoch series -> STRETCHES -> bound: how sure the ratio of a single operator is.

Epochs that follow each other are alike (a standing lasts), so single epochs would promise too much:
they are taken together in stretches (batch means), as many as the root of their number, three at
least. The ratio of two sums is linearised around its value, as is usual for ratio estimates: what
all miners feel in a stretch, such as the unpaid first epochs, cancels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

STRETCHES_MIN: Final = 3


def ratios_by_stretch(own: Sequence[float], honest: Sequence[float]) -> list[float]:
    """Values, one a stretch, whose mean is sum(own) / sum(honest); their spread is its error's.

    Both series have one entry an epoch, at least three, in the same unit; `honest` adds up to more
    than 0.
    """
    epochs = len(own)
    assert len(honest) == epochs >= STRETCHES_MIN and sum(honest) > 0, (epochs, sum(honest))
    count = max(STRETCHES_MIN, math.isqrt(epochs))
    edges = [epochs * place // count for place in range(count + 1)]
    ratio, mean = sum(own) / sum(honest), sum(honest) / count
    return [
        ratio + (sum(own[start:end]) - ratio * sum(honest[start:end])) / mean
        for start, end in pairwise(edges)
    ]
