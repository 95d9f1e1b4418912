"""Reputation is earned slowly, lost soon, and cannot be talked up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from protocol.units import RAO_PER_TAO
from subnet.core.audit import PPM
from subnet.core.reputation import (
    DAY_US,
    Mass,
    ReputationParams,
    Source,
    exposure_tasks,
    observed,
    prior_mean,
    quality_lower_ppm,
    quality_mean_ppm,
    with_feedback,
)

PARAMS = ReputationParams()
MASSES = st.builds(
    Mass, good=st.floats(0, 1000), bad=st.floats(0, 1000), at_us=st.integers(0, 10**15)
)
GRADES = st.floats(0, 1)


def after(grades, source=Source.AUDIT, gap_us=0):
    mass = Mass()
    for number, grade in enumerate(grades):
        mass = observed(mass, grade, source, number * gap_us, PARAMS)
    return mass


@given(st.lists(GRADES, max_size=60), GRADES)
def test_a_better_answer_never_lowers_and_a_worse_one_never_raises(grades, prior):
    mass = after(grades)
    good, bad = (observed(mass, grade, Source.AUDIT, mass.at_us, PARAMS) for grade in (1, 0))
    for figure in (quality_lower_ppm, quality_mean_ppm):
        assert figure(bad, prior, PARAMS) <= figure(mass, prior, PARAMS)
        assert figure(mass, prior, PARAMS) <= figure(good, prior, PARAMS) + 1


@given(MASSES, st.floats(0.01, 0.99))
def test_the_lower_bound_is_the_betas_fifth_percentile(mass, prior):
    found = quality_lower_ppm(mass, prior, PARAMS) / PPM
    good = mass.good + prior * PARAMS.prior_mass
    bad = mass.bad + (1 - prior) * PARAMS.prior_mass
    assert found == pytest.approx(beta.ppf(0.05, good, bad), abs=2e-6)
    assert found <= quality_mean_ppm(mass, prior, PARAMS) / PPM + 2e-6 or mass.good < 1


@given(MASSES, st.integers(0, 365))
def test_evidence_halves_in_a_week_and_never_grows_by_waiting(mass, days):
    later = mass.at(mass.at_us + days * DAY_US, PARAMS)
    assert later.total == pytest.approx(mass.total * 0.5 ** (days / 7))
    assert mass.at(mass.at_us - 5, PARAMS) == mass, "time never runs backwards"


def test_a_newcomer_is_below_whoever_is_known_and_a_fall_shows_soon():
    known, new = after([0.9] * 200), Mass()
    prior = prior_mean([known], PARAMS)
    assert quality_lower_ppm(new, prior, PARAMS) < quality_lower_ppm(known, prior, PARAMS)
    fallen = known
    for _ in range(30):
        fallen = observed(fallen, 0.0, Source.AUDIT, 0, PARAMS)
    drop = quality_lower_ppm(known, prior, PARAMS) - quality_lower_ppm(fallen, prior, PARAMS)
    assert drop > 0.1 * PPM


@given(st.lists(GRADES, min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 4))
def test_no_requestor_or_owner_can_talk_a_node_up(grades, requestors, owners):
    own = after(grades)
    praise = after([1.0] * 2000, Source.FEEDBACK)
    words = {(f"owner {n % owners}", f"requestor {n}"): praise for n in range(requestors)}
    whole = with_feedback(own, words, PARAMS)
    by_owner = {owner for owner, _ in words}
    bound = own.total * (1 + len(by_owner) * 0.1 / 0.9)
    assert own.total <= whole.total <= bound + 1e-9
    single = with_feedback(own, {("owner", "requestor"): praise}, PARAMS)
    assert single.total - own.total <= 0.05 * single.total + 1e-9
    assert with_feedback(Mass(), words, PARAMS).total == 0, "words alone make no reputation"


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 400 * DAY_US))
def test_a_bond_split_over_hotkeys_is_trusted_with_no_more(one, other, tenure_us):
    free = exposure_tasks(0, tenure_us, PARAMS)
    together = exposure_tasks(one + other, tenure_us, PARAMS) - free
    apart = exposure_tasks(one, tenure_us, PARAMS) + exposure_tasks(other, tenure_us, PARAMS)
    assert apart - 2 * free <= together + 2
    assert exposure_tasks(one, 0, PARAMS) <= exposure_tasks(one, tenure_us, PARAMS)
    assert exposure_tasks(RAO_PER_TAO, 0, PARAMS) == 12


def test_checks_and_words_count_less_than_audits():
    totals = [
        after([1.0], source).total for source in (Source.AUDIT, Source.CHECK, Source.FEEDBACK)
    ]
    assert totals == [1.0, 0.25, 0.05]
    assert prior_mean([], PARAMS) == PARAMS.prior_mean
    means = [after([grade] * 10) for grade in (0.2, 0.4, 0.6, 0.8)]
    assert prior_mean(means, PARAMS) == pytest.approx(0.35)
    assert prior_mean([*means, after([0.0] * 3)], PARAMS) == pytest.approx(0.35)
