"""What is promised: a release pins everything that decides which tokens come out."""

from typing import Annotated, Final, Literal

from pydantic import Field

from protocol.message import WireMessage
from protocol.units import Digest, TokenCount, TokenId

NOISE_SCHEME: Final = "murmur3-gumbel-v1"
GRAMMAR_BACKEND: Final = "xgrammar-0.2.8"
"""Another version may mask other tokens."""
TOP_K_MAX: Final = 64
"""The referee keeps this many logits a position, so no wider support can be verified."""


class Release(WireMessage):
    """One model as it is sold; its digest names it in requests, responses and scores.

    "fp8" alone is two models: weights, quantisation, dtype and runtime are all pinned.
    """

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """Hub name (`Qwen/Qwen3-0.6B`) or the shipped model's name."""
    revision: Annotated[str, Field(min_length=1, max_length=100)]
    weights_digest: Digest
    """SHA-256 over the sorted (file name, SHA-256) pairs of the safetensors files."""
    tokenizer_digest: Digest
    quantization: Annotated[str, Field(max_length=40)] = "none"
    dtype: Literal["bfloat16", "float16", "float32"]
    runtime: Annotated[str, Field(min_length=1, max_length=100)]
    """Engine and version whose numerics the calibration covers, such as `vllm-0.32.0-cpu`."""
    vocab_size: TokenCount
    context_tokens_max: TokenCount
    stop_token_ids: Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=16)]
    top_k_max: Annotated[int, Field(ge=1, le=TOP_K_MAX)] = TOP_K_MAX
    noise: Literal["murmur3-gumbel-v1"] = NOISE_SCHEME
    grammar: Literal["xgrammar-0.2.8"] | None = None
    """The backend whose masks structured output follows, replayed by the referee; None: the release
    verifies no structured output, and such requests are refused."""
