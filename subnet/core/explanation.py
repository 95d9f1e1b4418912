"""standing, score -> EXPLANATION: each factor of a score, what it rests on, what would raise it.

For the miner's eyes, signed by the validator. What moves by audits comes out after an alarm or a
day later: at once, it would tell a miner which of its answers were audited, and so who had asked,
and a cheat how near its detector is to an alarm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from protocol.message import WireMessage
from protocol.units import BlockNumber, Digest, Hotkey, Microseconds, Signature
from subnet.core.audit import PPM
from subnet.core.bundle import Whole
from subnet.core.capacity import MILLI, proven_tps_milli
from subnet.core.explain import explain
from subnet.core.reputation import quality_lower_ppm, quality_mean_ppm
from subnet.core.rules import RuleParams
from subnet.core.scoring import LatencyBars, Score, is_gate_open, is_held
from subnet.core.standing import MinerStanding

DELAYED: Final = ("integrity_ppm", "coverage_ppm", "quality_ppm")
"""The factors that every audit moves. Probation's stands still once it is over."""
CAPACITY: Final = "capacity_tps_milli"
"""The one factor that has no full marks."""


class Factor(WireMessage):
    """One factor of the score."""

    name: str
    """The field of `scoring.Score`; the unit is its last word."""
    value: Whole | None
    """None while it is not to be seen yet."""
    evidence: str
    """What it was computed from."""
    advice: str
    """What would raise it; empty for a factor that is whole."""
    gain_ppm: Whole
    """By how much the score would rise if this factor alone were whole."""


class ClassReputation(WireMessage):
    """How good a node is for one class of tasks."""

    family: str
    lower_ppm: Whole
    """The Beta's lower bound: what routing goes by."""
    mean_ppm: Whole
    answers_milli: Whole
    """Thousandths of answers that still count."""


@dataclass(frozen=True, slots=True)
class DayOld:
    """What an epoch that is at least a day old ended with, for one miner."""

    epoch_block: int
    at_us: int
    standing: MinerStanding
    score: Score
    priors: Mapping[str, float]
    """`reputation.prior_mean` by family."""


class Explanation(WireMessage):
    """Why one miner earns what it earns, by one validator."""

    validator_hotkey: Hotkey
    miner_hotkey: Hotkey
    release_digest: Digest
    rules_digest: Digest
    at_us: Microseconds
    epoch_block: BlockNumber | None
    """Of the epoch that delayed figures come from; None if none is a day old."""
    state: Literal["unknown", "new", "probation", "paid", "doubted", "held", "closed"]
    sentence: str
    score_ppm: Whole
    """Of the factors as they are shown; a delayed one that is not there counts as whole."""
    factors: tuple[Factor, ...]
    reputation: tuple[ClassReputation, ...]
    """Delayed too."""
    faults: dict[str, Whole]
    """Requests without an answer, by reason."""
    blames: dict[str, Whole]
    """The same by `standing.Blame`: only MINER and BACK_PRESSURE cost."""


class SignedExplanation(WireMessage):
    """An explanation as it is served."""

    explanation: Explanation
    signature: Signature


def explanation_of(
    standing: MinerStanding,
    score: Score,
    rules: RuleParams,
    old: DayOld | None,
    *,
    rules_digest: str,
    validator_hotkey: str,
    at_us: int,
    priors: Mapping[str, float],
    undelayed: bool = False,
) -> Explanation:
    """What may be told of one miner. `old` is the latest epoch that is a day old and knew it.

    `priors` are `reputation.prior_mean` by family. `rules_digest` is that of `rules`, which takes
    longer than all the rest.

    `undelayed` tells all, for the validator's own eyes.
    """
    is_told = undelayed or standing.closure is not None or standing.hold is not None
    if is_told:
        shown, reputation = score, _reputation(standing, rules, priors, at_us)
    else:
        seen = min(standing.verified, rules.scoring.full_pay_answers)
        standing = standing.model_copy(update={"verified": seen})
        shown = _as_of(old, score)
        reputation = () if old is None else _reputation(old.standing, rules, old.priors, old.at_us)
    factors = []
    for name in Score.model_fields:
        value: int | None = getattr(shown, name)
        evidence = EVIDENCE[name](standing, rules)
        if name in DELAYED and not is_told:
            value = None if old is None else value
            evidence = _delayed_evidence(name, old, rules)
        factors.append(_factor(name, value, evidence, shown, standing, rules))
    return Explanation(
        validator_hotkey=validator_hotkey,
        miner_hotkey=standing.hotkey,
        release_digest=standing.release_digest,
        rules_digest=rules_digest,
        at_us=at_us,
        epoch_block=None if old is None else old.epoch_block,
        state=state_of(standing, shown, rules),
        sentence=explain(
            standing,
            shown,
            rules,
            shows_audits=is_told,
            shows_quality=is_told or old is not None,
        ),
        score_ppm=shown.total_ppm,
        factors=tuple(factors),
        reputation=reputation,
        faults=standing.faults,
        blames={str(blame): count for blame, count in standing.blames.items()},
    )


def _as_of(old: DayOld | None, score: Score) -> Score:
    """The score with its delayed factors as they were; whole where nothing may be said."""
    return score.model_copy(
        update={name: PPM if old is None else getattr(old.score, name) for name in DELAYED}
    )


def _delayed_evidence(name: str, old: DayOld | None, rules: RuleParams) -> str:
    if old is None:
        return "not shown before a day has passed, or an alarm"
    evidence = EVIDENCE[name](old.standing, rules)
    return f"{evidence}, as of epoch {old.epoch_block}, more than a day ago"


