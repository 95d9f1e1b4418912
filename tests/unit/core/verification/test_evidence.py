"""The detector's promises: slow to accuse, quick where it is certain, never by one answer."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from subnet.core.verification.evidence import (
    Bet,
    EvidenceParams,
    EvidenceState,
    alarm,
    fresh_state,
    log_evidence,
    reference_bets,
    update,
    warn,
)

PARAMS = EvidenceParams()
P0 = (1.0, 0.004, 0.001, 0.0005)
HONEST = (0.997, 0.0025, 0.0004, 0.0001)
FOREIGN = (0.4, 0.03, 0.07, 0.5)


def responses_to_alarm(truth, tokens, seed, limit, share=1.0, params=PARAMS):
    dice = np.random.default_rng(seed)
    state = fresh_state(params)
    for response in range(1, limit + 1):
        cheats = dice.random() < share
        counts = dice.multinomial(tokens, truth if cheats else HONEST)
        state = update(state, [int(count) for count in counts], P0, params)
        if alarm(state, params):
            return response
    return None


def test_a_copy_or_a_foreign_seed_is_convicted_by_two_answers_of_forty_tokens():
    found = [responses_to_alarm(FOREIGN, 40, seed, 10) for seed in range(50)]
    assert max(found) <= 3
    assert sorted(found)[25] == 2


def test_one_answer_alone_never_convicts_however_bad():
    state = update(fresh_state(PARAMS), (0, 0, 0, 4096), P0, PARAMS)
    assert not alarm(state, PARAMS)
    assert warn(state, PARAMS)


def test_parameters_that_let_one_answer_convict_are_refused():
    with pytest.raises(ValidationError, match="response_evidence_max"):
        EvidenceParams(alarm_at=1e4)


def test_one_freak_token_is_worth_at_most_its_cap():
    state = update(fresh_state(PARAMS), (0, 0, 0, 1), (1.0, 1e-9, 1e-9, 1e-9), PARAMS)
    assert log_evidence(state) <= math.log(PARAMS.token_evidence_max) + 1e-9


def test_honest_answers_do_not_raise_the_alarm():
    assert all(responses_to_alarm(HONEST, 40, seed, 1000) is None for seed in range(4))


def test_evidence_is_forgotten_by_honest_answers_down_to_a_floor_not_below():
    """Restartable: a long honest past buys no credit for later cheating."""
    state = fresh_state(PARAMS)
    for _ in range(500):
        state = update(state, (64, 0, 0, 0), P0, PARAMS)
    assert min(state.log1p_evidence) >= 0
    for _ in range(3):
        state = update(state, (16, 1, 3, 20), P0, PARAMS)
    assert alarm(state, PARAMS)


def test_cheating_in_one_answer_of_twenty_is_caught():
    found = [responses_to_alarm(FOREIGN, 40, seed, 400, share=0.05) for seed in range(20)]
    assert None not in found
    assert sorted(found)[10] <= 80


def test_a_bet_on_rare_cheating_loses_little_on_an_honest_answer():
    rare = Bet(token_share=0.5, response_share=0.05, profile=FOREIGN)
    params = EvidenceParams(bets=(rare,))
    loud = update(fresh_state(params), (0, 0, 0, 40), P0, params)
    later = update(loud, (64, 0, 0, 0), P0, params)
    assert log_evidence(loud) + math.log(0.95) <= log_evidence(later) < log_evidence(loud)


def test_one_token_answers_carry_evidence():
    assert responses_to_alarm(FOREIGN, 1, 1, 200) is not None


def test_no_bet_gains_on_average_when_honest_tokens_keep_to_the_bounds():
    """The e-value property: under any truth below p0 the expected factor is at most 1."""
    for bet in reference_bets():
        ratios = [
            1 - bet.token_share + bet.token_share * share / bound
            for share, bound in zip(bet.profile, P0, strict=True)
        ]
        worst = sum(
            bound * max(ratio - ratios[0], 0)
            for bound, ratio in zip(P0[1:], ratios[1:], strict=True)
        )
        assert ratios[0] + worst <= 1 + 1e-9


def test_typical_honest_evidence_stays_below_the_number_of_responses():
    """Even when the truth sits exactly on every bound."""
    dice = np.random.default_rng(8)
    truth = (1 - sum(P0[1:]), *P0[1:])
    ends = []
    for _ in range(200):
        state = fresh_state(PARAMS)
        for _ in range(20):
            counts = [int(count) for count in dice.multinomial(8, truth)]
            state = update(state, counts, P0, PARAMS)
        ends.append(math.exp(log_evidence(state)))
    assert np.median(ends) <= 20


def test_channels_are_averaged():
    loud = update(fresh_state(PARAMS), (0, 0, 0, 40), P0, PARAMS)
    quiet = fresh_state(PARAMS)
    assert log_evidence(loud, quiet) == pytest.approx(log_evidence(loud) - math.log(2))
    assert log_evidence(quiet, quiet) == -math.inf


def test_state_survives_json_exactly():
    state = update(fresh_state(PARAMS), (10, 1, 2, 27), P0, PARAMS)
    assert EvidenceState.model_validate_json(state.model_dump_json()) == state
    assert (state.responses, state.tokens) == (1, 40)


def test_evidence_never_overflows():
    state = fresh_state(PARAMS)
    for _ in range(2000):
        state = update(state, (0, 0, 0, 64), P0, PARAMS)
    assert math.isfinite(log_evidence(state))
    assert alarm(state, PARAMS)


def test_a_profile_that_is_no_distribution_is_refused():
    with pytest.raises(ValidationError, match="sum to 1"):
        Bet(token_share=1, response_share=1, profile=(0.5, 0.5, 0.5, 0.0))
