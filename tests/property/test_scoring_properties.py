"""The laws of pay: what must hold for every history, not for one example."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.audit import PPM, Traffic
from subnet.core.capacity import BurstResult, CapacityParams
from subnet.core.gate import GateClosure
from subnet.core.scoring import (
    LatencyBars,
    Score,
    ScoringParams,
    answer_times,
    has_passed_probation,
    integrity_factor,
    latency_factor,
    release_quality_ppm,
    score_miner,
)
from subnet.core.standing import (
    Blame,
    StandingParams,
    after_answer,
    after_audit,
    after_burst,
    after_fault,
    after_violation,
    back_pressure_cost,
    fresh_standing,
)
from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import BUCKETS
from subnet.core.verification.evidence import Channel, EvidenceParams

SCORING = ScoringParams(full_pay_answers=20)
STANDING, EVIDENCE = StandingParams(), EvidenceParams()
UNMEASURED = CapacityParams(is_measured=False)
P0 = (1.0,) + (0.0005,) * (BUCKETS - 1)
HONEST = (40,) + (0,) * (BUCKETS - 1)
FOREIGN = (14,) + (0,) * (BUCKETS - 2) + (26,)
DIGEST = "0" * 64
factors = st.floats(0, 1)
times = st.lists(st.integers(0, 10**9), min_size=1, max_size=40).map(sorted)


def fresh(hotkey="miner"):
    return fresh_standing(hotkey, DIGEST, EVIDENCE)


def seen(counts):
    return {Channel.MARGIN: Reading(counts, P0)}


def audited(standing, counts=HONEST, grade=1.0, traffic=Traffic.BENCHMARK):
    return after_audit(standing, traffic, seen(counts), grade, 0, STANDING, EVIDENCE)


def scored(standing, quality=PPM, params=SCORING):
    return score_miner(standing, quality, params, EVIDENCE, UNMEASURED).total_ppm


events = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), factors),
        st.tuples(st.just("fault"), st.sampled_from(list(Blame))),
        st.tuples(st.just("audit"), factors),
    ),
    max_size=60,
)


def lived(history, standing=None):
    standing = standing or fresh()
    for kind, value in history:
        if kind == "answer":
            standing = after_answer(standing, value, STANDING)
        elif kind == "fault":
            standing = after_fault(standing, "TIMEOUT", value, STANDING)
        else:
            standing = audited(standing, grade=value)
    return standing


def latency_of(token_times_us, total_us, bars=None):
    bars = bars or SCORING
    times = answer_times(token_times_us, total_us, bars)
    return latency_factor(times, len(token_times_us), bars)


@given(st.lists(factors, max_size=50), st.integers(0, PPM))
def test_an_unverified_response_earns_nothing_at_any_speed(speeds, quality):
    assert scored(lived([("answer", speed) for speed in speeds]), quality) == 0


@given(st.lists(factors, max_size=50), st.integers(0, PPM))
def test_answers_outside_the_calibration_earn_nothing(speeds, quality):
    standing = lived([("answer", speed) for speed in speeds])
    for _ in speeds:
        standing = after_audit(standing, Traffic.ORGANIC, None, 1.0, 0, STANDING, EVIDENCE)
    assert scored(standing, quality) == 0


@given(events, st.integers(1, 200))
def test_more_answers_that_nobody_can_judge_never_pay_more_nor_verify(history, count):
    standing = lived([*history, *[("audit", 1.0)] * 20])
    quality = standing.quality
    for _ in range(count):
        before = scored(standing)
        standing = after_audit(standing, Traffic.BENCHMARK, None, 1.0, 0, STANDING, EVIDENCE)
        assert scored(standing) <= before
    assert standing.quality == quality


def test_pay_follows_the_recent_share_of_answers_that_could_be_judged():
    standing = lived([("audit", 1.0)] * 40)
    assert scored(standing) == PPM
    for _ in range(5000):
        standing = after_audit(standing, Traffic.ORGANIC, None, None, 0, STANDING, EVIDENCE)
        standing = audited(standing)
    assert abs(scored(standing) - PPM // 2) < PPM // 100
    for _ in range(5000):
        standing = after_audit(standing, Traffic.ORGANIC, None, None, 0, STANDING, EVIDENCE)
    assert scored(standing) < PPM // 100


@given(events, st.integers(0, PPM))
def test_every_score_lies_between_nothing_and_full(history, quality):
    assert 0 <= scored(lived(history), quality) <= PPM


@given(events, st.integers(0, PPM), st.integers(0, PPM))
def test_a_better_release_never_lowers_a_score(history, one, other):
    standing = lived(history)
    assert scored(standing, min(one, other)) <= scored(standing, max(one, other))


@given(events)
def test_one_more_verified_answer_never_lowers_a_score(history):
    standing = lived(history)
    assert scored(audited(standing)) >= scored(standing)


@given(events)
def test_a_fault_never_raises_a_score(history):
    standing = lived(history)
    assert scored(after_fault(standing, "TIMEOUT", Blame.MINER, STANDING)) <= scored(standing)


@given(events)
def test_back_pressure_costs_less_than_a_fault_and_more_than_nothing(history):
    standing = lived(history)
    factor = {
        blame: score_miner(
            after_fault(standing, "REFUSED", blame, STANDING), PPM, SCORING, EVIDENCE, UNMEASURED
        ).availability_ppm
        for blame in Blame
    }
    excused = {factor[blame] for blame in (Blame.NETWORK, Blame.GATEWAY, Blame.VERIFIER)}
    assert len(excused) == 1
    assert factor[Blame.MINER] <= factor[Blame.BACK_PRESSURE] <= excused.pop()


def test_a_miner_that_only_refuses_ends_up_with_nothing():
    standing = lived([("answer", 1.0), ("audit", 1.0)] * 40)
    for _ in range(1_000):
        standing = after_fault(standing, "REFUSED", Blame.BACK_PRESSURE, STANDING)
    assert scored(standing) < PPM // 20


@given(factors, factors)
def test_a_refusal_never_costs_less_when_refusals_are_more_common(one, other):
    low, high = sorted((one, other))
    assert STANDING.back_pressure_weight <= back_pressure_cost(low, STANDING)
    assert back_pressure_cost(low, STANDING) <= back_pressure_cost(high, STANDING) <= 1.0


def refusing(period, refused):
    """A miner that refuses the first `refused` of every `period` requests."""
    standing = lived([("audit", 1.0)] * 40)
    for number in range(1000):
        if number % period < refused:
            standing = after_fault(standing, "CAPACITY_FULL", Blame.BACK_PRESSURE, STANDING)
        else:
            standing = after_answer(standing, 1.0, STANDING)
    return scored(standing)


def test_rare_back_pressure_is_nearly_free():
    assert refusing(20, 1) > 0.99 * PPM


def test_who_refuses_half_of_its_tasks_earns_at_most_half():
    assert refusing(2, 1) < 0.55 * PPM
    assert refusing(10, 7) < 0.35 * PPM


def test_back_pressure_that_ended_is_forgiven():
    standing = lived([("audit", 1.0)] * 40)
    for _ in range(300):
        standing = after_fault(standing, "CAPACITY_FULL", Blame.BACK_PRESSURE, STANDING)
    for _ in range(1000):
        standing = after_answer(standing, 1.0, STANDING)
    assert scored(standing) > 0.98 * PPM


def test_the_bars_of_back_pressure_must_rise():
    with pytest.raises(ValueError, match="must lie below"):
        StandingParams(back_pressure_share_rare=0.5, back_pressure_share_common=0.5)


@given(events, events)
def test_what_happens_to_others_leaves_an_unsampled_miner_its_factors(history, others):
    standing = lived(history)
    before = score_miner(standing, PPM, SCORING, EVIDENCE, UNMEASURED)
    pool = [standing, lived(others, fresh("other"))]
    after = score_miner(standing, release_quality_ppm(pool, SCORING), SCORING, EVIDENCE, UNMEASURED)
    assert before.model_copy(update={"quality_ppm": after.quality_ppm}) == after


@given(events)
def test_quality_is_the_same_luck_for_all_miners_of_a_release(history):
    lucky = lived([("audit", 1.0)] * 30)
    unlucky = lived([("audit", 0.0)] * 30, fresh("other"))
    quality = release_quality_ppm([lucky, unlucky, lived(history, fresh("third"))], SCORING)
    assert scored(lucky, quality) == scored(unlucky, quality)


@given(events, st.integers(0, PPM))
def test_an_alarm_pays_nothing_whatever_came_before(history, quality):
    standing = lived(history)
    for _ in range(12):
        standing = audited(standing, FOREIGN)
    assert standing.closure is not None
    assert scored(standing, quality) == 0


@given(events, st.integers(0, PPM))
def test_a_violation_pays_nothing_even_with_the_margin_check_off(history, quality):
    standing = after_violation(lived(history), "STOP_SKIPPED", "token 3", 1, STANDING)
    for params in (SCORING, ScoringParams(integrity_check=False, full_pay_answers=20)):
        assert scored(standing, quality, params) == 0


def test_with_the_margin_check_off_a_cheat_earns_what_the_honest_earn():
    honest, cheat = fresh(), fresh("cheat")
    for _ in range(30):
        honest = audited(after_answer(honest, 1.0, STANDING))
        cheat = audited(after_answer(cheat, 1.0, STANDING), FOREIGN)
    assert scored(cheat) == 0 < scored(honest)
    off = ScoringParams(integrity_check=False, full_pay_answers=20)
    assert scored(cheat, params=off) == scored(honest, params=off) > 0


def test_a_caught_miner_comes_back_through_probation_after_a_clean_record():
    params = StandingParams(reinstatement_answers=30)
    standing = fresh()
    while standing.closure is None:
        standing = audited(standing, FOREIGN)
    assert standing.closure is not None
    for number in range(30):
        assert standing.closure is not None, number
        standing = after_audit(
            standing,
            Traffic.BENCHMARK,
            seen(HONEST),
            1.0,
            0,
            params,
            EVIDENCE,
        )
    assert standing.closure is None
    assert 0 < scored(standing) < PPM // 10


def test_a_relapse_starts_the_way_back_over():
    closure = GateClosure(reason="ALARM", detail="", at_ns=0, clean_answers=100)
    standing = fresh().model_copy(update={"closure": closure})
    assert audited(standing).closure.clean_answers == 101
    standing = audited(standing, FOREIGN)
    assert standing.closure.clean_answers == 0


def test_a_doubtful_answer_is_not_verified_and_teaches_nothing_about_quality():
    before = lived([("audit", 0.5)] * 5)
    after = audited(before, FOREIGN, grade=1.0)
    assert (after.audited, after.verified) == (6, 5)
    assert after.quality == before.quality


@given(times, st.integers(0, 10**9))
def test_slower_never_pays_more(token_times, delay):
    total = token_times[-1]
    fast = latency_of(token_times, total)
    later = latency_of([time + delay for time in token_times], total + delay)
    assert 0 < later <= fast <= 1


@given(times)
def test_holding_tokens_back_never_pays_more(token_times):
    total = token_times[-1]
    buffered = [total] * len(token_times)
    streamed = latency_of(token_times, total)
    assert latency_of(buffered, total) <= streamed


@given(
    st.integers(2, 96),
    st.integers(50_000, 2_000_000),
    st.integers(10_000, 200_000),
    st.floats(0, 1),
)
def test_whoever_holds_tokens_back_is_paid_less_than_its_own_engine_streaming(
    tokens, first, gap, share
):
    """Up to the end of the answer, or of the first token's bar, where no bar is in the way."""
    streamed = [first + number * gap for number in range(tokens)]
    mean, free = sum(streamed) / tokens, SCORING.lateness_free_seconds * 1e6
    until = first + (max(streamed[-1], 5_000_000) - first) * share
    held = [max(time, round(until)) for time in streamed]
    is_later = sum(held) / tokens > max(mean, free) + 1
    honest, cheat = latency_of(streamed, streamed[-1]), latency_of(held, held[-1])
    assert cheat < honest if is_later else cheat <= honest


