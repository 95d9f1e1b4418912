"""standing -> SCORE -> weights: what a miner has earned, in millionths of a full token a second.

score = gate x hold x integrity x probation x coverage x release quality x release value
        x proven capacity x latency x availability.
All factors lie between nothing and one but the capacity, in thousandths of a token a second: a
score of 1 000 000 is that of full marks at one token a second. Quality is pooled over the release:
with model and noise fixed, which honest miner passes a task is luck, and luck is not paid for. The
other factors are what a miner controls. All are smooth and monotone; only the gate and the hold are
cliffs: one stands for proof, the other waits for it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.core.audit import PPM, Ppm
from subnet.core.capacity import MILLI, CapacityParams, paid_tps_milli
from subnet.core.gate import ALARM
from subnet.core.standing import Decayed, MinerStanding
from subnet.core.verification.evidence import EvidenceParams, warn

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class LatencyBars(BaseModel):
    """Absolute bars, not ranks: one slow peer changes nobody else's score.

    A bar exceeded twofold earns a half at most; marks fall slowly with the mean arrival besides.
    The defaults suit a shared CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_token_seconds_max: Seconds = 5.0
    token_gap_seconds_max: Seconds = 2.0
    """The longest silence inside a stream."""
    token_seconds_max: Seconds = 0.25
    """Average time a token, on top of the first token's bar."""
    lateness_free_seconds: Seconds = 0.5
    """Tokens that arrive so early on average count as at once: the way there, and the prompt."""
    lateness_share: Share = 0.5
    """Most that later ones cost below the bars; half of it if every token comes at its bar."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.lateness_free_seconds >= self.first_token_seconds_max:
            raise ValueError("lateness_free_seconds must lie below first_token_seconds_max")
        return self


class ScoringParams(LatencyBars):
    """What counts how much."""

    integrity_check: bool = True
    """Off, evidence is recorded but neither gates nor grades: for log-only starts of a release."""
    probation_answers: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Verified answers until users' prompts come."""
    full_pay_answers: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Verified answers until full pay; before that pay grows in proportion. So many that the
    faintest cheats are seen before: else one could live off registering again after each alarm."""
    quality_prior: Share = 0.5
    """Quality assumed of a release that nobody has verified."""
    quality_prior_answers: Annotated[float, Field(gt=0, le=10_000)] = 8.0
    availability_prior_requests: Annotated[float, Field(gt=0, le=10_000)] = 5.0
    """Requests for which a newcomer is taken as available, so that one slip is no disaster."""
    release_values_ppm: dict[str, Ppm] = {}
    """What one token of a release is worth beside the dearest, by its digest; others are worth
    1 000 000."""
    release_bars: dict[str, LatencyBars] = {}
    """Bars of single releases, by digest; those above hold for the others."""

    def bars_of(self, release_digest: str) -> LatencyBars:
        """The bars that hold for a release."""
        return self.release_bars.get(release_digest, self)

    def value_ppm_of(self, release_digest: str) -> int:
        """The worth of a release."""
        return self.release_values_ppm.get(release_digest, PPM)


class Score(BaseModel):
    """The factors of one miner's score and their product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate_ppm: int
    """0 or 1 000 000."""
    hold_ppm: int
    """0 while an alarm waits for its second opinion, else 1 000 000."""
    integrity_ppm: int
    """Falls from a doubt to an alarm, linearly in the logarithm of the evidence."""
    probation_ppm: int
    coverage_ppm: int
    """Share of recent audits that the calibration could judge: the rest is not paid for."""
    quality_ppm: int
    value_ppm: int
    """What its release's tokens are worth."""
    capacity_tps_milli: int
    """Proven tokens a second in thousandths; 1000 for everybody where capacity is not measured."""
    latency_ppm: int
    availability_ppm: int

    @property
    def factors_ppm(self) -> tuple[int, ...]:
        """All factors but the capacity, in the order of the formula."""
        return (
            self.gate_ppm,
            self.hold_ppm,
            self.integrity_ppm,
            self.probation_ppm,
            self.coverage_ppm,
            self.quality_ppm,
            self.value_ppm,
            self.latency_ppm,
            self.availability_ppm,
        )

    @property
    def marks_ppm(self) -> int:
        """The product of all factors but the capacity: what a token of this miner is paid."""
        return int(math.prod(self.factors_ppm) // PPM ** (len(self.factors_ppm) - 1))

    @property
    def total_ppm(self) -> int:
        """The exact product, rounded down once; PPM is full marks at one token a second."""
        product = math.prod(self.factors_ppm) * self.capacity_tps_milli
        return int(product // (PPM ** (len(self.factors_ppm) - 1) * MILLI))

    @property
    def unheld_ppm(self) -> int:
        """What the score would be without the hold."""
        return self.model_copy(update={"hold_ppm": PPM}).total_ppm


def is_gate_open(standing: MinerStanding, params: ScoringParams) -> bool:
    """Whether anything is paid at all; an exact violation counts even with the check off."""
    closure = standing.closure
    return closure is None or (closure.reason == ALARM and not params.integrity_check)


def is_held(standing: MinerStanding, params: ScoringParams) -> bool:
    """Whether new pay waits for a second opinion."""
    return standing.hold is not None and params.integrity_check


def pay_ppm(standing: MinerStanding, score: Score) -> int:
    """What the next weights give: the score, and what an unfounded hold kept from the last."""
    is_open = score.gate_ppm > 0 and score.hold_ppm > 0
    return score.total_ppm + standing.owed_ppm if is_open else 0


def is_suspect(standing: MinerStanding, params: ScoringParams, evidence: EvidenceParams) -> bool:
    """Whether more of this miner's answers are audited: on probation, warned or caught."""
    return (
        standing.verified < params.probation_answers
        or standing.closure is not None
        or standing.hold is not None
        or warn(standing.log_evidence, evidence)
    )


def is_verified(
    before: MinerStanding, after: MinerStanding, params: ScoringParams, *, is_covered: bool
) -> bool:
    """Whether an audit found the answer to agree with the release, or holds nothing against it.

    `before` and `after` are the standings around it; `is_covered` says whether the calibration
    covers it.
    """
    return after.verified > before.verified or (is_covered and not params.integrity_check)


def has_passed_probation(standing: MinerStanding, params: ScoringParams) -> bool:
    """Whether users' own prompts may go to this miner."""
    is_open = is_gate_open(standing, params) and not is_held(standing, params)
    return is_open and standing.verified >= params.probation_answers


def release_quality_ppm(standings: Iterable[MinerStanding], params: ScoringParams) -> int:
    """A release's quality over the verified answers of all miners whose gate is open.

    `standings` are of one release. A mean of a Beta posterior: the prior counts for
    `quality_prior_answers`.
    """
    open_ones = [standing.quality for standing in standings if is_gate_open(standing, params)]
    pooled = Decayed(
        total=sum(sums.total for sums in open_ones), weight=sum(sums.weight for sums in open_ones)
    )
    return _ppm(pooled.mean(params.quality_prior, params.quality_prior_answers))


def score_miner(
    standing: MinerStanding,
    quality_ppm: int,
    params: ScoringParams,
    evidence: EvidenceParams,
    capacity: CapacityParams,
) -> Score:
    """The score of one miner; `quality_ppm` is its release's."""
    latency, coverage = standing.latency, standing.coverage
    return Score(
        gate_ppm=PPM if is_gate_open(standing, params) else 0,
        hold_ppm=0 if is_held(standing, params) else PPM,
        integrity_ppm=_ppm(integrity_factor(standing.log_evidence, evidence))
        if params.integrity_check
        else PPM,
        probation_ppm=PPM
        * min(_credited(standing, params), params.full_pay_answers)
        // params.full_pay_answers,
        coverage_ppm=_ppm(coverage.total / coverage.weight) if coverage.weight > 0 else PPM,
        quality_ppm=quality_ppm,
        value_ppm=params.value_ppm_of(standing.release_digest),
        capacity_tps_milli=paid_tps_milli(standing.capacity, capacity),
        latency_ppm=_ppm(latency.total / latency.weight) if latency.weight > 0 else PPM,
        availability_ppm=_ppm(standing.availability.mean(1.0, params.availability_prior_requests)),
    )


def integrity_factor(log_evidence: float, evidence: EvidenceParams) -> float:
    """1 up to the doubt, 0 from the alarm on, linear in the logarithm between.

    The doubt lies just above honest evidence: whoever cheats only while its own copy of the
    detector is calm has to stay there, where there is little room.
    """
    doubted, alarmed = math.log(evidence.doubt_at), math.log(evidence.alarm_at)
    return 1.0 - min(max((log_evidence - doubted) / (alarmed - doubted), 0.0), 1.0)


def gap_us_max(token_times_us: Sequence[int], bars: LatencyBars) -> int:
    """The longest silence inside a stream; arrival times since the request was sent, in order.

    A silence counts for no more than if all before it had been held back to its end, when the first
    token's bar would judge it: otherwise holding tokens back would pay.
    """
    scale = bars.token_gap_seconds_max / bars.first_token_seconds_max
    silences = (
        min(after - before, math.floor(after * scale))
        for before, after in itertools.pairwise(token_times_us)
    )
    return max(silences, default=0)


class AnswerTimes(NamedTuple):
    """When one answer's tokens came, microseconds since the request was sent, at the asking end."""

    first_token_us: int
    gap_us: int
    """`gap_us_max`."""
    token_us_mean: int
    """Mean over its tokens."""
    total_us: int


def answer_times(token_times_us: Sequence[int], total_us: int, bars: LatencyBars) -> AnswerTimes:
    """Of an answer with at least one token; arrivals in order."""
    mean = sum(token_times_us) // len(token_times_us)
    return AnswerTimes(token_times_us[0], gap_us_max(token_times_us, bars), mean, total_us)


def latency_factor(times: AnswerTimes, tokens: int, bars: LatencyBars) -> float:
    """How one answer's times compare with the bars, in (0, 1].

    The worst of three decides how far bars are exceeded. Below them the mean arrival counts, or
    tokens could be held back for nothing: 1 - `lateness_share` x / (1 + x), where x is 0 up to
    `lateness_free_seconds` and 1 for a stream whose every token comes at its bar.
    """
    assert tokens > 0, "an answer without tokens is no answer"

    first_bar, free = bars.first_token_seconds_max, bars.lateness_free_seconds
    bar_mean = first_bar + bars.token_seconds_max * (tokens + 1) / 2
    late = max(0.0, times.token_us_mean / 1e6 - free) / (bar_mean - free)
    return (1.0 - bars.lateness_share * late / (1.0 + late)) * min(
        _under_bar(times.first_token_us, first_bar),
        _under_bar(times.gap_us, bars.token_gap_seconds_max),
        _under_bar(times.total_us, first_bar + bars.token_seconds_max * tokens),
    )


def _under_bar(time_us: int, bar_seconds: float) -> float:
    """1 under the bar, then 1 / (1 + excess^2): no kink at the bar, a half at twice the bar."""
    excess = max(0.0, time_us / (bar_seconds * 1e6) - 1.0)
    return 1.0 / (1.0 + excess * excess)


def _credited(standing: MinerStanding, params: ScoringParams) -> int:
    if params.integrity_check:
        return standing.verified
    return standing.audited - standing.inconclusive


def _ppm(factor: float) -> int:
    return min(PPM, max(0, round(factor * PPM)))
