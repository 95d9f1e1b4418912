"""Signs of gaming: honest miners show none beyond the level; cheats show."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from subnet.core.gaming import (
    coincidences,
    near_duplicates,
    organic_gaps,
    sketch_of,
)
from subnet.core.gaming.chance import (
    Moments,
    Stratum,
    binomial_tail,
    half_width,
    stratified_tail,
)
from subnet.core.gaming.mark import SHINGLE_TOKENS, likeness
from tests.gaming_support import answers_of, canned, copies, day, observation, traffic_of

# --- tails ---------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0, 1))
def test_the_binomial_tail_is_the_text_book_s(hits, more, share):
    count = hits + more
    expected = stats.binom.sf(hits - 1, count, share)
    assert binomial_tail(hits, count, share) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=1, max_size=1))
def test_one_stratum_is_fisher_s_test(cells):
    ((both, first_only, second_only, none),) = cells
    units = both + first_only + second_only + none
    found = stratified_tail([Stratum(units, both + first_only, both + second_only, both)])
    table = [[both, first_only], [second_only, none]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert found == pytest.approx(expected, rel=1e-6)


def test_strata_add_up():
    """Two strata, by counting all outcomes."""
    strata = [Stratum(4, 2, 2, 2), Stratum(3, 1, 2, 1)]
    hits = total = 0
    for one in itertools.combinations(range(4), 2):
        for other in itertools.combinations(range(3), 2):
            total += 1
            hits += len({0, 1} & set(one)) + len({0} & set(other)) >= 3
    assert stratified_tail(strata) == pytest.approx(hits / total)


@given(st.integers(12, 200), st.floats(1e-5, 0.2))
def test_student_s_quantile_is_close_enough(count, level):
    found = half_width([Moments(count, 0.0, 1.0)], level)
    assert found == pytest.approx(stats.t.isf(level / 2, count - 1), rel=0.03)


# --- organic against benchmark -------------------------------------------------------------------


def findings(rng, **cheat):
    seen = [one for n in range(5) for one in traffic_of(rng, f"honest {n}", 120)]
    seen += traffic_of(rng, "cheat", 120, **cheat)
    return {(one.miner_hotkey, one.measure) for one in organic_gaps(seen) if one.is_finding}


def test_honest_miners_show_no_gap_more_often_than_the_level_says():
    """At a level of a fifth, so that 100 reports can tell."""
    alarmed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        seen = [one for n in range(4) for one in traffic_of(rng, f"honest {n}", 60)]
        alarmed += any(one.is_finding for one in organic_gaps(seen, level=0.2))
    assert alarmed <= 32, "a fifth of 100, and three standard deviations"


@pytest.mark.parametrize(
    ("cheat", "measure"),
    [
        ({"organic_fault": 0.6}, "no answer"),
        ({"organic_slow": 3.0}, "first token"),
        ({"organic_slow": 3.0}, "per token"),
        ({"organic_loud": 0.6}, "loud margins"),
    ],
)
def test_who_serves_users_worse_shows(cheat, measure):
    found = findings(np.random.default_rng(1), **cheat)
    assert ("cheat", measure) in found
    assert {hotkey for hotkey, _ in found} == {"cheat"}


def test_one_cheat_makes_no_honest_peer_stand_out():
    rng = np.random.default_rng(1)
    seen = [one for n in range(4) for one in traffic_of(rng, f"honest {n}", 200)]
    seen += traffic_of(rng, "cheat", 200, organic_slow=1000.0)
    gaps = organic_gaps(seen)
    assert {one.miner_hotkey for one in gaps if one.is_finding} == {"cheat"}
    assert max(abs(one.effect) for one in gaps if one.miner_hotkey != "cheat") < 0.5


def test_a_gap_that_all_have_is_nobodys():
    rng = np.random.default_rng(2)
    seen = [one for n in range(5) for one in traffic_of(rng, f"m{n}", 120, organic_slow=3.0)]
    assert not [one for one in organic_gaps(seen) if one.is_finding]


def test_nineteen_observations_are_no_sample():
    rng = np.random.default_rng(3)
    seen = [one for n in range(5) for one in traffic_of(rng, f"m{n}", 120)]
    few = [one for one in seen if one.mark.miner_hotkey == "m0"][:38]
    rest = [one for one in seen if one.mark.miner_hotkey != "m0"]
    assert {one.miner_hotkey for one in organic_gaps(few + rest)} == {"m1", "m2", "m3", "m4"}
    assert organic_gaps([]) == []


def test_without_three_peers_there_is_no_telling():
    rng = np.random.default_rng(4)
    assert organic_gaps([one for n in range(3) for one in traffic_of(rng, f"m{n}", 200)]) == []


# --- near duplicates -----------------------------------------------------------------------------


def shingles(tokens):
    return {tuple(tokens[i : i + SHINGLE_TOKENS]) for i in range(len(tokens) - SHINGLE_TOKENS + 1)}


@given(st.integers(0, 60), st.integers(0, 2**32))
@settings(max_examples=50)
def test_sketches_estimate_how_much_two_answers_share(shared, seed):
    rng = np.random.default_rng(seed)
    start = list(rng.integers(0, 30_000, shared))
    one, other = (start + list(rng.integers(0, 30_000, 70 - shared)) for _ in range(2))
    jaccard = len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
    found = likeness(sketch_of(one), sketch_of(other))
    assert abs(found - jaccard) < 5 * math.sqrt(max(jaccard * (1 - jaccard), 0.01) / 64)


def test_a_short_answer_has_no_sketch():
    assert sketch_of(range(10)) == b""
    assert len(sketch_of(range(11))) == 256


def test_honest_owners_share_phrases_and_no_answers():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
        assert not [one for one in near_duplicates(seen, {}) if one.is_finding]


def test_two_owners_who_share_a_stock_of_answers_show_and_nobody_else():
    rng = np.random.default_rng(1)
    stock = canned(np.random.default_rng(9), 12)
    seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
    seen += copies(rng, stock, "m2", 12)
    seen += copies(rng, stock, "m4", 12)
    found = [one for one in near_duplicates(seen, {}) if one.is_finding]
    assert [one.owners for one in found] == [("m2", "m4")]
    assert found[0].alike >= 10


def test_one_answer_counts_once_however_often_another_repeats_it():
    rng = np.random.default_rng(1)
    (text,) = canned(np.random.default_rng(9), 1)
    seen = [one for n in range(4) for one in answers_of(rng, f"m{n}")]
    seen += copies(rng, [text], "m1", 1)
    seen += copies(rng, [text] * 15, "m2", 15)
    assert [one.alike for one in near_duplicates(seen, {})] == [1]


def test_one_owner_may_repeat_itself():
    rng = np.random.default_rng(1)
    stock = canned(np.random.default_rng(9), 12)
    seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
    seen += copies(rng, stock, "m2", 12)
    seen += copies(rng, stock, "m4", 12)
    assert not near_duplicates(seen, {"m2": "cold", "m4": "cold"})


def test_answers_to_the_same_prompt_prove_nothing():
    rng = np.random.default_rng(1)
    stock = canned(np.random.default_rng(9), 12)
    seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
    for hotkey in ("m2", "m4"):
        seen += [observation(hotkey, answer=one, prompt=f"{n}") for n, one in enumerate(stock)]
    assert not [one for one in near_duplicates(seen, {}) if one.is_finding]


def test_what_everybody_says_is_nobodys():
    rng = np.random.default_rng(1)
    stock = canned(np.random.default_rng(9), 12)
    seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
    for n in range(6):
        seen += copies(rng, stock, f"m{n}", 12)
    found = near_duplicates(seen, {})
    assert len(found) == 15
    assert not [one for one in found if one.is_finding]


# --- coincidences --------------------------------------------------------------------------------


def test_two_hotkeys_on_one_machine_fail_together_and_show():
    found = [
        one
        for one in coincidences(list(day(np.random.default_rng(1), together=(1, 4))))
        if one.is_finding
    ]
    assert [(one.hotkeys, one.kind) for one in found] == [(("m1", "m4"), "faults")]
    assert found[0].together > 5 * found[0].expected


def test_three_hotkeys_on_one_machine_show_too():
    seen = list(day(np.random.default_rng(1), miners=12, together=(1, 4, 7)))
    found = {one.hotkeys for one in coincidences(seen) if one.is_finding}
    assert found == set(itertools.combinations(("m1", "m4", "m7"), 2))


def test_independent_miners_show_no_more_often_than_the_level_says():
    alarmed = 0
    for seed in range(60):
        seen = list(day(np.random.default_rng(seed), miners=4, minutes=120))
        alarmed += any(one.is_finding for one in coincidences(seen, level=0.2))
    assert alarmed <= 36, "two kinds at a fifth each, and three standard deviations"


def test_an_outage_of_our_own_and_a_hard_family_accuse_nobody():
    seen = list(day(np.random.default_rng(3), outage=0.1, hard=0.7))
    assert not [one for one in coincidences(seen) if one.is_finding]
