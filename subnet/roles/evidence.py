"""audit -> KEPT ANSWER: what the validator keeps of one audit, to prove its verdict later."""

import math
from dataclasses import dataclass

from subnet.core.audited import KeptAnswer, PendingAudit
from subnet.core.bundle import AnswerEvidence, Draw, Transcript
from subnet.core.verification.claim import ClaimScore, float16_bits
from subnet.core.verification.evidence import EvidenceState, Readings
from subnet.core.verification.verdict import Step


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """An answer that is audited, and why."""

    pending: PendingAudit
    draw: Draw


def draw_of(
    pending: PendingAudit, block: int | None = None, block_hash: bytes | None = None
) -> Draw:
    """The draw that chose the answer; without a block where the share is everything."""
    return Draw(
        period=pending.period,
        counter=pending.counter,
        share_ppm=pending.share_ppm,
        block=block,
        block_hash=None if block_hash is None else block_hash.hex(),
    )


def kept_answer(
    drawn: DrawnAnswer,
    score: ClaimScore,
    found: Readings,
    before: EvidenceState,
    after: Step,
    now_us: int,
) -> KeptAnswer:
    """One audited answer with the detector's step that it was."""
    pending = drawn.pending
    claim, signed = pending.claim, pending.signed
    transcript = Transcript(
        request=signed.request,
        token_ids=claim.output_token_ids,
        logprobs=float16_bits(claim.logprobs or ()),
        seed=str(claim.seed),
        margins=score.margins,
        logprob_gaps=score.logprob_gaps,
    )
    return KeptAnswer(
        miner_hotkey=pending.miner_hotkey,
        release_digest=signed.response.release_digest,
        traffic=pending.traffic,
        has_consent=pending.has_consent,
        before=before,
        is_alarm=after.is_alarmed,
        evidence=AnswerEvidence(
            audited_at_us=now_us,
            draw=drawn.draw,
            sampling=signed.request.sampling,
            response=signed.response,
            signature=signed.signature,
            readings=dict(found),
            log_evidence=None if math.isinf(after.log_evidence) else after.log_evidence,
            transcript=transcript,
        ),
    )