def test_all_tokens_of_a_long_answer_at_the_first_bar_cost_what_shows():
    """96 tokens of an engine that needs 1 s for them, let out at once after 4.9 s."""
    streamed = [50_000 + number * 10_000 for number in range(96)]
    assert latency_of([4_900_000] * 96, 4_900_000) < 0.9 * latency_of(streamed, streamed[-1])


@given(st.integers(1, 96), st.integers(1, 400_000))
def test_an_engine_that_has_all_tokens_within_50_ms_loses_nothing_by_their_coming_at_once(
    tokens, way
):
    quick = [way + number * 50_000 // tokens for number in range(tokens)]
    assert latency_of(quick, quick[-1]) == latency_of([quick[-1]] * tokens, quick[-1]) == 1.0


@given(st.integers(2, 64), st.integers(6, 30))
def test_a_buffered_stream_loses_from_the_first_tokens_bar_on(tokens, seconds):
    """An answer that streams well inside all bars, and all of which comes at its end instead."""
    total = seconds * 1_000_000
    bars = LatencyBars(token_seconds_max=30.0, token_gap_seconds_max=30.0, lateness_share=0.0)
    streamed = [(number + 1) * total // tokens for number in range(tokens)]
    streamed[0] = min(streamed[0], 1_000_000)
    assert latency_of(streamed, total, bars) == 1.0
    buffered = latency_of([total] * tokens, total, bars)
    assert buffered <= 1 / (1 + (seconds / 5 - 1) ** 2) + 1e-9
    assert seconds < 10 or buffered <= 0.5


@given(times, st.integers(0, 39))
def test_holding_the_start_of_a_stream_back_never_pays_more(token_times, held):
    until = token_times[min(held, len(token_times) - 1)]
    later = [max(time, until) for time in token_times]
    total = token_times[-1]
    assert latency_of(later, total) <= latency_of(token_times, total)


def test_a_long_silence_inside_a_stream_costs():
    token_times = [100_000, 200_000, 20_200_000]
    assert latency_of(token_times, token_times[-1]) < 0.3


def test_a_release_may_have_bars_of_its_own():
    own = LatencyBars(first_token_seconds_max=0.5, lateness_free_seconds=0.1, lateness_share=0.0)
    params = ScoringParams(release_bars={DIGEST: own}, lateness_share=0.0)
    times = [1_000_000, 1_100_000]
    assert latency_of(times, times[-1], params.bars_of("f" * 64)) == 1.0
    assert latency_of(times, times[-1], params.bars_of(DIGEST)) == 0.5


@given(events, events, st.lists(st.floats(0, 0.01), min_size=1, max_size=30))
def test_one_very_slow_miner_changes_nobody_elses_score(mine, others, speeds):
    """Its slowness, that is: what it answers counts for the release as anybody's."""
    quick = lived([*others, *[("answer", 1.0)] * len(speeds)], fresh("other"))
    slow = lived([*others, *[("answer", speed) for speed in speeds]], fresh("other"))
    own = lived(mine)
    beside = [scored(own, release_quality_ppm([own, one], SCORING)) for one in (quick, slow)]
    assert beside[0] == beside[1]


capacities = st.integers(0, 10**9)
ppms = st.integers(0, PPM)


def with_capacity(rate):
    result = BurstResult(cover=1, burst=1, beside=(0,), met_ppm=PPM, rate_tps_milli=rate)
    params = CapacityParams()
    proven = after_burst(lived([("audit", 1.0)] * 30), result, params)
    return score_miner(proven, PPM, SCORING, EVIDENCE, params)


@given(capacities, capacities)
def test_pay_is_proportional_to_proven_capacity(one, other):
    assert with_capacity(one).total_ppm == one * 1000
    assert (with_capacity(one).total_ppm <= with_capacity(other).total_ppm) is (one <= other)


@given(st.lists(ppms, min_size=9, max_size=9), capacities)
def test_a_score_is_the_exact_product_rounded_down_once(factors, capacity):
    names = [name for name in Score.model_fields if name != "capacity_tps_milli"]
    score = Score(**dict(zip(names, factors, strict=True)), capacity_tps_milli=capacity)
    exact = Fraction(capacity, 1000) * PPM
    for factor in factors:
        exact *= Fraction(factor, PPM)
    assert score.total_ppm == math.floor(exact)
    assert score.factors_ppm == tuple(getattr(score, name) for name in names)


@given(ppms, ppms)
def test_a_release_of_less_worth_pays_less(one, other):
    low, high = sorted((one, other))
    standing = lived([("audit", 1.0)] * 30)

    def of_worth(values):
        return scored(standing, params=SCORING.model_copy(update={"release_values_ppm": values}))

    assert of_worth({DIGEST: low}) <= of_worth({DIGEST: high}) <= scored(standing)
    assert of_worth({"f" * 64: 0}) == PPM


@given(st.integers(1, 200), st.integers(1, 4_000))
def test_faster_than_what_counts_as_at_once_earns_nothing_more(tokens, gap):
    token_times = [number * gap for number in range(1, tokens + 1)]
    assert latency_of(token_times, token_times[-1]) == 1.0


@given(st.floats(-5, 25), st.floats(-5, 25))
def test_more_evidence_never_pays_more(one, other):
    low, high = sorted((one, other))
    assert integrity_factor(high, EVIDENCE) <= integrity_factor(low, EVIDENCE)


def test_pay_grows_for_ten_times_as_long_as_users_prompts_are_waited_for():
    """So that fp8 weights, which show after 72 answers and nearly always after 117, live off a
    fifth of the pay at most until then."""
    rules = ScoringParams()
    standing = lived([("audit", 1.0)] * rules.probation_answers)
    assert has_passed_probation(standing, rules)
    assert scored(standing, PPM, rules) == PPM // 10
    assert scored(lived([("audit", 1.0)] * rules.full_pay_answers), PPM, rules) == PPM
