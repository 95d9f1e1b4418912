"""committed answer -> AUDIT DRAW -> referee -> evidence: which answers are recomputed.

The draw hashes the signed response, a block that was final only after it arrived, and the
validator's committed secret. So the miner cannot know whether an answer will be audited when it
gives it, the validator cannot choose afterwards, and everybody can derive the draw again.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from subnet.core.verification.bounds import Reading, bucket_counts
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import (
    Channel,
    EvidenceParams,
    Readings,
    fresh_state,
    log_evidence,
    update,
    warn,
)
from subnet.core.verification.gaps import GapTable

PPM = 1_000_000
Ppm = Annotated[int, Field(ge=0, le=PPM)]


class Traffic(StrEnum):
    """Who asked. Alike on the wire (`docs/gaming.md` says how far); counted apart."""

    BENCHMARK = "BENCHMARK"
    """A generated task."""
    ORGANIC = "ORGANIC"
    """A user's own prompt."""
    ECHO = "ECHO"
    """A user's prompt that the validator asks again: audited as benchmarks are, read as users'."""

    @property
    def is_of_users(self) -> bool:
        """Whether a user chose the prompt, perhaps to harm the miner."""
        return self is not Traffic.BENCHMARK

    @property
    def is_own(self) -> bool:
        """Whether the validator asked of its own accord."""
        return self is not Traffic.ORGANIC


class AuditParams(BaseModel):
    """Which share of answers goes to the referee, in parts per million."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark_ppm: Ppm = 1_000_000
    """The validator's own requests, echoes included."""
    organic_ppm: Ppm = 50_000
    """Answers to users: 5 %, as recomputing costs about a ninth of generating."""
    suspect_ppm: Ppm = 500_000
    """Floor for miners on probation or under warning."""
    canary_every_audits: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """How often the referee must recognise honest and tampered answers again."""


def audit_share_ppm(traffic: Traffic, *, is_suspect: bool, params: AuditParams) -> int:
    """The share of a miner's answers that is audited."""
    share = params.benchmark_ppm if traffic.is_own else params.organic_ppm
    return max(share, params.suspect_ppm) if is_suspect else share


def answer_share_ppm(
    traffic: Traffic, *, is_in_burst: bool, is_suspect: bool, params: AuditParams
) -> int:
    """The share that holds for one answer from when it comes, before anybody knows its draw.

    In a burst answers to users are audited as benchmarks are.
    """
    asked = Traffic.BENCHMARK if is_in_burst else traffic
    return audit_share_ppm(asked, is_suspect=is_suspect, params=params)


def audit_draw_ppm(response_digest: str, block_hash: bytes, secret: bytes) -> int:
    """The draw in [0, 1 000 000): audited if it lies below the share."""
    message = b"assay/audit/1\n" + bytes.fromhex(response_digest) + block_hash + secret
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "big") * PPM >> 64


def reading_bounds(
    table: CalibrationTable,
    traffic: Traffic,
    *,
    temperature_milli: int,
    top_p_milli: int,
    top_k: int,
    context_tokens: int,
) -> tuple[tuple[float, ...], GapTable | None] | None:
    """What an answer is read by: bounds on its margins, and honest gaps where its own count.

    None if the table does not cover the request. Users choose their prompts, so theirs are read by
    wider bounds than benchmarks', and by margins alone.
    """
    of_users = traffic.is_of_users
    if not of_users:
        table = table.for_benchmark(temperature_milli, top_p_milli, top_k)
    bounds = table.bounds(temperature_milli, top_p_milli, context_tokens, of_users=of_users)
    return None if bounds is None else (bounds, None if of_users else table.gaps)


def readings(
    claim: Claim, score: ClaimScore, table: CalibrationTable, traffic: Traffic
) -> Readings | None:
    """What each channel saw in one answer; None if the table does not cover the request.

    An answer without log-probabilities, or of a length and temperature that has no honest gaps on
    record, is read by its margins alone. So is a structured one: a hostile schema forces tokens so
    unlikely that honest gaps double (12 false alarms in 111,758 such tokens), and margins do not.
    """
    judged_by = reading_bounds(
        table,
        traffic,
        temperature_milli=claim.temperature_milli,
        top_p_milli=claim.top_p_milli,
        top_k=claim.top_k,
        context_tokens=len(claim.prompt_token_ids) + len(claim.output_token_ids),
    )
    if judged_by is None:
        return None
    bounds, gaps = judged_by
    found = {Channel.MARGIN: Reading(bucket_counts(score.margins, table.edges_logits), bounds)}
    if gaps is None or claim.structure is not None:
        return found
    gap = gaps.reading(score.logprob_gaps, claim.temperature_milli)
    return found if gap is None else {**found, Channel.LOGPROB: gap}


def is_referee_sound(
    honest: Sequence[tuple[Claim, ClaimScore]],
    tampered: Sequence[tuple[Claim, ClaimScore]],
    table: CalibrationTable,
    params: EvidenceParams,
) -> bool:
    """Whether known-honest answers raise no warning and tampered ones do.

    A referee that fails this accuses nobody and clears nobody, until it passes again.
    """

    def is_warned(answers: Sequence[tuple[Claim, ClaimScore]]) -> bool:
        state = fresh_state(params)
        for claim, score in answers:
            found = readings(claim, score, table, Traffic.BENCHMARK)
            if found is not None:
                state = update(state, found, params)
        return warn(log_evidence(state), params)

    return not is_warned(honest) and is_warned(tampered)
