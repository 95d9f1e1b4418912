"""margins -> EVIDENCE -> alarm: a restartable e-detector that accumulates and never forgets.

Shiryaev-Roberts: M = (M + 1) * e after each response, per bet; the alarm is the mean of M over
the bets crossing c. If honest answers keep to the table, M minus the number of responses is a
supermartingale, so the average run to a false alarm is at least c responses, however often one
looks. (Shin, Ramdas, Rinaldo 2023, "E-detectors".)

State holds log(M + 1), which is finite, starts at 0 and survives JSON.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.core.verification.calibration import BUCKETS

_SEVERE = (0.38, 0.03, 0.06, 0.53)
_MEDIUM = (0.82, 0.03, 0.05, 0.10)
_MILD = (0.965, 0.01, 0.013, 0.012)


class Bet(BaseModel):
    """One guess at how a cheat's tokens fall into the buckets, and how often it cheats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_share: Annotated[float, Field(gt=0, le=1)]
    """Share of an answer's tokens that follow the profile; the rest are honest."""
    response_share: Annotated[float, Field(gt=0, le=1)]
    """Share of answers that are dishonest at all: what catches diluted cheating."""
    profile: Annotated[tuple[float, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if abs(sum(self.profile) - 1) > 1e-9 or min(self.profile) < 0:
            raise ValueError("a profile is a distribution over the buckets: it must sum to 1")
        return self


def reference_bets() -> tuple[Bet, ...]:
    """Severe (copy, foreign seed, smaller model), medium and mild, pure and diluted."""
    mixture = (
        (1.0, 1.0, _SEVERE),
        (0.3, 1.0, _SEVERE),
        (0.1, 0.05, _SEVERE),
        (0.5, 0.05, _SEVERE),
        (1.0, 1.0, _MEDIUM),
        (0.3, 1.0, _MEDIUM),
        (1.0, 1.0, _MILD),
        (0.3, 1.0, _MILD),
    )
    return tuple(
        Bet(token_share=tokens, response_share=responses, profile=profile)
        for tokens, responses, profile in mixture
    )


class EvidenceParams(BaseModel):
    """The bets and the bounds of one detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bets: Annotated[tuple[Bet, ...], Field(min_length=1)] = Field(default_factory=reference_bets)
    alarm_at: Annotated[float, Field(gt=1)] = 1e8
    """c: the average number of honest responses before a false alarm is at least this."""
    token_evidence_max: Annotated[float, Field(gt=1)] = 1e3
    response_evidence_max: Annotated[float, Field(gt=1)] = 1e5
    """Below `alarm_at`, so that one answer, however odd, cannot convict; two can."""

    @model_validator(mode="after")
    def _needs_two_responses(self) -> Self:
        if self.response_evidence_max >= self.alarm_at:
            raise ValueError("response_evidence_max must lie below alarm_at")
        return self

    @property
    def warn_at(self) -> float:
        """Where the audit rate goes up: the square root of `alarm_at`."""
        return math.sqrt(self.alarm_at)


class EvidenceState(BaseModel):
    """What a detector knows about one hotkey. It follows the hotkey through releases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log1p_evidence: tuple[float, ...]
    """log(M + 1) per bet, at least 0."""
    responses: int = 0
    tokens: int = 0


def fresh_state(params: EvidenceParams) -> EvidenceState:
    """A detector that has seen nothing."""
    return EvidenceState(log1p_evidence=(0.0,) * len(params.bets))


def update(
    state: EvidenceState, counts: Sequence[int], p0: Sequence[float], params: EvidenceParams
) -> EvidenceState:
    """The state after one more audited response.

    `counts` are its tokens per bucket (`calibration.bucket_counts`), `p0` the bounds for its
    parameters (`CalibrationTable.bounds`). Caps only lower evidence, so the bound stands.
    """
    assert len(state.log1p_evidence) == len(params.bets), "state of another mixture"
    assert len(counts) == len(p0) == BUCKETS
    return EvidenceState(
        log1p_evidence=tuple(
            _softplus(before + _log_response(bet, counts, p0, params))
            for bet, before in zip(params.bets, state.log1p_evidence, strict=True)
        ),
        responses=state.responses + 1,
        tokens=state.tokens + sum(counts),
    )


def log_evidence(*states: EvidenceState) -> float:
    """log of the mean M over all bets of all given detectors; -inf when all are empty.

    Several states are channels (margins, log-probabilities) that are averaged.
    """
    logs = [value for state in states for value in state.log1p_evidence]
    peak = max(logs)
    total = sum(math.exp(value - peak) - math.exp(-peak) for value in logs)
    return peak + math.log(total / len(logs)) if total > 0 else -math.inf


def alarm(state: EvidenceState, params: EvidenceParams) -> bool:
    """Whether the evidence crossed c."""
    return log_evidence(state) >= math.log(params.alarm_at)


def warn(state: EvidenceState, params: EvidenceParams) -> bool:
    """Whether the evidence crossed the square root of c."""
    return log_evidence(state) >= math.log(params.warn_at)


def _log_response(
    bet: Bet, counts: Sequence[int], p0: Sequence[float], params: EvidenceParams
) -> float:
    """log e of one response under one bet, capped."""
    log_e = sum(
        count * math.log(min(_ratio(bet, share, bound), params.token_evidence_max))
        for count, share, bound in zip(counts, bet.profile, p0, strict=True)
        if count
    )
    log_e = min(log_e, math.log(params.response_evidence_max))
    if bet.response_share == 1:
        return log_e
    return math.log(1 - bet.response_share + bet.response_share * math.exp(log_e))


def _ratio(bet: Bet, share: float, bound: float) -> float:
    return 1 - bet.token_share + bet.token_share * share / bound


def _softplus(value: float) -> float:
    """log(1 + exp(value)) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
