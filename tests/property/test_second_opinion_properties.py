"""The laws of held pay: two engines convict, an epoch is the longest wait, an error costs delay."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from subnet.core.audit import PPM, AuditParams, Traffic
from subnet.core.bundle import EvidenceRules
from subnet.core.capacity import CapacityParams
from subnet.core.gate import ALARM, Hold
from subnet.core.scoring import ScoringParams, pay_ppm, score_miner
from subnet.core.second_opinion import (
    AlarmWindow,
    Opinion,
    Verdict,
    after_opinion,
    after_term,
    after_weights,
    claims_of,
    opinion_on,
)
from subnet.core.standing import (
    StandingParams,
    after_answer,
    after_audit,
    after_violation,
    fresh_standing,
    moved_standing,
)
from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import BUCKETS
from subnet.core.verification.claim import ClaimScore
from subnet.core.verification.evidence import Channel, EvidenceParams
from tests.evidence_support import audited, make_pending
from tests.validator_support import RELEASE, HashReferee, make_table

SCORING = ScoringParams(full_pay_answers=20)
STANDING, EVIDENCE = StandingParams(), EvidenceParams()
P0 = (1.0,) + (0.0005,) * (BUCKETS - 1)
QUIET = {Channel.MARGIN: Reading((40,) + (0,) * (BUCKETS - 1), P0)}
LOUD = {Channel.MARGIN: Reading((14,) + (0,) * (BUCKETS - 2) + (26,), P0)}
RULES = EvidenceRules(
    release=RELEASE, table=make_table(), evidence=EVIDENCE, audit=AuditParams(organic_ppm=PPM)
)
steps = st.sampled_from(["quiet", "loud", "confirm", "contradict", "weights", "violation"])
histories = st.lists(steps, max_size=60)


def opinion(verdict):
    return Opinion(verdict, 20.0, 20.0, 3)


def fresh():
    standing = fresh_standing("miner", RELEASE.digest(), EVIDENCE)
    for number in range(SCORING.probation_answers):
        standing = heard(after_answer(standing, 1.0, STANDING), QUIET, number)
    return standing


def heard(standing, readings, number=0, *, has_second_opinion=True):
    return after_audit(
        standing,
        Traffic.BENCHMARK,
        readings,
        None,
        number,
        STANDING,
        EVIDENCE,
        has_second_opinion=has_second_opinion,
    )


def score_of(standing):
    return score_miner(standing, PPM, SCORING, EVIDENCE, CapacityParams(is_measured=False))


def weights_set(standing, number):
    """(standing, pay, what a hold kept back): one epoch's weights, as the weight setter does it."""
    standing = after_term(standing, number)
    score = score_of(standing)
    pay = pay_ppm(standing, score)
    is_held = score.gate_ppm > 0 and score.hold_ppm == 0
    is_paid = score.gate_ppm > 0 and score.hold_ppm > 0
    withheld = score.unheld_ppm if is_held else None
    owed = standing.owed_ppm if is_paid else 0
    return after_weights(standing, withheld, owed), pay, withheld


def moved(standing, step, number):
    if step in ("quiet", "loud"):
        return heard(standing, QUIET if step == "quiet" else LOUD, number)
    if step == "violation":
        return after_violation(standing, "STOP_SKIPPED", "", number, STANDING)
    if step == "weights":
        return weights_set(standing, number)[0]
    verdict = Verdict.CONFIRMED if step == "confirm" else Verdict.CONTRADICTED
    asked = standing.hold or Hold(traffic=Traffic.BENCHMARK, detail="another", at_ns=-1)
    return after_opinion(standing, asked, opinion(verdict), "other", number)


@given(histories)
def test_numerics_close_a_gate_only_by_two_engines_or_after_a_whole_epoch_of_silence(history):
    standing = fresh()
    for number, step in enumerate(history):
        before, standing = standing, moved(standing, step, number)
        closes = standing.closure is not None and standing.closure.reason == ALARM
        was = before.closure is not None and before.closure.reason == ALARM
        if closes and not was:
            assert before.hold is not None
            silence = step == "weights" and before.hold.withheld_ppm is not None
            assert step == "confirm" or silence


