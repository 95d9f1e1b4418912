"""What validators draw most is judged by bounds of its own; nothing else is."""

import dataclasses

import numpy as np
import pytest

from subnet.core.audit import Traffic, readings
from subnet.core.draws import DrawParams
from subnet.core.reverify import Verdict, reverify
from subnet.core.verification.admission import refused
from subnet.core.verification.calibration import BUCKETS, Band, DrawnBounds
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import Channel
from subnet.core.verification.gaps import fitted_gap_table
from subnet.edge.btauth import verify_signature
from subnet.lab.drawn import fitted_drawn, most_drawn
from subnet.lab.fit import Answer
from tests.evidence_support import audited, bundle_of, make_pending
from tests.validator_support import CALM, HashReferee, make_table, whole_table

DRAWS = DrawParams()
SHARP = Band(
    temperature_milli=1000,
    top_p_milli=950,
    counts=(10_000,) + (0,) * (BUCKETS - 1),
    p0=(1.0,) + (0.00001,) * (BUCKETS - 1),
)


def drawn(**changes):
    dice = np.random.default_rng(3)
    gaps = fitted_gap_table(
        [(1000, np.abs(dice.normal(0, 0.001, 20)).tolist()) for _ in range(400)],
        make_table().params,
    )
    body = {"families": DRAWS.families, "tier": 1, "top_k": 50, "band": SHARP, "gaps": gaps}
    return DrawnBounds(**{**body, "seed": 1, "held_out": CALM, **changes})


WIDE = make_table()
TABLE = WIDE.model_copy(update={"drawn": drawn()})


def claim(temperature_milli=1000, top_p_milli=950, top_k=50):
    sampling = (temperature_milli, top_p_milli, top_k, 7)
    return Claim((5,) * 9, (6,) * 20, *sampling, (-1.0,) * 20, "length")


SCORE = ClaimScore((0.5,) * 20, (0.02,) * 20)


def test_a_benchmark_of_the_most_frequent_sampling_is_read_by_them():
    found = readings(claim(), SCORE, TABLE, Traffic.BENCHMARK)
    assert found[Channel.MARGIN].p0 == SHARP.p0
    assert found[Channel.LOGPROB].counts == (0, 0, 0, 0, 1)
    assert Channel.LOGPROB not in readings(claim(), SCORE, WIDE, Traffic.BENCHMARK)


def test_an_answer_of_a_length_that_none_of_them_had_is_read_by_its_gap_all_the_same():
    """Or whoever cuts its answers short is not looked at."""
    dice = np.random.default_rng(4)
    short = fitted_gap_table(
        [(1000, np.abs(dice.normal(0, 0.01, 4)).tolist()) for _ in range(400)], WIDE.params
    )
    table = TABLE.model_copy(update={"gaps": short})
    one = dataclasses.replace(claim(), output_token_ids=(6,) * 4, logprobs=(-1.0,) * 4)
    found = readings(one, ClaimScore((0.5,) * 4, (0.9,) * 4), table, Traffic.BENCHMARK)
    assert found[Channel.MARGIN].p0 == SHARP.p0
    assert found[Channel.LOGPROB] == short.reading((0.9,) * 4, 1000)
    assert found[Channel.LOGPROB].counts == (0, 0, 0, 0, 1)
    long = readings(claim(), SCORE, table, Traffic.BENCHMARK)
    assert long == readings(claim(), SCORE, TABLE, Traffic.BENCHMARK)


@pytest.mark.parametrize(
    "other", [{"temperature_milli": 700}, {"top_p_milli": 1000}, {"top_k": 49}]
)
def test_other_samplings_are_read_as_before(other):
    for traffic in Traffic:
        one = claim(**other)
        assert readings(one, SCORE, TABLE, traffic) == readings(one, SCORE, WIDE, traffic)


def test_what_users_ask_is_read_as_before():
    organic = readings(claim(), SCORE, TABLE, Traffic.ORGANIC)
    assert organic == readings(claim(), SCORE, WIDE, Traffic.ORGANIC)
    assert organic[Channel.MARGIN].p0 != SHARP.p0


def test_a_longer_context_than_was_measured_stays_inconclusive():
    long = dataclasses.replace(claim(), prompt_token_ids=(5,) * 4000)
    assert readings(long, SCORE, TABLE, Traffic.BENCHMARK) is None


def test_whoever_draws_other_questions_has_none_of_them():
    assert TABLE.for_draws(reversed(DRAWS.families), 1) == TABLE
    assert TABLE.for_draws(DRAWS.families, 2) == WIDE
    assert TABLE.for_draws(DRAWS.families[1:], 1) == WIDE
    assert TABLE.for_draws([*DRAWS.families, "own"], 1) == WIDE


def outcome_of(*pendings):
    bundle = bundle_of(audited(pendings, HashReferee(), table=TABLE), table=TABLE)
    assert SHARP.p0 in {answer.readings[Channel.MARGIN].p0 for answer in bundle.answers}
    return reverify(bundle, verify_signature, HashReferee().score)


def test_a_bundle_is_reverified_by_the_same_bounds():
    outcome = outcome_of(*(make_pending(n, is_honest=False) for n in range(4)))
    assert outcome.verdict is Verdict.CONFIRMED, outcome.reason


def test_a_withheld_answer_is_taken_for_the_quietest_under_the_same_bounds():
    outcome = outcome_of(*(make_pending(n, is_honest=True, has_consent=False) for n in range(4)))
    assert outcome.verdict is Verdict.INCONCLUSIVE, outcome.reason


def answers(dice, count, loud, gap, is_held_out):
    made = []
    for _ in range(count):
        margins = tuple(np.where(dice.random(20) < loud, 0.5, 0.0).tolist())
        gaps = tuple(np.abs(dice.normal(0, gap, 20)).tolist())
        made.append(Answer(claim(), ClaimScore(margins, gaps), is_held_out))
    return made


def test_they_are_fitted_on_three_quarters_and_tried_on_the_rest():
    dice = np.random.default_rng(5)
    fitted = answers(dice, 1500, 0.0003, 0.001, False)
    calm = fitted_drawn(
        [*fitted, *answers(dice, 500, 0.0003, 0.001, True)], DRAWS, most_drawn(DRAWS), WIDE, 1
    )
    assert (calm.held_out.responses, calm.held_out.alarms) == (500, 0)
    assert sum(calm.band.counts) == 1500 * 20 and calm.top_k == 50
    assert refused(whole_table().model_copy(update={"drawn": calm})) == ()
    loud = fitted_drawn(
        [*fitted, *answers(dice, 500, 0.0003, 0.01, True)], DRAWS, most_drawn(DRAWS), WIDE, 1
    )
    assert loud.held_out.alarms > 0 and loud.held_out.gap_buckets_above_p0 > 0
    (first, *_) = refused(whole_table().model_copy(update={"drawn": loud}))
    assert "what validators draw" in first
