"""exchange, audit -> STANDING -> score: everything that a validator remembers of one miner.

Keyed by hotkey and release, never by uid, which is a slot that others inherit. Sums decay with
each observation, not with time: a miner that nobody asked keeps exactly what it had.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocol.errors import Rejection, RejectionReason
from subnet.core.audit import Traffic
from subnet.core.capacity import BurstResult, Capacity, CapacityParams
from subnet.core.capacity import after_burst as capacity_after_burst
from subnet.core.gate import GateClosure, Hold, closure_after_audit, on_alarm
from subnet.core.reputation import Mass
from subnet.core.verification.evidence import (
    Channel,
    EvidenceParams,
    EvidenceState,
    Readings,
    fresh_state,
    log_evidence,
)
from subnet.core.verification.verdict import step

PASSING: Final = frozenset({RejectionReason.CAPACITY_FULL, RejectionReason.STOPPING})
"""Why an honest miner may say no for a while."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Blame(StrEnum):
    """Who is at fault when there is no answer. All are counted; only the first two cost."""

    MINER = "MINER"
    BACK_PRESSURE = "BACK_PRESSURE"
    """The miner said honestly that it is full: nearly free while rare, or honesty would not pay."""
    NETWORK = "NETWORK"
    """Most of the others could not be reached at that moment either: the way there is broken."""
    GATEWAY = "GATEWAY"
    """We asked for more at once than the miner offers one caller."""
    VERIFIER = "VERIFIER"
    """Our own machine was overloaded: it read answers late."""


class StandingParams(_Frozen):
    """How fast a miner's past fades, and the way back for one that was caught."""

    quality_half_life_answers: Annotated[float, Field(gt=0, le=1e6)] = 500.0
    latency_half_life_answers: Annotated[float, Field(gt=0, le=1e6)] = 100.0
    availability_half_life_requests: Annotated[float, Field(gt=0, le=1e6)] = 100.0
    back_pressure_weight: Annotated[float, Field(ge=0, le=1)] = 0.1
    """What a rare 429 costs next to a fault; see `back_pressure_cost`."""
    back_pressure_share_rare: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Up to this share of recent requests a refusal costs only `back_pressure_weight`."""
    back_pressure_share_common: Annotated[float, Field(gt=0, le=1)] = 0.2
    """From this share on it costs as much as a fault, or a miner could pick its tasks."""
    back_pressure_prior_requests: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Requests for which a newcomer is taken as never refusing."""
    retry_after_ms_max: Annotated[int, Field(ge=1, le=3_600_000)] = 60_000
    """Back-pressure that asks us to wait for longer, or names no time, is no back-pressure."""
    back_pressure_request_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 2000
    """So much of the time that it asks for counts as one more refused request."""
    reinstatement_answers: Annotated[int, Field(ge=1, le=10_000_000)] = 5000
    """Audited answers in a row without a warning that open a closed gate, into probation."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.back_pressure_share_rare >= self.back_pressure_share_common:
            raise ValueError("back_pressure_share_rare must lie below back_pressure_share_common")
        return self


class Decayed(_Frozen):
    """A weighted sum that halves every so many observations."""

    total: float = 0.0
    weight: float = 0.0

    def mean(self, prior: float, prior_weight: float) -> float:
        """The mean, shrunk towards `prior` as if that had been seen `prior_weight` times."""
        return (self.total + prior * prior_weight) / (self.weight + prior_weight)


class MinerStanding(_Frozen):
    """What is known of one hotkey on one release."""

    hotkey: str
    release_digest: str
    evidence: dict[Traffic, EvidenceState]
    """One detector per kind of traffic: who cheats users only must show in theirs."""
    requests: int = 0
    answered: int = 0
    audited: int = 0
    """Answers that the referee recomputed."""
    verified: int = 0
    """Audited answers that agreed with the release, since probation began."""
    inconclusive: int = 0
    """Audited answers outside the calibrated envelope: blame nobody, earn nothing."""
    coverage: Decayed = Decayed()
    """Which recent audits could be judged: 1 inside the calibrated envelope, 0 outside."""
    faults: dict[str, int] = {}
    """By word."""
    blames: dict[Blame, int] = {}
    """The same by who is to blame."""
    capacity: Capacity = Capacity()
    quality: Decayed = Decayed()
    """Grades of verified answers, in [0, 1]."""
    latency: Decayed = Decayed()
    """Latency factors of answers, in [0, 1]."""
    availability: Decayed = Decayed()
    back_pressure: Decayed = Decayed()
    """Which recent requests met back-pressure: 1 for a refusal, 0 for an answer or a fault."""
    closure: GateClosure | None = None
    hold: Hold | None = None
    """Open until the second opinion came. Beside an `ALARM` closure: none came within an epoch."""
    owed_ppm: int = 0
    """Score that an unfounded hold kept from the last weights; the next ones pay it."""
    reputation: dict[str, Mass] = {}
    """Grades of verified answers by family, fading by time: for routing, not for pay."""
    contradicted: int = 0
    """Alarms that the second engine did not share: the verifier's fault, not the miner's."""

    @property
    def log_evidence(self) -> float:
        """The natural logarithm of the stronger detector's evidence; -inf for none."""
        return max(log_evidence(state) for state in self.evidence.values())