@given(histories)
def test_nothing_is_paid_while_an_alarm_is_open_and_no_two_epochs_pass_undecided(history):
    standing, undecided = fresh(), 0
    for number, step in enumerate(history):
        if step == "weights":
            standing, pay, withheld = weights_set(standing, number)
            undecided = undecided + 1 if withheld is not None else 0
            assert undecided <= 1
            assert pay == 0 or (standing.closure is None and standing.hold is None)
        else:
            standing = moved(standing, step, number)
            if standing.hold is None:
                undecided = 0


@given(st.lists(st.sampled_from(["quiet", "loud", "contradict", "weights"]), max_size=80))
def test_a_contradicted_alarm_costs_delay_and_not_one_part_of_pay(history):
    standing, paid, earned = fresh(), 0, 0
    for number, step in enumerate(history):
        if step == "weights":
            closes = after_term(standing, number) is not standing
            if closes:
                standing = moved(standing, "contradict", number)
            standing, pay, _ = weights_set(standing, number)
            paid += pay
            earned += score_of(standing).unheld_ppm
        else:
            standing = moved(standing, step, number)
    withheld = standing.hold.withheld_ppm or 0 if standing.hold else 0
    assert paid + standing.owed_ppm + withheld == earned


@given(histories)
def test_an_opinion_on_another_alarm_changes_nothing(history):
    standing = fresh()
    for number, step in enumerate(history):
        standing = moved(standing, step, number)
    stranger = Hold(traffic=Traffic.ORGANIC, detail="older", at_ns=-7)
    for verdict in Verdict:
        assert after_opinion(standing, stranger, opinion(verdict), "other", 0) is standing


@given(histories)
def test_an_exact_violation_outlives_every_opinion(history):
    standing = moved(fresh(), "violation", 0)
    for number, step in enumerate(history):
        standing = moved(standing, step, number)
        assert standing.closure is not None
        assert weights_set(standing, number)[1] == 0


def test_without_a_second_engine_the_alarm_is_the_verdict():
    standing = fresh()
    while standing.closure is None:
        standing = heard(standing, LOUD, has_second_opinion=False)
        assert standing.hold is None
    assert standing.closure.reason == ALARM


def held_standing():
    standing = fresh()
    while standing.hold is None:
        standing = heard(standing, LOUD, 1)
    return standing


def test_an_opinion_between_weights_and_their_acceptance_loses_no_pay():
    standing = held_standing()
    score = score_of(standing)
    released = moved(standing, "contradict", 2)
    after = after_weights(released, score.unheld_ppm, 0)
    assert (after.hold, after.owed_ppm) == (None, score.unheld_ppm)
    confirmed = moved(standing, "confirm", 2)
    assert after_weights(confirmed, score.unheld_ppm, 0).owed_ppm == 0


def test_a_contradiction_opens_no_gate_that_an_exact_check_closed():
    standing = moved(held_standing(), "violation", 2)
    assert standing.hold is not None
    after = moved(standing, "contradict", 3)
    assert after.closure.reason == "STOP_SKIPPED"
    assert (after.hold, after.owed_ppm) == (None, 0)


def test_another_release_is_no_way_out_of_a_hold():
    standing = moved_standing(held_standing(), "f" * 64)
    assert score_of(standing).total_ppm == 0
    for number in range(2):
        standing, pay, _ = weights_set(standing, number)
        assert pay == 0
    assert standing.closure is not None


def test_a_later_alarm_neither_replaces_the_question_nor_prolongs_its_term():
    first = held_standing().hold
    standing = held_standing()
    for number in range(20):
        standing = heard(standing, LOUD, 3 + number)
        assert standing.hold == first
    standing, _, withheld = weights_set(standing, 30)
    assert standing.hold.withheld_ppm == withheld > 0
    assert after_term(standing, 31).closure is not None


