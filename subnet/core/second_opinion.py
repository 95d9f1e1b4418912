"""alarm, transcripts, another engine's scores -> SECOND OPINION -> gate: two engines convict.

The gate needs the first engine's alarm and the second one's confirmation, so that a second opinion
can only lower the probability of a false accusation, whatever engine gives it. The opinion starts
from nothing: what the first engine found before the kept answers does not count.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from subnet.core.audit import Traffic, readings
from subnet.core.bundle import AnswerEvidence, EvidenceRules
from subnet.core.canary import Canary
from subnet.core.gate import ALARM, GateClosure, Hold
from subnet.core.standing import MinerStanding
from subnet.core.verification.claim import Claim, ClaimScore, claim_of, from_float16_bits
from subnet.core.verification.evidence import EvidenceParams, Readings, alarm, fresh_state
from subnet.core.verification.verdict import replay


class Verdict(StrEnum):
    """What the second engine's evidence says of an alarm."""

    CONFIRMED = "CONFIRMED"
    CONTRADICTED = "CONTRADICTED"
    OPEN = "OPEN"
    """The transcripts left are too few: not even the first engine would alarm at them alone."""


@dataclass(frozen=True, slots=True)
class AlarmWindow:
    """The kept answers that one alarm rests on, users' words included: for our own eyes."""

    traffic: Traffic
    rules: EvidenceRules
    answers: tuple[AnswerEvidence, ...]


@dataclass(frozen=True, slots=True)
class Opinion:
    """One second opinion; `log` values are natural logarithms, at least 0."""

    verdict: Verdict
    first_log_evidence: float
    second_log_evidence: float
    answers: int


@dataclass(frozen=True, slots=True)
class OpinionRecord:
    """What a validator remembers of a second opinion that decided."""

    miner_hotkey: str
    release_digest: str
    traffic: Traffic
    engine: str
    verdict: Verdict
    at_ns: int
    first_log_evidence: float
    second_log_evidence: float
    answers: int


@dataclass(frozen=True, slots=True)
class SecondScores:
    """What a second engine found."""

    scores: list[ClaimScore]
    """In the order of the claims."""
    canary: Canary
    """Made by the second engine itself."""
    canary_scores: list[ClaimScore]
    """Of the canary's honest answers, then of the tampered ones."""


def claims_of(window: AlarmWindow) -> list[Claim]:
    """What the second engine recomputes. Every answer has its transcript."""
    claims: list[Claim] = []
    for answer in window.answers:
        transcript, response = answer.transcript, answer.response
        assert transcript is not None, "our own copy of a kept answer withholds nothing"
        claims.append(
            claim_of(
                transcript.request,
                transcript.token_ids,
                from_float16_bits(transcript.logprobs),
                response.finish_reason,
                miner_hotkey=response.miner_hotkey,
                caller_hotkey=response.caller_hotkey,
            )
        )
    return claims


def opinion_on(
    window: AlarmWindow, claims: Sequence[Claim], scores: Sequence[ClaimScore]
) -> Opinion:
    """Both engines' evidence on the same answers, each from a fresh detector.

    `claims` are `claims_of(window)`, `scores` the second engine's. CONFIRMED where its evidence
    reaches `confirm_at` anywhere on its path; CONTRADICTED only where the first engine's reaches
    `alarm_at` on these answers alone.
    """
    params = window.rules.evidence
    found: list[Readings] = []
    for claim, score in zip(claims, scores, strict=True):
        seen = readings(claim, score, window.rules.table, window.traffic)
        assert seen is not None, "no answer outside the calibrated envelope becomes evidence"
        found.append(seen)
    first = _peak((answer.readings for answer in window.answers), params)
    second = _peak(found, params)
    if second >= math.log(params.confirm_at):
        verdict = Verdict.CONFIRMED
    elif alarm(first, params):
        verdict = Verdict.CONTRADICTED
    else:
        verdict = Verdict.OPEN
    return Opinion(verdict, first, second, len(found))


def after_opinion(
    standing: MinerStanding, asked: Hold, opinion: Opinion, engine: str, at_ns: int
) -> MinerStanding:
    """The standing after the opinion on the alarm `asked`; unchanged if that is no longer open.

    A confirmed alarm closes the gate. A contradicted one leaves nothing: the detector has started
    over at the alarm, and what one epoch's weights went without is owed.
    """
    hold = standing.hold
    if hold is None or not _is_same(hold, asked) or opinion.verdict is Verdict.OPEN:
        return standing
    closure = standing.closure
    if opinion.verdict is Verdict.CONFIRMED:
        found = f"{hold.detail}, confirmed by {engine}: {power(opinion.second_log_evidence)}"
        closure = GateClosure(
            reason=ALARM,
            detail=found,
            at_ns=at_ns if closure is None else closure.at_ns,
            clean_answers=0 if closure is None else closure.clean_answers,
        )
        return standing.model_copy(update={"closure": closure, "hold": None, "owed_ppm": 0})
    is_caught_otherwise = closure is not None and closure.reason != ALARM
    return standing.model_copy(
        update={
            "closure": closure if is_caught_otherwise else None,
            "hold": None,
            "owed_ppm": standing.owed_ppm + (0 if is_caught_otherwise else hold.withheld_ppm or 0),
            "contradicted": standing.contradicted + 1,
        }
    )


def after_term(standing: MinerStanding, at_ns: int) -> MinerStanding:
    """The standing when new weights are due: a hold that one epoch's weights paid for is over.

    The gate then closes on the first engine's word, or whoever can keep our second engine from
    answering would never be caught. The question stays open: a later opinion still decides it.
    """
    hold = standing.hold
    if hold is None or hold.withheld_ppm is None or standing.closure is not None:
        return standing
    detail = f"{hold.detail}; no second opinion came within an epoch"
    closure = GateClosure(reason=ALARM, detail=detail, at_ns=at_ns)
    return standing.model_copy(update={"closure": closure})


def after_weights(
    standing: MinerStanding, withheld_ppm: int | None, owed_ppm: int
) -> MinerStanding:
    """The standing after the chain took weights.

    They went without `withheld_ppm` for a hold (None if there was none), and paid `owed_ppm`. Both
    were fixed when the weights were made; an opinion may have come since.
    """
    hold, owed = standing.hold, standing.owed_ppm - owed_ppm
    assert owed >= 0 or standing.closure is not None, "more was paid than was owed"
    if withheld_ppm is not None and standing.closure is None:
        if hold is None:
            owed += withheld_ppm
        elif hold.withheld_ppm is None:
            hold = hold.model_copy(update={"withheld_ppm": withheld_ppm})
    return standing.model_copy(update={"hold": hold, "owed_ppm": max(0, owed)})


def power(log_evidence: float) -> str:
    """A natural logarithm as a power of ten."""
    return f"1e{log_evidence / math.log(10):.1f}"


def _is_same(hold: Hold, asked: Hold) -> bool:
    return (hold.traffic, hold.at_ns, hold.detail) == (asked.traffic, asked.at_ns, asked.detail)


def _peak(found: Iterable[Readings], params: EvidenceParams) -> float:
    """The highest point of the detector's path; 0 where it never rose above one."""
    path = replay(fresh_state(params), found, params)
    return max([0.0, *(after.log_evidence for after in path)])
