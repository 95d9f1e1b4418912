"""standings -> scores -> PAY -> weights: what one epoch gives, the same for all who replay.

Factors are integers; from there to the weights there is integer arithmetic
only, so that anyone computes them bit for bit.
"""

from collections.abc import Iterable, Mapping

from subnet.core.audit import PPM
from subnet.core.capacity import has_met_everybody
from subnet.core.rules import RuleParams
from subnet.core.scoring import (
    Score,
    is_gate_open,
    pay_ppm,
    release_quality_ppm,
    score_miner,
)
from subnet.core.standing import MinerStanding
from subnet.core.weights import weights_from_scores


def scores_of(standings: Iterable[MinerStanding], rules: RuleParams) -> dict[str, Score]:
    """The score of every miner of one release, by hotkey."""
    known = list(standings)
    quality = release_quality_ppm(known, rules.scoring)
    return {
        standing.hotkey: score_miner(
            standing, quality, rules.scoring, rules.evidence, rules.capacity
        )
        for standing in known
    }


def pays_of(standings: Iterable[MinerStanding], scores: Mapping[str, Score]) -> dict[str, int]:
    """What the next weights give each hotkey: its score, and what a hold kept from the last."""
    return {one.hotkey: pay_ppm(one, scores[one.hotkey]) for one in standings}


def is_any_judged(standings: Iterable[MinerStanding], rules: RuleParams) -> bool:
    """Whether weights can be told at all: somebody was audited, and somebody was in a burst if
    anybody is still to be. Before a validator's first burst it knows nobody's capacity."""
    known = list(standings)
    waiting = [one for one in known if is_gate_open(one, rules.scoring)]
    is_measured = any(one.capacity.covers for one in waiting)
    is_waiting = rules.capacity.is_measured and bool(waiting) and not is_measured
    return any(one.audited for one in known) and not is_waiting


def weights_of(
    pays: Mapping[str, int], uids: Mapping[str, int], own_uid: int | None, *, is_any_judged: bool
) -> dict[int, int]:
    """Shares by uid.

    When everyone who was judged earned nothing, the validator weighs itself alone: consensus
    drops that, so nobody is paid, while setting nothing would keep paying by old weights.
    """
    weights = weights_from_scores(pays, uids, own_uid)
    if not weights and own_uid is not None and is_any_judged:
        return {own_uid: 1}
    return weights


def withheld_of(score: Score) -> int | None:
    """The score that a hold kept from these weights; None if there was none."""
    is_held = score.gate_ppm > 0 and score.hold_ppm == 0
    return score.unheld_ppm if is_held else None


def owed_paid_of(standing: MinerStanding, score: Score) -> int:
    """What these weights made good of what an unfounded hold had kept."""
    is_paid = score.gate_ppm > 0 and score.hold_ppm > 0
    return standing.owed_ppm if is_paid else 0


def is_settled(standing: MinerStanding, score: Score, rules: RuleParams) -> bool:
    """Whether nothing about a miner is still to be decided."""
    return score.gate_ppm == 0 or (
        score.hold_ppm == PPM
        and score.probation_ppm == PPM
        and has_met_everybody(standing.capacity, rules.capacity)
    )
