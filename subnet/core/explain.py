"""standing, score -> EXPLANATION: one plain sentence on why a miner earns what it earns."""

from collections.abc import Mapping

from subnet.core.audit import PPM
from subnet.core.capacity import (
    MILLI,
    Capacity,
    CapacityParams,
    has_met_everybody,
    proven_tps_milli,
)
from subnet.core.gate import ALARM
from subnet.core.rules import RuleParams
from subnet.core.scoring import Score, ScoringParams, is_gate_open, is_held
from subnet.core.standing import Blame, MinerStanding


def explain(
    standing: MinerStanding,
    score: Score,
    rules: RuleParams,
    *,
    shows_audits: bool = True,
    shows_quality: bool = True,
) -> str:
    """The sentence for one miner. Says what happened first, then what it costs.

    Not for the miner's eyes is how many of its answers were audited, without an alarm; nor, before
    a day has passed, what every audit moves.
    """
    params = rules.scoring
    closure = standing.closure
    if closure is not None and not is_gate_open(standing, params):
        if closure.reason == ALARM:
            return (
                f"earns nothing: its answers are not what the release would have sampled "
                f"({closure.detail}; {standing.audited} audited)"
            )
        return (
            f"earns nothing: it signed an answer that breaks an exact check, "
            f"{closure.reason} ({closure.detail})"
        )
    if standing.hold is not None and is_held(standing, params):
        return (
            f"its new pay is held: its answers do not look like the release's "
            f"({standing.hold.detail}), and a second engine is to look at them; nothing is decided"
        )
    if standing.audited == 0:
        return f"earns nothing yet: no answer of it was audited{_trouble(standing)}"
    if standing.inconclusive == standing.audited:
        return "earns nothing: its audited answers lie outside what the calibration covers"
    audited = f"{standing.audited} audited answers" if shows_audits else "its audited answers"
    parts = [f"{audited}{_verdict(score, params)}"]
    if score.probation_ppm < PPM:
        parts.append(
            f"on probation at {_percent(score.probation_ppm)} of its pay "
            f"({standing.verified} of {params.full_pay_answers} verified)"
        )
    if score.coverage_ppm < PPM:
        parts.append(f"{_percent(score.coverage_ppm)} of its recent audits could be judged")
    if shows_quality:
        parts.append(f"its release answers {_percent(score.quality_ppm)} of the tasks right")
    parts += _worth(score) + _capacity(standing.capacity, rules.capacity)
    if score.latency_ppm < PPM:
        parts.append(f"slow answers leave {_percent(score.latency_ppm)}")
    if score.availability_ppm < PPM:
        parts.append(
            f"missed requests leave {_percent(score.availability_ppm)}{_trouble(standing)}"
        )
    parts += _amends(standing, rules.capacity)
    if not rules.capacity.is_measured:
        return f"earns {_percent(score.total_ppm)} of a full score: " + "; ".join(parts)
    paid = _tokens(score.capacity_tps_milli)
    return f"earns {_percent(score.marks_ppm)} of full marks for {paid}: " + "; ".join(parts)


def _amends(standing: MinerStanding, params: CapacityParams) -> list[str]:
    """What the verifier did to it, and makes good."""
    parts = []
    if standing.contradicted:
        parts.append(
            f"a second engine contradicted {standing.contradicted} alarm(s) against it, "
            "the verifier's fault and none of its own"
        )
    if standing.owed_ppm:
        owed = _percent(standing.owed_ppm)
        if params.is_measured:
            owed = f"full pay for {_tokens(standing.owed_ppm * MILLI // PPM)}"
        parts.append(f"{owed} that was held comes with the next weights")
    return parts


def _worth(score: Score) -> list[str]:
    if score.value_ppm == PPM:
        return []
    return [f"its release's tokens are worth {_percent(score.value_ppm)} of the dearest"]


def _capacity(capacity: Capacity, params: CapacityParams) -> list[str]:
    """What bursts have shown so far."""
    proven = proven_tps_milli(capacity)
    if not params.is_measured:
        return []
    if proven is None:
        return ["no burst has probed it beside others yet"]
    parts = [f"it proved {_tokens(proven)} beside others"]
    if not has_met_everybody(capacity, params):
        parts.append(f"it has met {_percent(capacity.met_ppm)} of them so far, and pay follows")
    if capacity.shortfall_ppm > params.shortfall_retried_ppm:
        parts.append(
            f"its rate fell by {_percent(capacity.shortfall_ppm)} in some company, "
            "and the lowest counts"
        )
    return parts


def _verdict(score: Score, params: ScoringParams) -> str:
    if not params.integrity_check:
        return ", the margin check is off"
    if score.integrity_ppm < PPM:
        return f", the evidence against it leaves {_percent(score.integrity_ppm)}"
    return " fit the release"


def _trouble(standing: MinerStanding) -> str:
    if not standing.faults:
        return ""
    not_its_own = {
        str(blame): count
        for blame, count in standing.blames.items()
        if blame not in (Blame.MINER, Blame.BACK_PRESSURE)
    }
    excused = f"; not its fault: {_counts(not_its_own)}" if not_its_own else ""
    return f" ({_counts(standing.faults)}{excused})"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} x {word}" for word, count in ordered)


def _tokens(tps_milli: int) -> str:
    return f"{tps_milli / MILLI:,.1f} tokens/s"


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.1f}".rstrip("0").rstrip(".") + " %"
