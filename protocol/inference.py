"""request -> STREAM -> response: one inference, from the signed question to the signed answer.

Token ids cross the wire, never text: the caller renders the chat template and detokenises, so a
changed system prompt or a re-tokenised answer cannot hide. The request carries a one-time nonce,
never a seed: both sides derive the seed (`protocol.sampling`), so nothing can be precomputed.

The stream is newline-delimited JSON, one `StreamLine` a line: chunks, every
`CHECKPOINT_TOKENS` tokens a signed checkpoint, at last the signed response or a rejection.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from protocol import PROTOCOL_VERSION
from protocol.errors import Rejection
from protocol.message import WireMessage
from protocol.release import TOP_K_MAX
from protocol.structure import Structure
from protocol.units import (
    Digest,
    Float16Bits,
    Hotkey,
    Microseconds,
    Nonce,
    RequestId,
    Signature,
    TokenCount,
    TokenId,
)

CHECKPOINT_TOKENS: Final = 32
INFER_PATH: Final = "/v1/infer"
PROMPT_TOKENS_MAX: Final = 131_072
REQUEST_BYTES_MAX: Final = 2_000_000
"""A body larger than this is refused before it is read to the end."""


class Sampling(WireMessage):
    """The sampling parameters that releases verify. Any other is refused by name."""

    temperature_milli: Annotated[int, Field(ge=0, le=2000)]
    """Thousandths; 0 is greedy."""
    top_p_milli: Annotated[int, Field(ge=1, le=1000)]
    top_k: Annotated[int, Field(ge=1, le=TOP_K_MAX)]
    tokens_max: Annotated[int, Field(ge=1, le=PROMPT_TOKENS_MAX)]
    structure: Structure | None = None
    """What the answer must look like; for releases that name a `grammar`."""


class InferenceRequest(WireMessage):
    """One question to one miner. Authenticated by btauth/1, which binds caller and receiver."""

    protocol_version: Literal[1] = PROTOCOL_VERSION
    request_id: RequestId
    release_digest: Digest
    nonce: Nonce
    """Used once. The seed derives from it, so a miner refuses a nonce that it has served."""
    prompt_token_ids: Annotated[
        tuple[TokenId, ...], Field(min_length=1, max_length=PROMPT_TOKENS_MAX)
    ]
    sampling: Sampling
    timeout_ms: Annotated[int, Field(ge=100, le=600_000)]


FinishReason = Literal["stop", "length"]


class Environment(WireMessage):
    """Where the answer was computed: tolerances are looked up per pair of fingerprints."""

    engine: Annotated[str, Field(max_length=100)]
    torch: Annotated[str, Field(max_length=100)]
    device: Annotated[str, Field(max_length=100)]
    dtype: Annotated[str, Field(max_length=20)]


class InferenceResponse(WireMessage):
    """What the miner signs about one answer. The stream carries the answer itself."""

    protocol_version: Literal[1] = PROTOCOL_VERSION
    request_digest: Digest
    miner_hotkey: Hotkey
    caller_hotkey: Hotkey
    release_digest: Digest
    output_hash: Digest
    """The running hash after the last token."""
    prompt_tokens: TokenCount
    output_tokens: TokenCount
    finish_reason: FinishReason
    queued_us: Microseconds
    """From the request's arrival to its first engine step."""
    first_token_us: Microseconds
    """From arrival to the first token."""
    total_us: Microseconds
    """From arrival to the last token. All three are the miner's claims; callers time for pay."""
    environment: Environment


class StreamCheckpoint(WireMessage):
    """What the miner signs every `CHECKPOINT_TOKENS` tokens, so that a cut stream is still owed."""

    request_digest: Digest
    output_tokens: TokenCount
    running_hash: Digest


class ChunkLine(WireMessage):
    """Tokens as the engine emitted them."""

    type: Literal["chunk"] = "chunk"
    token_ids: Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=4096)]
    logprobs: Annotated[tuple[Float16Bits, ...], Field(min_length=1, max_length=4096)]
    """Raw log-probability of each token under the unmodified logits, half precision."""


class CheckpointLine(WireMessage):
    """A signed checkpoint."""

    type: Literal["checkpoint"] = "checkpoint"
    checkpoint: StreamCheckpoint
    signature: Signature


class EndLine(WireMessage):
    """The signed response; nothing follows."""

    type: Literal["end"] = "end"
    response: InferenceResponse
    signature: Signature


class ErrorLine(WireMessage):
    """The stream broke off by a rule or a fault; nothing follows."""

    type: Literal["error"] = "error"
    rejection: Rejection
    signature: Signature | None = None
    """The miner's, over the `Refusal` that these words are."""


StreamLine = Annotated[
    ChunkLine | CheckpointLine | EndLine | ErrorLine, Field(discriminator="type")
]
STREAM_LINE: TypeAdapter[ChunkLine | CheckpointLine | EndLine | ErrorLine] = TypeAdapter(StreamLine)

_TOKEN_RECORD = struct.Struct("<IH")


class OutputHash:
    """The running hash of an answer.

    SHA-256 over one record a token, little-endian: token id u32, logprob fp16 bits u16. Seeded
    with the request's digest, so that equal answers to different requests differ.
    """

    def __init__(self, request_digest: str) -> None:
        self._state = hashlib.sha256(b"assay/output\n" + bytes.fromhex(request_digest))
        self.tokens = 0

    def update(self, token_ids: Sequence[int], logprobs: Sequence[int]) -> None:
        """Append tokens. Lengths must agree."""
        for token_id, logprob in zip(token_ids, logprobs, strict=True):
            self._state.update(_TOKEN_RECORD.pack(token_id, logprob))
        self.tokens += len(token_ids)

    def hexdigest(self) -> str:
        """The hash of all tokens so far."""
        return self._state.hexdigest()
