"""stream lines -> READER -> tokens or a fault: what a caller believes of a miner's stream.

Holds no socket, so every lie can be tested without one. Believes a line only when it follows from
the tokens that came: counts, running hash, identity and signature. Whether the tokens are right is
the referee's question.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from protocol.errors import Refusal, Rejection, RejectionReason
from protocol.inference import (
    CHECKPOINT_TOKENS,
    STREAM_LINE,
    CheckpointLine,
    ChunkLine,
    EndLine,
    ErrorLine,
    InferenceRequest,
    InferenceResponse,
    OutputHash,
)
from subnet.ports import Fault, SignatureVerifier

_BEFORE_THE_STREAM: Final = frozenset(
    {RejectionReason.CAPACITY_FULL, RejectionReason.TOKEN_BUDGET_EXCEEDED}
)
_FLOAT16_MAX_BITS: Final = 0x7BFF
_SIGN_BIT: Final = 0x8000


class StreamFaultError(Exception):
    """The stream cannot be believed."""

    def __init__(
        self,
        fault: Fault,
        detail: str,
        refusal: Refusal | None = None,
        refusal_signature: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.refusal = refusal
        """Authenticated."""
        self.refusal_signature = refusal_signature

    @property
    def rejection_reason(self) -> RejectionReason | None:
        """The word of a signed refusal."""
        return None if self.refusal is None else self.refusal.rejection.reason


@dataclass
class AnswerReader:
    """Reads one answer, line by line. `read_line` raises StreamFaultError."""

    request: InferenceRequest
    miner_hotkey: str
    caller_hotkey: str
    verify: SignatureVerifier
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    token_times_us: list[int] = field(default_factory=list)
    response: InferenceResponse | None = None
    response_signature: str | None = None

    def __post_init__(self) -> None:
        self._request_digest = self.request.digest()
        self._hash = OutputHash(self._request_digest)
        self._checkpoint_tokens = 0

    def read_line(self, line: bytes, now_us: int) -> None:
        """Take one line that arrived `now_us` microseconds after the request was sent."""
        if self.response is not None:
            raise StreamFaultError(Fault.BROKEN_STREAM, "a line follows the signed end")
        try:
            message = STREAM_LINE.validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise StreamFaultError(
                Fault.BROKEN_STREAM, f"a line is not of the protocol: {problem[:200]}"
            ) from error
        if isinstance(message, ChunkLine):
            self._read_chunk(message, now_us)
        elif isinstance(message, CheckpointLine):
            self._read_checkpoint(message)
        elif isinstance(message, EndLine):
            self._read_end(message)
        else:
            self._read_error(message)

    def _read_chunk(self, chunk: ChunkLine, now_us: int) -> None:
        count = len(chunk.token_ids)
        if len(chunk.logprobs) != count:
            raise StreamFaultError(Fault.BROKEN_STREAM, "a chunk lacks log-probabilities")
        tokens = self._hash.tokens + count
        if tokens > self.request.sampling.tokens_max:
            raise StreamFaultError(Fault.BROKEN_STREAM, "more tokens came than were asked for")
        if tokens > self._checkpoint_tokens + CHECKPOINT_TOKENS:
            raise StreamFaultError(
                Fault.BROKEN_STREAM, f"no checkpoint within {CHECKPOINT_TOKENS} tokens"
            )
        if any(not _is_logprob(bits) for bits in chunk.logprobs):
            raise StreamFaultError(Fault.FALSE_CLAIM, "a log-probability is above 0 or not finite")
        self._hash.update(chunk.token_ids, chunk.logprobs)
        self.token_ids += chunk.token_ids
        self.logprobs += struct.unpack(f"<{count}e", struct.pack(f"<{count}H", *chunk.logprobs))
        self.token_times_us += [now_us] * count

    def _read_checkpoint(self, line: CheckpointLine) -> None:
        checkpoint = line.checkpoint
        self._expect(checkpoint.request_digest == self._request_digest, "checkpoint's request")
        self._expect(checkpoint.output_tokens == self._hash.tokens, "checkpoint's token count")
        self._expect(checkpoint.running_hash == self._hash.hexdigest(), "checkpoint's hash")
        self._expect(
            self.verify(checkpoint.signing_bytes(), line.signature, self.miner_hotkey),
            "checkpoint's signature",
        )
        self._checkpoint_tokens = self._hash.tokens

    def _read_end(self, line: EndLine) -> None:
        response = line.response
        request = self.request
        claims = {
            "miner": response.miner_hotkey == self.miner_hotkey,
            "caller": response.caller_hotkey == self.caller_hotkey,
            "request": response.request_digest == self._request_digest,
            "release": response.release_digest == request.release_digest,
            "prompt's token count": response.prompt_tokens == len(request.prompt_token_ids),
            "token count": response.output_tokens == self._hash.tokens > 0,
            "hash": response.output_hash == self._hash.hexdigest(),
            "signature": self.verify(response.signing_bytes(), line.signature, self.miner_hotkey),
        }
        for name, holds in claims.items():
            self._expect(holds, f"response's {name}")
        self.response = response
        self.response_signature = line.signature

    def _read_error(self, line: ErrorLine) -> None:
        raise self._late(line.rejection, line.signature)

    def _late(self, rejection: Rejection, signature: str | None) -> StreamFaultError:
        if rejection.reason in _BEFORE_THE_STREAM:
            # A full node says so before it starts; later, the word would be a free way out of a
            # task that turned out hard.
            return StreamFaultError(
                Fault.BROKEN_STREAM, f"{rejection.reason} after the stream began"
            )
        return self.refused(rejection, signature)

    def refused(self, rejection: Rejection, signature: str | None) -> StreamFaultError:
        """A refusal that the miner signed; without its signature anybody could have said so."""
        refusal = Refusal(
            request_id=self.request.request_id,
            request_digest=self._request_digest,
            miner_hotkey=self.miner_hotkey,
            caller_hotkey=self.caller_hotkey,
            rejection=rejection,
        )
        if signature is None or not self.verify(
            refusal.signing_bytes(), signature, self.miner_hotkey
        ):
            return StreamFaultError(
                Fault.BROKEN_STREAM, f"{rejection.reason}, unsigned: {rejection.detail}"[:200]
            )
        return StreamFaultError(Fault.REFUSED, rejection.detail, refusal, signature)

    @staticmethod
    def _expect(holds: bool, what: str) -> None:
        if not holds:
            raise StreamFaultError(Fault.FALSE_CLAIM, f"the {what} does not fit")


def _is_logprob(bits: int) -> bool:
    """Whether the half-precision number is finite and at most 0."""
    return bits == 0 or _SIGN_BIT <= bits <= _SIGN_BIT | _FLOAT16_MAX_BITS
