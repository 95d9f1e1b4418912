"""audited answers -> BUNDLE -> anybody: all that one verdict about one hotkey rests on.

The bundle holds statements that were signed (answers), statements that follow from the release
(margins) and statements that follow from both (buckets, evidence); `core.reverify` tells whether
they do. Integers stay below 2**53 and seeds are strings, as the bytes are canonical JSON.
"""

import hashlib
from typing import Annotated, Any, Final, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from protocol.inference import InferenceRequest, InferenceResponse, Sampling
from protocol.release import Release
from protocol.units import Digest, Float16Bits, Hotkey, Microseconds, Signature, TokenId
from subnet.core.audit import AuditParams, Ppm, Traffic
from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import Channel, EvidenceParams, EvidenceState

BUNDLE_FORMAT: Final = "assay/evidence/1"
DELAY_US: Final = 24 * 3600 * 1_000_000
Whole = Annotated[int, Field(ge=0, lt=2**53)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Draw(_Frozen):
    """Why this answer was audited."""

    period: Whole
    """Which secret of the validator the request and the draw came from."""
    counter: Whole
    """Which draw of that secret."""
    share_ppm: Ppm
    """The share of such answers that was audited."""
    block: Whole | None = None
    """Whose hash decided; None where all were audited."""
    block_hash: Digest | None = None


class Transcript(_Frozen):
    """One answer in full, with what the referee found."""

    request: InferenceRequest
    token_ids: tuple[TokenId, ...]
    logprobs: tuple[Float16Bits, ...]
    """As the miner sent them."""
    seed: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]
    margins: tuple[float, ...]
    """Logits, one a token."""
    logprob_gaps: tuple[float, ...]


class AnswerEvidence(_Frozen):
    """One audited answer; without the transcript where a user's words are not to be shown."""

    audited_at_us: Microseconds
    """Since the Unix epoch."""
    draw: Draw
    sampling: Sampling
    response: InferenceResponse
    signature: Signature
    """The miner's, over `response`."""
    readings: dict[Channel, Reading]
    log_evidence: float | None
    """The detector after this answer; None for no evidence at all."""
    transcript: Transcript | None

    def withheld(self) -> "AnswerEvidence":
        """The same without a word of prompt or answer, or of the shape that was asked for."""
        sampling = self.sampling.model_copy(update={"structure": None})
        return self.model_copy(update={"transcript": None, "sampling": sampling})


class EvidenceRules(_Frozen):
    """All parameters that a verdict depends on."""

    release: Release
    table: CalibrationTable
    evidence: EvidenceParams
    audit: AuditParams

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, lower-case hex."""
        return canonical_digest(self)


class EvidenceBundle(_Frozen):
    """One detector's path over one hotkey's answers, and what it led to."""

    format: Literal["assay/evidence/1"] = BUNDLE_FORMAT
    release_digest: Digest
    calibration_digest: Digest
    """SHA-256 of `rules.table` as canonical JSON."""
    rules_digest: Digest
    rules: EvidenceRules
    validator_hotkey: Hotkey
    miner_hotkey: Hotkey
    traffic: Traffic
    start: EvidenceState
    """The detector before the first answer: what earlier ones, no longer kept, left behind."""
    answers: Annotated[tuple[AnswerEvidence, ...], Field(min_length=1)]
    secrets: dict[Whole, Digest]
    """The validator's secrets of periods that are over, by period, hex."""
    has_alarm: bool
    """The verdict: whether the detector alarmed at the last answer."""


class SealedBundle(_Frozen):
    """A bundle as a file holds it."""

    bundle: EvidenceBundle
    digest: Digest
    """SHA-256 of the bundle as canonical JSON: its name, and what tells a damaged file."""


def canonical_bytes(model: BaseModel) -> bytes:
    """RFC 8785 JSON."""
    content: Any = model.model_dump(mode="json")
    return rfc8785.dumps(content)


def canonical_digest(model: BaseModel) -> str:
    """SHA-256 of `canonical_bytes`, lower-case hex."""
    return hashlib.sha256(canonical_bytes(model)).hexdigest()


def sealed(bundle: EvidenceBundle) -> SealedBundle:
    """The bundle with its digest."""
    return SealedBundle(bundle=bundle, digest=canonical_digest(bundle))


def may_leave(answers: tuple[AnswerEvidence, ...], now_us: int) -> tuple[AnswerEvidence, ...]:
    """The first answers, up to those audited a day ago: what may be shown without an alarm.

    Fresh detector states and audit rates would be a cheat's dashboard.
    """
    fresh = (n for n, one in enumerate(answers) if one.audited_at_us > now_us - DELAY_US)
    return answers[: next(fresh, len(answers))]
