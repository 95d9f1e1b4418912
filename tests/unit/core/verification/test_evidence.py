"""The detector's promises: slow to accuse, quick where it is certain, never by one answer."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from subnet.core.verification.bounds import Reading
from subnet.core.verification.evidence import (
    Bet,
    Channel,
    EvidenceParams,
    EvidenceState,
    alarm,
    fresh_state,
    log_evidence,
    ratios,
    reference_bets,
    reference_gap_bets,
    update,
    warn,
)

PARAMS = EvidenceParams()
GAP_P0 = (1.0, 0.25, 0.06, 0.015, 0.004)
P0 = (1.0, 0.004, 0.001, 0.0005)
HONEST = (0.997, 0.0025, 0.0004, 0.0001)
FOREIGN = (0.4, 0.03, 0.07, 0.5)


def margins(counts, p0=P0):
    return {Channel.MARGIN: Reading(tuple(int(count) for count in counts), p0)}


def gap(bucket):
    counts = tuple(int(place == bucket) for place in range(len(GAP_P0)))
    return {Channel.LOGPROB: Reading(counts, GAP_P0)}


def responses_to_alarm(truth, tokens, seed, limit, share=1.0, params=PARAMS):
    dice = np.random.default_rng(seed)
    state = fresh_state(params)
    for response in range(1, limit + 1):
        cheats = dice.random() < share
        counts = dice.multinomial(tokens, truth if cheats else HONEST)
        state = update(state, margins(counts), params)
        if alarm(log_evidence(state), params):
            return response
    return None


def test_a_copy_or_a_foreign_seed_is_convicted_by_two_answers_of_forty_tokens():
    found = [responses_to_alarm(FOREIGN, 40, seed, 10) for seed in range(50)]
    assert max(found) <= 3
    assert sorted(found)[25] == 2


def test_one_answer_alone_never_convicts_however_bad():
    state = update(fresh_state(PARAMS), margins((0, 0, 0, 4096)), PARAMS)
    assert not alarm(log_evidence(state), PARAMS)
    assert warn(log_evidence(state), PARAMS)


def test_parameters_that_let_one_answer_convict_are_refused():
    with pytest.raises(ValidationError, match="response_evidence_max"):
        EvidenceParams(alarm_at=1e4)


def test_one_freak_token_is_worth_at_most_its_cap():
    state = update(fresh_state(PARAMS), margins((0, 0, 0, 1), (1.0, 1e-9, 1e-9, 1e-9)), PARAMS)
    assert log_evidence(state) <= math.log(PARAMS.token_evidence_max) + 1e-9


def test_honest_answers_do_not_raise_the_alarm():
    assert all(responses_to_alarm(HONEST, 40, seed, 1000) is None for seed in range(4))


def test_evidence_is_forgotten_by_honest_answers_down_to_a_floor_not_below():
    """Restartable: a long honest past buys no credit for later cheating."""
    state = fresh_state(PARAMS)
    for _ in range(500):
        state = update(state, margins((64, 0, 0, 0)), PARAMS)
    assert min(state.log1p_evidence[Channel.MARGIN]) >= 0
    for _ in range(3):
        state = update(state, margins((16, 1, 3, 20)), PARAMS)
    assert alarm(log_evidence(state), PARAMS)


def test_cheating_in_one_answer_of_twenty_is_caught():
    found = [responses_to_alarm(FOREIGN, 40, seed, 400, share=0.05) for seed in range(20)]
    assert None not in found
    assert sorted(found)[10] <= 80


def test_a_bet_on_rare_cheating_loses_little_on_an_honest_answer():
    rare = Bet(token_share=0.5, response_share=0.05, profile=FOREIGN)
    params = EvidenceParams(bets=(rare,))
    loud = update(fresh_state(params), margins((0, 0, 0, 40)), params)
    later = update(loud, margins((64, 0, 0, 0)), params)
    assert log_evidence(loud) + math.log(0.95) <= log_evidence(later) < log_evidence(loud)


def test_one_token_answers_carry_evidence():
    assert responses_to_alarm(FOREIGN, 1, 1, 200) is not None


bounds_of_three = st.tuples(*[st.floats(1e-6, 1.0)] * 3)


@given(bounds_of_three, st.tuples(*[st.floats(0, 1)] * 3))
def test_no_bet_gains_on_average_under_any_truth_within_the_bounds(p0, shares):
    """The e-value property. The mean is linear in the truth, so corners of the bounds decide."""
    truth = [bound * share for bound, share in zip(p0, shares, strict=True)]
    assume(sum(truth) <= 1)
    for bet in reference_bets():
        pays = ratios(bet, (1.0, *p0))
        mean = (1 - sum(truth)) * pays[0]
        mean += sum(share * pay for share, pay in zip(truth, pays[1:], strict=True))
        assert mean <= 1 + 1e-9


def test_no_gap_bet_gains_on_average_at_the_bounds():
    quiet = 1 - sum(GAP_P0[1:])
    for bet in reference_gap_bets():
        pays = ratios(bet, GAP_P0)
        worst = quiet * pays[0] + sum(
            bound * max(pay, pays[0]) for bound, pay in zip(GAP_P0[1:], pays[1:], strict=True)
        )
        assert worst <= 1 + 1e-9


def test_a_bucket_that_honest_answers_fill_as_often_as_the_bet_says_accuses_nobody():
    bet = Bet(token_share=1, response_share=1, profile=(0.7, 0.1, 0.1, 0.1))
    pays = ratios(bet, (1.0, 0.5, 0.01, 0.01))
    assert pays[1] == pays[0] < 1 < pays[2] == pytest.approx(10)


def test_typical_honest_evidence_stays_below_the_number_of_responses():
    """Even when the truth sits exactly on every bound."""
    dice = np.random.default_rng(8)
    truth = (1 - sum(P0[1:]), *P0[1:])
    ends = []
    for _ in range(200):
        state = fresh_state(PARAMS)
        for _ in range(20):
            counts = [int(count) for count in dice.multinomial(8, truth)]
            state = update(state, margins(counts), PARAMS)
        ends.append(math.exp(log_evidence(state)))
    assert np.median(ends) <= 20


def test_channels_are_averaged():
    """Half of M is each channel's, so a quiet one costs a factor of two."""
    margin = update(fresh_state(PARAMS), margins((0, 0, 0, 40)), PARAMS)
    only_margins = margin.log1p_evidence[Channel.MARGIN]
    mean = sum(math.expm1(value) for value in only_margins) / len(only_margins)
    assert log_evidence(margin) == pytest.approx(math.log(mean / 2))
    assert log_evidence(fresh_state(PARAMS)) == -math.inf


