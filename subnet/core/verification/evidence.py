"""margins -> EVIDENCE -> alarm: a restartable e-detector that accumulates and never forgets.

Shiryaev-Roberts: M = (M + 1) * e after each response, per bet; the alarm is the mean of M over
the bets crossing c. If honest answers keep to the table, M minus the number of responses is a
supermartingale, so the average run to a false alarm is at least c responses, however often one
looks. (Shin, Ramdas, Rinaldo 2023, "E-detectors".)

Two channels, each with bets and a state of its own, are averaged: margins see every sampling
cheat, log-probability gaps see rounded weights.

State holds log(M + 1), which is finite, starts at 0 and survives JSON.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import BUCKETS
from subnet.core.verification.gaps import GAP_BUCKETS

_SEVERE = (0.38, 0.03, 0.06, 0.53)
_MEDIUM = (0.82, 0.03, 0.05, 0.10)
_MILD = (0.965, 0.01, 0.013, 0.012)
_FAINT = (0.9955, 0.0018, 0.0012, 0.0015)
_RARE = (0.997, 0.0005, 0.0003, 0.0022)
"""Learned from the lab's loose speculation at .3, and from top-p 1 and the confidence cascade; they
need bounds from some 200,000 tokens a band (docs/decisions/0010)."""


_SLIGHT = (0.998, 0.0008, 0.0007, 0.0005)
"""Hardly more than the bounds: whoever alternates with honest answers must not get far below it."""


class Channel(StrEnum):
    """What a referee compares."""

    MARGIN = "MARGIN"
    """Each token's margin: did the promised sampling choose it?"""
    LOGPROB = "LOGPROB"
    """An answer's mean log-probability gap: were these the promised weights?"""


BUCKETS_OF: Final = {Channel.MARGIN: BUCKETS, Channel.LOGPROB: GAP_BUCKETS}


class Bet(BaseModel):
    """One guess at how a cheat's tokens (or answers) fall into the buckets, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_share: Annotated[float, Field(gt=0, le=1)]
    """Share of an answer's tokens that follow the profile; the rest are honest."""
    response_share: Annotated[float, Field(gt=0, le=1)]
    """Share of answers that are dishonest at all: what catches diluted cheating."""
    profile: Annotated[tuple[float, ...], Field(min_length=2, max_length=16)]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if abs(sum(self.profile) - 1) > 1e-9 or min(self.profile) < 0:
            raise ValueError("a profile is a distribution over the buckets: it must sum to 1")
        return self


def reference_bets() -> tuple[Bet, ...]:
    """Severe (copy, foreign seed, smaller model) to rare, pure and diluted."""
    mixture = (
        (1.0, 1.0, _SEVERE),
        (0.3, 1.0, _SEVERE),
        (0.1, 0.05, _SEVERE),
        (0.5, 0.05, _SEVERE),
        (1.0, 1.0, _MEDIUM),
        (0.3, 1.0, _MEDIUM),
        (1.0, 1.0, _MILD),
        (0.3, 1.0, _MILD),
        (1.0, 1.0, _FAINT),
        (1.0, 1.0, _RARE),
        (1.0, 1.0, _SLIGHT),
        (1.0, 0.3, _SLIGHT),
        (1.0, 0.1, _SLIGHT),
    )
    return tuple(
        Bet(token_share=tokens, response_share=responses, profile=profile)
        for tokens, responses, profile in mixture
    )


_GAP_PROFILES = (
    (0.02, 0.03, 0.05, 0.10, 0.80),
    (0.15, 0.20, 0.20, 0.20, 0.25),
    (0.35, 0.30, 0.20, 0.10, 0.05),
    (0.60, 0.25, 0.10, 0.04, 0.01),
)
"""Other weights; int4, fp8 and int8 roundings of the right ones."""
_GAP_TAIL = (0.70, 0.10, 0.10, 0.05, 0.05)
"""Rounded weights in some answers: rare buckets have the sharpest bounds for their size."""


