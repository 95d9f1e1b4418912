"""Supports and margins on small tables that can be checked by hand."""

import numpy as np
import pytest

from subnet.core.verification.margin import (
    MARGIN_CAP_LOGITS,
    margins,
    seeded_choice,
    seeded_scores,
)
from subnet.core.verification.noise import seed_prefix
from subnet.core.verification.support import (
    SamplingRows,
    borders,
    exact_support,
    is_lenient,
    mass_slack,
    strict_support,
)

SLACK = 0.1


def rows_of(count=1, temperature=1.0, top_p=1.0, top_k=64, seed=1):
    return SamplingRows(
        np.full(count, temperature),
        np.full(count, top_p),
        np.full(count, top_k),
        np.full(count, seed_prefix(seed)),
        np.arange(count) + 9,
    )


def margin_of(logits, claimed, rows, vocab_size=1000):
    logits = np.array([logits], dtype=float)
    ids = np.arange(logits.shape[1])[None, :]
    return float(
        margins(logits, ids, np.array([claimed]), logits[:, claimed], rows, vocab_size, SLACK, np)[
            0
        ]
    )


def test_top_k_admits_the_k_best_and_their_ties():
    logits = np.array([[5.0, 4.0, 3.0, 3.0, 2.0]])
    cut = borders(logits, rows_of(top_k=3), 1000, np)
    assert exact_support(cut, logits).tolist() == [[True, True, True, True, False]]


def test_top_p_counts_mass_after_temperature_and_inside_top_k():
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]]))
    assert exact_support(borders(logits, rows_of(top_p=0.75), 1000, np), logits).sum() == 3
    # Inside the three best the masses are 4/9, 3/9, 2/9: the first two hold 7/9 > 0.75.
    assert exact_support(borders(logits, rows_of(top_p=0.75, top_k=3), 1000, np), logits).sum() == 2
    # At T = 0.5 the weights are 16, 9, 4, 1: the first two hold 25/30.
    colder = rows_of(top_p=0.75, temperature=0.5)
    assert exact_support(borders(logits, colder, 1000, np), logits).sum() == 2


def test_the_best_token_is_always_inside():
    logits = np.array([[9.0, 0.0]])
    assert exact_support(borders(logits, rows_of(top_p=0.001), 1000, np), logits).tolist() == [
        [True, False]
    ]


def test_a_tie_at_the_border_is_tolerated_but_does_not_challenge():
    logits = np.array([[5.0, 4.0, 3.95, 1.0]])
    rows = rows_of(top_k=2)
    cut = borders(logits, rows, 1000, np)
    lenient = [bool(is_lenient(cut, logits, logits[:, i], rows, SLACK, np)[0]) for i in range(4)]
    assert lenient == [True, True, True, False]
    assert strict_support(cut, logits, rows, SLACK, np).tolist() == [[True, False, False, False]]


def test_mass_slack_spares_a_token_that_top_p_just_missed():
    logits = np.log(np.array([[0.5, 0.36, 0.14]]))
    for top_p, spared in ((0.85, True), (0.83, False)):
        rows = rows_of(top_p=top_p)
        cut = borders(logits, rows, 1000, np)
        assert bool(is_lenient(cut, logits, logits[:, 2], rows, SLACK, np)[0]) is spared


def test_the_colder_the_more_mass_slack():
    assert mass_slack(rows_of(temperature=2.0), 0.1, np).tolist() == [0.02]
    assert mass_slack(rows_of(temperature=0.1), 0.1, np)[0] == pytest.approx(0.125)


def test_a_vocabulary_smaller_than_top_k_has_no_border():
    logits = np.array([[1.0, 0.0, -5.0]])
    rows = rows_of(top_k=64)
    cut = borders(logits, rows, 3, np)
    assert strict_support(cut, logits, rows, SLACK, np).all()


