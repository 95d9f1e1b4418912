"""standing, score -> EXPLANATION: one plain sentence on why a miner earns what it earns."""

from subnet.core.audit import PPM
from subnet.core.gate import ALARM
from subnet.core.scoring import Score, ScoringParams, is_gate_open, is_held
from subnet.core.standing import MinerStanding


def explain(standing: MinerStanding, score: Score, params: ScoringParams) -> str:
    """The sentence for one miner. Says what happened first, then what it costs."""
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
    parts = [f"{standing.audited} audited answers{_verdict(score, params)}"]
    if score.probation_ppm < PPM:
        parts.append(
            f"on probation at {_percent(score.probation_ppm)} of its pay "
            f"({standing.verified} of {params.probation_answers} verified)"
        )
    if score.coverage_ppm < PPM:
        parts.append(f"{_percent(score.coverage_ppm)} of its recent audits could be judged")
    parts.append(f"its release answers {_percent(score.quality_ppm)} of the tasks right")
    if score.latency_ppm < PPM:
        parts.append(f"slow answers leave {_percent(score.latency_ppm)}")
    if score.availability_ppm < PPM:
        parts.append(
            f"missed requests leave {_percent(score.availability_ppm)}{_trouble(standing)}"
        )
    if standing.contradicted:
        parts.append(
            f"a second engine contradicted {standing.contradicted} alarm(s) against it, "
            "the verifier's fault and none of its own"
        )
    if standing.owed_ppm:
        parts.append(f"{_percent(standing.owed_ppm)} that was held comes with the next weights")
    return f"earns {_percent(score.total_ppm)} of a full score: " + "; ".join(parts)


def _verdict(score: Score, params: ScoringParams) -> str:
    if not params.integrity_check:
        return ", the margin check is off"
    if score.integrity_ppm < PPM:
        return f", the evidence against it leaves {_percent(score.integrity_ppm)}"
    return " fit the release"


def _trouble(standing: MinerStanding) -> str:
    if not standing.faults:
        return ""
    words = ", ".join(
        f"{count} x {word}"
        for word, count in sorted(standing.faults.items(), key=lambda item: (-item[1], item[0]))
    )
    return f" ({words})"


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.1f}".rstrip("0").rstrip(".") + " %"