def reference_gap_bets() -> tuple[Bet, ...]:
    """One per kind of weights, always; for the coarsest also in one answer of twenty; and the tail,
    down to the shares that a cheat could keep to that watches its own evidence."""
    always = [Bet(token_share=1, response_share=1, profile=profile) for profile in _GAP_PROFILES]
    rarely = Bet(token_share=1, response_share=0.05, profile=_GAP_PROFILES[0])
    tails = [
        Bet(token_share=1, response_share=share, profile=_GAP_TAIL) for share in (1, 0.2, 0.05)
    ]
    return (*always, rarely, *tails)


class EvidenceParams(BaseModel):
    """The bets and the bounds of one detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bets: Annotated[tuple[Bet, ...], Field(min_length=1)] = Field(default_factory=reference_bets)
    gap_bets: Annotated[tuple[Bet, ...], Field(min_length=1)] = Field(
        default_factory=reference_gap_bets
    )
    """Bets on whole answers, in the LOGPROB channel: token and answer are one there."""
    alarm_at: Annotated[float, Field(gt=1)] = 1e8
    """c: the average number of honest responses before a false alarm is at least this."""
    doubt_at: Annotated[float, Field(ge=1)] = 100.0
    """Where pay begins to fall: above what honest answers' evidence keeps to by itself."""
    confirm_slack: Annotated[float, Field(ge=1)] = 200.0
    """How much weaker than `alarm_at` the second engine's evidence may be and still confirm."""
    token_evidence_max: Annotated[float, Field(gt=1)] = 1e3
    response_evidence_max: Annotated[float, Field(gt=1)] = 1e5
    """Below `alarm_at`, so that one answer, however odd, cannot convict; two can."""

    @model_validator(mode="after")
    def _needs_two_responses(self) -> Self:
        if self.response_evidence_max >= self.alarm_at:
            raise ValueError("response_evidence_max must lie below alarm_at")
        return self

    @model_validator(mode="after")
    def _doubts_before_it_alarms(self) -> Self:
        if self.doubt_at >= self.alarm_at:
            raise ValueError("doubt_at must lie below alarm_at")
        return self

    @model_validator(mode="after")
    def _fits_the_buckets(self) -> Self:
        for channel in Channel:
            wanted = BUCKETS_OF[channel]
            if any(len(bet.profile) != wanted for bet in self.bets_of(channel)):
                raise ValueError(f"a profile of the {channel} channel has {wanted} buckets")
        return self

    def bets_of(self, channel: Channel) -> tuple[Bet, ...]:
        """The mixture of one channel."""
        return self.bets if channel is Channel.MARGIN else self.gap_bets

    @property
    def warn_at(self) -> float:
        """Where the audit rate goes up: the square root of `alarm_at`."""
        return math.sqrt(self.alarm_at)

    @property
    def confirm_at(self) -> float:
        """Where a second engine's evidence confirms an alarm; one answer alone cannot."""
        return max(self.alarm_at / self.confirm_slack, self.response_evidence_max)