def _reputation(
    standing: MinerStanding, rules: RuleParams, priors: Mapping[str, float], at_us: int
) -> tuple[ClassReputation, ...]:
    params, found = rules.reputation, []
    for family, mass in sorted(standing.reputation.items()):
        now, prior = mass.at(at_us, params), priors[family]
        found.append(
            ClassReputation(
                family=family,
                lower_ppm=quality_lower_ppm(now, prior, params),
                mean_ppm=quality_mean_ppm(now, prior, params),
                answers_milli=round(now.total * 1000),
            )
        )
    return tuple(found)


def state_of(
    standing: MinerStanding, score: Score, rules: RuleParams
) -> Literal["unknown", "new", "probation", "paid", "doubted", "held", "closed"]:
    """One word for where a miner stands."""
    if not is_gate_open(standing, rules.scoring):
        return "closed"
    if is_held(standing, rules.scoring):
        return "held"
    if standing.audited == 0:
        return "new" if standing.requests else "unknown"
    if score.integrity_ppm < PPM:
        return "doubted"
    return "paid" if score.probation_ppm == PPM else "probation"


def _factor(
    name: str,
    value: int | None,
    evidence: str,
    score: Score,
    standing: MinerStanding,
    rules: RuleParams,
) -> Factor:
    if name == CAPACITY:
        advice = ADVICE[name](standing, rules) if rules.capacity.is_measured else ""
        return Factor(name=name, value=value, evidence=evidence, advice=advice, gain_ppm=0)
    whole = score.model_copy(update={name: PPM})
    is_whole = value is None or value >= PPM
    return Factor(
        name=name,
        value=value,
        evidence=evidence,
        advice="" if is_whole else ADVICE[name](standing, rules),
        gain_ppm=0 if is_whole else whole.total_ppm - score.total_ppm,
    )


def _bursts(standing: MinerStanding, rules: RuleParams) -> str:
    if not rules.capacity.is_measured:
        return "not measured here: every hotkey counts for one token a second"
    proven = proven_tps_milli(standing.capacity)
    if proven is None:
        return "no burst has probed it yet"
    met = standing.capacity.met_ppm * 100 // PPM
    return f"{proven / MILLI:,.1f} tokens/s at the least beside others, of whom it met {met} %"


def _seen(count: float, noun: str) -> str:
    return f"{count:.0f} {noun}"


def _bars(bars: LatencyBars) -> str:
    return (
        f"first token within {bars.first_token_seconds_max:g} s, no gap above "
        f"{bars.token_gap_seconds_max:g} s, {bars.token_seconds_max:g} s a token on average; "
        f"whole marks only if tokens come within {bars.lateness_free_seconds:g} s on average: "
        "send each as it comes"
    )


EVIDENCE: Final[Mapping[str, Callable[[MinerStanding, RuleParams], str]]] = {
    "gate_ppm": lambda one, _: "open" if one.closure is None else one.closure.detail,
    "hold_ppm": lambda one, _: "no alarm is open" if one.hold is None else one.hold.detail,
    "integrity_ppm": lambda one, _: f"log evidence {one.log_evidence:.2f}",
    "probation_ppm": lambda one, rules: (
        f"{one.verified} verified answers of {rules.scoring.full_pay_answers}"
    ),
    "coverage_ppm": lambda one, _: (
        f"{one.inconclusive} audits lay outside what the calibration covers"
    ),
    "quality_ppm": lambda _one, _rules: "all verified answers of the release, of every miner",
    "value_ppm": lambda _one, _rules: "what the subnet's owner says a token of it is worth",
    CAPACITY: lambda one, rules: _bursts(one, rules),
    "latency_ppm": lambda one, _: _seen(one.latency.weight, "recent answers against the bars"),
    "availability_ppm": lambda one, _: _seen(
        one.availability.weight, f"recent requests, {sum(one.faults.values())} missed ever"
    ),
}
ADVICE: Final[Mapping[str, Callable[[MinerStanding, RuleParams], str]]] = {
    "gate_ppm": lambda _, rules: (
        f"{rules.standing.reinstatement_answers} clean answers in a row open it, on probation"
    ),
    "hold_ppm": lambda _one, _rules: "nothing to do: a second engine decides, within an epoch",
    "integrity_ppm": lambda _one, _rules: (
        "serve the promised release as it is: same weights, types and sampling; every honest "
        "answer lowers the evidence"
    ),
    "probation_ppm": lambda _, rules: (
        f"stay and answer: pay is whole after {rules.scoring.full_pay_answers} verified answers"
    ),
    "coverage_ppm": lambda _one, _rules: (
        "serve from an environment that the calibration lists (engine, torch, device, type)"
    ),
    "quality_ppm": lambda _one, _rules: (
        "nothing of yours: the release itself answers so many tasks right"
    ),
    "value_ppm": lambda _one, _rules: "serve a release that is worth more",
    CAPACITY: lambda _one, _rules: (
        "serve more verified tokens a second while others are probed too; what you prove is paid "
        "in full once you have met everybody"
    ),
    "latency_ppm": lambda one, rules: _bars(rules.scoring.bars_of(one.release_digest)),
    "availability_ppm": lambda _one, rules: (
        "answer every request; when full, say so at once by a signed 429 with a Retry-After of at "
        f"most {rules.standing.retry_after_ms_max / 1000:g} s"
    ),
}