def test_the_seeded_choice_has_margin_zero_and_every_other_token_a_positive_one():
    logits = [3.0, 2.5, 2.0, 1.0]
    rows = rows_of(top_k=64)
    chosen = int(seeded_choice(np.array([logits]), np.arange(4)[None, :], rows, 4, np)[0])
    assert margin_of(logits, chosen, rows, 4) == 0
    others = [margin_of(logits, token, rows, 4) for token in range(4) if token != chosen]
    assert min(others) > 0.01


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0])
def test_margins_are_in_logits_at_every_temperature(temperature):
    """Rounding that moves a logit by 0.02 moves the margin by at most 0.02."""
    dice = np.random.default_rng(5)
    count = 5_000
    exact = -np.sort(-dice.normal(0, 2, (count, 64)), axis=1)
    ids = np.tile(np.arange(64), (count, 1))
    rows = rows_of(count, temperature)
    chosen = seeded_choice(exact, ids, rows, 64, np)
    blurred = exact + dice.uniform(-0.01, 0.01, exact.shape)
    own = blurred[np.arange(count), chosen]
    found = margins(blurred, ids, chosen, own, rows, 64, SLACK, np)
    assert 0 < found.max() <= 0.02
    assert (found == 0).mean() > 0.9


def test_greedy_is_the_argmax_and_its_margin_the_distance_to_it():
    rows = rows_of(temperature=0.0, top_p=0.1, top_k=1)
    logits = [3.0, 2.75, -4.0]
    assert int(seeded_choice(np.array([logits]), np.arange(3)[None, :], rows, 3, np)[0]) == 0
    assert margin_of(logits, 0, rows) == 0
    assert margin_of(logits, 1, rows) == pytest.approx(0.25)
    assert margin_of(logits, 2, rows) == pytest.approx(7.0)


def test_a_token_outside_the_lenient_support_gets_the_cap():
    assert margin_of([5.0, 4.0, 1.0], 2, rows_of(top_k=2)) == MARGIN_CAP_LOGITS


def test_a_barred_token_gets_the_cap_and_barred_ones_challenge_nobody():
    rows = rows_of(top_k=64)
    logits = [2.0, -np.inf, -np.inf]
    assert margin_of(logits, 0, rows) == 0
    assert margin_of(logits, 1, rows) == MARGIN_CAP_LOGITS
    assert int(seeded_choice(np.array([logits]), np.arange(3)[None, :], rows, 3, np)[0]) == 0


def test_a_token_outside_the_vocabulary_gets_the_cap_even_when_greedy():
    for temperature in (0.0, 1.0):
        rows = rows_of(temperature=temperature)
        logits = np.array([[2.0, 1.0]])
        found = margins(
            logits, np.array([[0, 1]]), np.array([77]), np.array([-np.inf]), rows, 2, SLACK, np
        )
        assert found.tolist() == [MARGIN_CAP_LOGITS]


def test_a_claimed_token_beyond_the_candidates_is_still_judged_by_its_own_logit():
    rows = rows_of(top_k=2)
    logits = np.array([[5.0, 4.0]])
    found = margins(
        logits, np.array([[0, 1]]), np.array([7]), np.array([3.95]), rows, 1000, SLACK, np
    )
    assert 0 <= found[0] < MARGIN_CAP_LOGITS


def test_noise_depends_on_seed_position_and_token():
    rows, later = rows_of(seed=1), rows_of(seed=1)
    later = SamplingRows(later.temperature, later.top_p, later.top_k, later.prefix, np.array([10]))
    logits, ids = np.zeros((1, 8)), np.arange(8)[None, :]
    base = seeded_scores(logits, ids, rows, np)
    assert len(set(base[0].tolist())) == 8
    assert not np.allclose(base, seeded_scores(logits, ids, later, np))
    assert not np.allclose(base, seeded_scores(logits, ids, rows_of(seed=2), np))


def test_seeded_choices_follow_the_softmax_over_the_support():
    """Averaged over seeds it is ordinary sampling: nobody gets a biased answer."""
    count = 40_000
    logits = np.tile([2.0, 1.0, 0.5, -1.0], (count, 1))
    temperature = 0.7
    rows = SamplingRows(
        np.full(count, temperature),
        np.full(count, 1.0),
        np.full(count, 3),
        np.array([seed_prefix(seed) for seed in range(count)]),
        np.full(count, 17),
    )
    chosen = seeded_choice(logits, np.tile(np.arange(4), (count, 1)), rows, 1000, np)
    expected = np.exp(logits[0, :3] / temperature)
    expected = np.append(expected / expected.sum(), 0.0)
    found = np.bincount(chosen, minlength=4) / count
    assert np.abs(found - expected).max() < 4 * 0.5 / np.sqrt(count)