class EvidenceState(BaseModel):
    """What a detector knows about one hotkey. It follows the hotkey through releases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log1p_evidence: dict[Channel, tuple[float, ...]]
    """log(M + 1) per channel and bet, at least 0."""
    responses: int = 0
    tokens: int = 0


Readings = Mapping[Channel, Reading]
"""What each channel saw in one answer; a channel that could not look is absent."""


def fresh_state(params: EvidenceParams) -> EvidenceState:
    """A detector that has seen nothing."""
    return EvidenceState(
        log1p_evidence={channel: (0.0,) * len(params.bets_of(channel)) for channel in Channel}
    )


def update(state: EvidenceState, readings: Readings, params: EvidenceParams) -> EvidenceState:
    """The state after one more audited response (`audit.readings`).

    Caps only lower evidence, so the bound stands. A channel without a reading keeps its state.
    """
    evidence = dict(state.log1p_evidence)
    for channel, reading in readings.items():
        before, factors = evidence[channel], _log_factors(channel, reading, params)
        assert len(before) == len(factors), "state of another mixture"
        evidence[channel] = tuple(
            [_softplus(value + log_e) for value, log_e in zip(before, factors, strict=True)]
        )
    margin = readings.get(Channel.MARGIN)
    return EvidenceState(
        log1p_evidence=evidence,
        responses=state.responses + 1,
        tokens=state.tokens + (sum(margin.counts) if margin else 0),
    )


def log_evidence(state: EvidenceState) -> float:
    """log of M, averaged over each channel's bets and then over the channels; -inf for none."""
    logs = [_log_mean(values) for values in state.log1p_evidence.values()]
    return _log_sum(logs) - math.log(len(logs))


def alarm(evidence: float, params: EvidenceParams) -> bool:
    """Whether evidence, as `log_evidence` gives it, crossed c."""
    return evidence >= math.log(params.alarm_at)


def warn(evidence: float, params: EvidenceParams) -> bool:
    """Whether it crossed the square root of c."""
    return evidence >= math.log(params.warn_at)


@lru_cache(maxsize=4096)
def _log_factors(channel: Channel, reading: Reading, params: EvidenceParams) -> tuple[float, ...]:
    """`log_factor` of each of a channel's bets. Most answers are quiet: one of few readings."""
    return tuple(log_factor(bet, reading, params) for bet in params.bets_of(channel))


def log_factor(bet: Bet, reading: Reading, params: EvidenceParams) -> float:
    """log e of one response under one bet, capped."""
    counts = reading.counts
    log_e = sum(
        count * math.log(min(ratio, params.token_evidence_max))
        for count, ratio in zip(counts, ratios(bet, reading.p0), strict=True)
        if count
    )
    log_e = min(log_e, math.log(params.response_evidence_max))
    if bet.response_share == 1:
        return log_e
    return math.log(1 - bet.response_share + bet.response_share * math.exp(log_e))


@lru_cache(maxsize=4096)
def ratios(bet: Bet, p0: tuple[float, ...]) -> tuple[float, ...]:
    """e per bucket: its mean is at most 1 under every truth that keeps to the bounds p0[1:].

    The truth that favours the bet most sits on the bound of each bucket that pays more than the
    quiet one; what it leaves is quiet. So the quiet bucket pays (1 - their profile) / (1 - their
    bounds), and a bucket that would pay less than that pays as much.
    """
    loud = set(range(1, len(p0)))
    quiet_pays = bet.profile[0]
    while sum(p0[bucket] for bucket in loud) < 1:
        quiet_pays = (1 - sum(bet.profile[bucket] for bucket in loud)) / (
            1 - sum(p0[bucket] for bucket in loud)
        )
        low = {bucket for bucket in loud if bet.profile[bucket] / p0[bucket] < quiet_pays}
        if not low:
            break
        loud -= low
    share = bet.token_share
    return tuple(
        1 - share + share * (bet.profile[bucket] / p0[bucket] if bucket in loud else quiet_pays)
        for bucket in range(len(p0))
    )


def _log_mean(log1p_values: Sequence[float]) -> float:
    """log of the mean M of values log(M + 1)."""
    peak = max(log1p_values)
    one = math.exp(-peak)
    total = sum([math.exp(value - peak) - one for value in log1p_values])
    return peak + math.log(total / len(log1p_values)) if total > 0 else -math.inf


def _log_sum(logs: Sequence[float]) -> float:
    """log of the sum of exponentials; -inf for a sum of zeros."""
    peak = max(logs)
    if peak == -math.inf:
        return peak
    return peak + math.log(sum([math.exp(value - peak) for value in logs]))


def _softplus(value: float) -> float:
    """log(1 + exp(value)) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
