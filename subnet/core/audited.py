"""signed answer -> PENDING -> KEPT: one answer on its way through the audit."""

from dataclasses import dataclass

from protocol.inference import InferenceRequest, InferenceResponse
from subnet.core.audit import Traffic
from subnet.core.bundle import AnswerEvidence
from subnet.core.verification.claim import Claim
from subnet.core.verification.evidence import EvidenceState


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """Question and answer as both sides signed them: what proves later who said what."""

    request: InferenceRequest
    response: InferenceResponse
    signature: str
    """The miner's, over the response."""


@dataclass(frozen=True, slots=True)
class PendingAudit:
    """A signed, structurally sound answer that waits for its audit draw."""

    request_id: str
    miner_hotkey: str
    traffic: Traffic
    period: int
    """Which secret the request's draws came from."""
    counter: int
    """Which draw of that secret."""
    response_digest: str
    claim: Claim
    signed: SignedAnswer
    share_ppm: int
    """Which share of such answers is audited; settled when the answer came."""
    has_consent: bool = True
    """Whether the words may be shown to others: benchmarks always, users' only if they agreed."""
    draw_block: int | None = None
    """Its hash decides the draw; None until a block after the answer's arrival is named."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An audited answer that a detector's state rests on."""

    miner_hotkey: str
    release_digest: str
    traffic: Traffic
    has_consent: bool
    before: EvidenceState
    """The detector before this answer."""
    is_alarm: bool
    """Whether the detector alarmed at this answer, and started over."""
    evidence: AnswerEvidence


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What one audit found; the latest are kept."""

    request_id: str
    miner_hotkey: str
    traffic: Traffic
    family: str
    """Benchmark family; empty for users' prompts."""
    audited_at_ns: int
    counts: tuple[int, ...] | None
    """Tokens per margin bucket; None outside the calibrated envelope."""
    grade: float | None