def test_a_confirmed_gate_takes_no_further_questions():
    standing = fresh()
    while standing.hold is None:
        standing = heard(standing, LOUD, 1)
    standing = moved(standing, "confirm", 2)
    closure = standing.closure
    for _ in range(20):
        standing = heard(standing, LOUD, 3)
        assert standing.hold is None
    assert standing.closure == closure


def test_the_way_back_is_the_same_with_and_without_an_opinion():
    quick = StandingParams(reinstatement_answers=30)
    for end in ("confirm", "weights"):
        standing = fresh()
        while standing.hold is None:
            standing = heard(standing, LOUD, 1)
        while standing.closure is None:
            standing = moved(standing, end, 2)
        for _ in range(30):
            assert standing.closure is not None
            standing = after_audit(standing, Traffic.BENCHMARK, QUIET, None, 3, quick, EVIDENCE)
        assert (standing.closure, standing.hold) == (None, None)
        assert standing.verified == 1, "through probation"


# --- what the second engine's numbers decide -----------------------------------------------------

GUILTY = audited([make_pending(number, is_honest=False) for number in range(8)], HashReferee())


def window(kept, evidence=EVIDENCE):
    rules = RULES.model_copy(update={"evidence": evidence})
    return AlarmWindow(Traffic.BENCHMARK, rules, tuple(one.evidence for one in kept))


def scored(asked, margin):
    return [ClaimScore((margin,) * len(claim.output_token_ids), ()) for claim in claims_of(asked)]


def test_an_engine_that_finds_the_same_confirms():
    asked = window(GUILTY)
    claims = claims_of(asked)
    found = opinion_on(asked, claims, HashReferee().score(claims))
    assert found.verdict is Verdict.CONFIRMED
    assert found.first_log_evidence == found.second_log_evidence >= math.log(EVIDENCE.alarm_at)


def test_an_engine_that_finds_nothing_contradicts():
    asked = window(GUILTY)
    found = opinion_on(asked, claims_of(asked), scored(asked, 0.0))
    assert found.verdict is Verdict.CONTRADICTED
    assert found.second_log_evidence < math.log(EVIDENCE.warn_at)


def test_what_is_left_of_an_alarm_may_confirm_it_but_never_clear_it():
    asked = window(GUILTY[-1:])
    assert opinion_on(asked, claims_of(asked), scored(asked, 0.0)).verdict is Verdict.OPEN
    assert opinion_on(asked, claims_of(asked), scored(asked, 1.0)).verdict is Verdict.OPEN
    asked = window(GUILTY, EVIDENCE.model_copy(update={"alarm_at": 1e30, "confirm_slack": 1e24}))
    assert opinion_on(asked, claims_of(asked), scored(asked, 0.0)).verdict is Verdict.OPEN
    assert opinion_on(asked, claims_of(asked), scored(asked, 1.0)).verdict is Verdict.CONFIRMED


@given(st.floats(1, 1e9), st.floats(1, 1e9))
def test_more_slack_never_confirms_less_and_one_answer_never_confirms(one, other):
    low, high = sorted([one, other])
    lax = EvidenceParams(confirm_slack=high).confirm_at
    assert lax <= EvidenceParams(confirm_slack=low).confirm_at <= EVIDENCE.alarm_at
    assert lax >= EVIDENCE.response_evidence_max


@given(st.lists(st.integers(0, 20), min_size=len(GUILTY), max_size=len(GUILTY)))
def test_whatever_the_second_engine_finds_its_evidence_alone_decides(loud):
    """The first engine's past is no part of it: the path starts from nothing."""
    tokens = len(GUILTY[0].evidence.transcript.token_ids)
    asked = window(
        [replace(one, before=one.before.model_copy(update={"tokens": 0})) for one in GUILTY]
    )
    claims = claims_of(asked)
    scores = [ClaimScore((1.0,) * n + (0.0,) * (tokens - n), ()) for n in loud[: len(claims)]]
    found = opinion_on(asked, claims, scores)
    convinced = found.second_log_evidence >= math.log(EVIDENCE.confirm_at)
    assert found.verdict is (Verdict.CONFIRMED if convinced else Verdict.CONTRADICTED)