def fresh_standing(hotkey: str, release_digest: str, evidence: EvidenceParams) -> MinerStanding:
    """A miner that was never asked."""
    states = {traffic: fresh_state(evidence) for traffic in Traffic}
    return MinerStanding(hotkey=hotkey, release_digest=release_digest, evidence=states)


def moved_standing(before: MinerStanding, release_digest: str) -> MinerStanding:
    """The same hotkey on another release: evidence and gate follow it, merits do not."""
    return MinerStanding(
        hotkey=before.hotkey,
        release_digest=release_digest,
        evidence=before.evidence,
        closure=before.closure,
        hold=before.hold,
        contradicted=before.contradicted,
    )


def fitted_standing(standing: MinerStanding, evidence: EvidenceParams) -> MinerStanding:
    """The same standing, its detectors started over if they were of another mixture of bets."""
    wanted = _mixture(fresh_state(evidence))
    if all(_mixture(state) == wanted for state in standing.evidence.values()):
        return standing
    states = {traffic: fresh_state(evidence) for traffic in Traffic}
    return standing.model_copy(update={"evidence": states})


def _mixture(state: EvidenceState) -> dict[Channel, int]:
    return {channel: len(values) for channel, values in state.log1p_evidence.items()}


def observed(sums: Decayed, value: float, weight: float, half_life: float) -> Decayed:
    """The sums after one more observation."""
    keep = 0.5 ** (weight / half_life)
    return Decayed(total=sums.total * keep + value * weight, weight=sums.weight * keep + weight)


def blame_of_refusal(rejection: Rejection | None, params: StandingParams) -> Blame:
    """Who is to blame for a refusal.

    Only back-pressure is honest, and only if it says when to ask again, before long. A full miner
    may be full of others' requests, so how many of ours it has does not matter; a budget of tokens
    is none that its card declares. Any other refusal counts against the miner, although some are
    ours to mend (a wrong clock): those hit all miners alike, and a free refusal would let a miner
    choose its tasks.
    """
    if rejection is None or rejection.reason not in PASSING:
        return Blame.MINER
    is_named = 0 < (rejection.retry_after_ms or 0) <= params.retry_after_ms_max
    return Blame.BACK_PRESSURE if is_named else Blame.MINER


def requests_refused(rejection: Rejection | None, params: StandingParams) -> float:
    """How many requests a refusal stands for: in the time that it asks for we ask nothing."""
    wait_ms = 0 if rejection is None else rejection.retry_after_ms or 0
    return max(1.0, wait_ms / params.back_pressure_request_ms)


def back_pressure_cost(share: float, params: StandingParams) -> float:
    """What one refusal costs next to a fault, in [0, 1], by the share of requests refused.

    `back_pressure_weight` while rare, 1 once common, a smoothstep between: whoever refuses much
    loses as much as if it had failed, so that choosing the easy tasks does not pay.
    """
    rare, common = params.back_pressure_share_rare, params.back_pressure_share_common
    way = min(max((share - rare) / (common - rare), 0.0), 1.0)
    lowest = params.back_pressure_weight
    return lowest + (1.0 - lowest) * way * way * (3.0 - 2.0 * way)


def after_answer(
    standing: MinerStanding, latency_factor: float, params: StandingParams
) -> MinerStanding:
    """The standing after an answer that passed every structural check."""
    assert 0 <= latency_factor <= 1, latency_factor

    return standing.model_copy(
        update={
            "requests": standing.requests + 1,
            "answered": standing.answered + 1,
            "latency": observed(
                standing.latency, latency_factor, 1.0, params.latency_half_life_answers
            ),
            "availability": observed(
                standing.availability, 1.0, 1.0, params.availability_half_life_requests
            ),
            "back_pressure": observed(
                standing.back_pressure, 0.0, 1.0, params.availability_half_life_requests
            ),
        }
    )


