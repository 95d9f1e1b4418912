"""answer -> CLAIM -> margins -> evidence: what a miner says it sampled, and how well that fits.

A claim carries no text and no signature: those are settled before a claim is built, so the
referee sees only numbers that it can recompute from the release's weights.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from protocol.inference import FinishReason, InferenceRequest
from protocol.sampling import derive_seed
from protocol.structure import Structure


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
    structure: Structure | None = None
    """Whose masks every token was sampled under."""


@dataclass(frozen=True, slots=True)
class ClaimScore:
    """How far an answer lies from what the release would have sampled, token by token."""

    margins: tuple[float, ...]
    """Logits by which the best challenger beat each token; 0 is a perfect fit.

    At most `margin.MARGIN_CAP_LOGITS`, which stands for "outside the sampling support".
    """
    logprob_gaps: tuple[float, ...]
    """|miner's - referee's| raw log-probability of each token; empty if the miner sent none."""


def claim_of(
    request: InferenceRequest,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    finish_reason: FinishReason,
    *,
    miner_hotkey: str,
    caller_hotkey: str,
) -> Claim:
    """What the miner claims by answering `request`; the seed is derived, never taken from it."""
    return Claim(
        prompt_token_ids=request.prompt_token_ids,
        output_token_ids=tuple(token_ids),
        temperature_milli=request.sampling.temperature_milli,
        top_p_milli=request.sampling.top_p_milli,
        top_k=request.sampling.top_k,
        seed=derive_seed(
            request.nonce,
            request.request_id,
            caller_hotkey,
            miner_hotkey,
            request.prompt_token_ids,
        ),
        logprobs=tuple(logprobs),
        finish_reason=finish_reason,
        structure=request.sampling.structure,
    )


def float16_bits(values: Sequence[float]) -> tuple[int, ...]:
    """Half-precision bit patterns; exact for log-probabilities that came over the wire."""
    count = len(values)
    return struct.unpack(f"<{count}H", struct.pack(f"<{count}e", *values))


def from_float16_bits(bits: Sequence[int]) -> tuple[float, ...]:
    """The inverse of `float16_bits`."""
    count = len(bits)
    return struct.unpack(f"<{count}e", struct.pack(f"<{count}H", *bits))
