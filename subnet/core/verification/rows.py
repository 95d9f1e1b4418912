"""claims -> ROWS -> margins: what every referee makes of claims, whatever computes logits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from subnet.core.verification.claim import Claim
from subnet.core.verification.margin import MARGIN_CAP_LOGITS
from subnet.core.verification.noise import seed_prefix
from subnet.core.verification.support import SamplingRows


def sampling_rows(
    claims: Sequence[Claim], owner: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
) -> SamplingRows:
    """Each claim's parameters, repeated for each of its positions."""
    return SamplingRows(
        temperature=np.array([c.temperature_milli / 1000 for c in claims])[owner],
        top_p=np.array([c.top_p_milli / 1000 for c in claims])[owner],
        top_k=np.array([c.top_k for c in claims], np.int64)[owner],
        prefix=np.array([seed_prefix(c.seed) for c in claims], np.int64)[owner],
        position=positions,
    )


def logprob_gaps(claim: Claim, own: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """|claimed - own|; what is not a number counts as far off, never as missing."""
    if claim.logprobs is None:
        return ()
    gaps = np.abs(np.array(claim.logprobs, np.float64) - own)
    capped = np.nan_to_num(gaps, nan=MARGIN_CAP_LOGITS, posinf=MARGIN_CAP_LOGITS)
    return tuple(np.minimum(capped, MARGIN_CAP_LOGITS).tolist())
