"""answer -> CLAIM -> margins -> evidence: what a miner says it sampled, and how well that fits.

A claim carries no text and no signature: those are settled before a claim is built, so the
referee sees only numbers that it can recompute from the release's weights.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Claim:
    """One finished answer, with everything that fixed its tokens."""

    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    temperature_milli: int
    """Thousandths; 0 is greedy."""
    top_p_milli: int
    top_k: int
    seed: int
    """In [0, 2**64); derived from the request's nonce (`protocol.sampling`)."""
    logprobs: tuple[float, ...] | None
    """The miner's raw log-probability of each output token, if it sent them."""
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ClaimScore:
    """How far an answer lies from what the release would have sampled, token by token."""

    margins: tuple[float, ...]
    """Logits by which the best challenger beat each token; 0 is a perfect fit.

    At most `margin.MARGIN_CAP_LOGITS`, which stands for "outside the sampling support".
    """
    logprob_gaps: tuple[float, ...]
    """|miner's - referee's| raw log-probability of each token; empty if the miner sent none."""