def after_fault(
    standing: MinerStanding,
    word: str,
    blame: Blame,
    params: StandingParams,
    missed_requests: float = 1.0,
) -> MinerStanding:
    """The standing after a request that brought no answer; `word` says why.

    `missed_requests` is how many it stands for: more than one if the miner could not even be
    asked, or named a time to wait.
    """
    counted = {
        "requests": standing.requests + 1,
        "faults": _counted(standing.faults, word),
        "blames": {**standing.blames, blame: standing.blames.get(blame, 0) + 1},
    }
    if blame not in (Blame.MINER, Blame.BACK_PRESSURE):
        return standing.model_copy(update=counted)
    half_life = params.availability_half_life_requests
    is_refused = blame is Blame.BACK_PRESSURE
    refused = observed(standing.back_pressure, float(is_refused), missed_requests, half_life)
    share = refused.mean(0.0, params.back_pressure_prior_requests)
    cost = back_pressure_cost(share, params) if is_refused else 1.0
    availability = observed(standing.availability, 0.0, cost * missed_requests, half_life)
    return standing.model_copy(
        update={**counted, "availability": availability, "back_pressure": refused}
    )


def after_burst(
    standing: MinerStanding, result: BurstResult, params: CapacityParams
) -> MinerStanding:
    """The standing after a burst whose answers were all audited."""
    capacity = capacity_after_burst(standing.capacity, result, params)
    return standing.model_copy(update={"capacity": capacity})


def after_violation(
    standing: MinerStanding, word: str, detail: str, at_ns: int, params: StandingParams
) -> MinerStanding:
    """The standing after a signed answer that no honest engine gives: the gate closes at once."""
    faulty = after_fault(standing, word, Blame.MINER, params)
    closure = GateClosure(reason=word, detail=detail, at_ns=at_ns)
    return faulty.model_copy(update={"closure": closure, "owed_ppm": 0})


def after_audit(
    standing: MinerStanding,
    traffic: Traffic,
    found: Readings | None,
    grade: float | None,
    at_ns: int,
    params: StandingParams,
    evidence: EvidenceParams,
    *,
    has_second_opinion: bool = False,
) -> MinerStanding:
    """The standing after the referee recomputed one answer.

    `found` is `audit.readings`, None outside the calibrated envelope. `grade` is the task's
    quality in [0, 1], None for traffic without one. An alarm restarts the detector, so that what
    comes after is judged afresh; it holds pay if a second opinion is to come, and closes the gate
    if not.
    """
    if found is None:
        return standing.model_copy(
            update={
                "audited": standing.audited + 1,
                "inconclusive": standing.inconclusive + 1,
                "coverage": observed(standing.coverage, 0.0, 1.0, params.quality_half_life_answers),
            }
        )
    after = step(standing.evidence[traffic], found, evidence)
    state, is_alarmed, is_warned = after.state, after.is_alarmed, after.is_warned
    closure, hold = closure_after_audit(standing.closure, is_warned=is_warned), standing.hold
    if is_alarmed:
        raised = Hold(traffic=traffic, detail=_alarm_detail(traffic, state), at_ns=at_ns)
        closure, hold = on_alarm(closure, hold, raised, has_second_opinion=has_second_opinion)
    if closure is not None and closure.clean_answers >= params.reinstatement_answers:
        closure, hold = None, None
        standing = standing.model_copy(update={"verified": 0})
    changes: dict[str, object] = {
        "audited": standing.audited + 1,
        "coverage": observed(standing.coverage, 1.0, 1.0, params.quality_half_life_answers),
        "evidence": {**standing.evidence, traffic: fresh_state(evidence) if is_alarmed else state},
        "closure": closure,
        "hold": hold,
    }
    if not is_warned:
        changes["verified"] = standing.verified + 1
        if grade is not None:
            half_life = params.quality_half_life_answers
            changes["quality"] = observed(standing.quality, grade, 1.0, half_life)
    return standing.model_copy(update=changes)


def _alarm_detail(traffic: Traffic, state: EvidenceState) -> str:
    odds = log_evidence(state) / math.log(10)
    return f"{traffic.lower()} evidence 1e{odds:.1f} over {state.responses} answers"


def _counted(faults: Mapping[str, int], word: str) -> dict[str, int]:
    return {**faults, word: faults.get(word, 0) + 1}