def test_rounded_weights_are_convicted_by_their_gaps_alone():
    state = fresh_state(PARAMS)
    for _ in range(30):
        state = update(state, {**margins((40, 0, 0, 0)), **gap(3)}, PARAMS)
    assert alarm(log_evidence(state), PARAMS)


def test_a_channel_that_could_not_look_keeps_its_evidence():
    loud = update(fresh_state(PARAMS), {**margins((40, 0, 0, 0)), **gap(4)}, PARAMS)
    later = update(loud, margins((40, 0, 0, 0)), PARAMS)
    assert later.log1p_evidence[Channel.LOGPROB] == loud.log1p_evidence[Channel.LOGPROB]
    assert (later.responses, later.tokens) == (2, 80)


def test_a_profile_of_the_other_channel_is_refused():
    with pytest.raises(ValidationError, match="LOGPROB channel has 5 buckets"):
        EvidenceParams(gap_bets=reference_bets())


def test_state_survives_json_exactly():
    state = update(fresh_state(PARAMS), margins((10, 1, 2, 27)), PARAMS)
    assert EvidenceState.model_validate_json(state.model_dump_json()) == state
    assert (state.responses, state.tokens) == (1, 40)


def test_evidence_never_overflows():
    state = fresh_state(PARAMS)
    for _ in range(2000):
        state = update(state, margins((0, 0, 0, 64)), PARAMS)
    assert math.isfinite(log_evidence(state))
    assert alarm(log_evidence(state), PARAMS)


def test_a_profile_that_is_no_distribution_is_refused():
    with pytest.raises(ValidationError, match="sum to 1"):
        Bet(token_share=1, response_share=1, profile=(0.5, 0.5, 0.5, 0.0))
