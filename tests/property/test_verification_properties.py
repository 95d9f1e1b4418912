"""Laws of seeded sampling and of evidence, for any logits, parameters and counts."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from subnet.core.verification.bounds import Reading, bucket_counts, larger_bounds, upper_bound
from subnet.core.verification.calibration import (
    BASE_EDGES_LOGITS,
    BUCKETS,
)
from subnet.core.verification.candidates import best_candidates
from subnet.core.verification.evidence import (
    Channel,
    EvidenceParams,
    fresh_state,
    log_evidence,
    ratios,
    update,
)
from subnet.core.verification.margin import MARGIN_CAP_LOGITS, margins, seeded_choice
from subnet.core.verification.noise import hash_words, seed_prefix
from subnet.core.verification.support import SamplingRows, borders, exact_support

VOCABULARY = 90
CANDIDATES = 64
PARAMS = EvidenceParams()

seeds = st.integers(0, 2**64 - 1)
tables = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.just(VOCABULARY)),
    elements=st.floats(-20, 20, width=32),
)
bucketed = st.tuples(*[st.integers(0, 60)] * BUCKETS)
bounds = st.tuples(st.just(1.0), st.floats(1e-5, 0.2), st.floats(1e-5, 0.1), st.floats(1e-5, 0.05))


@st.composite
def positions(draw):
    full = draw(tables)
    count = len(full)

    def column(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    rows = SamplingRows(
        np.array(column(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0, 1.5, 2.0]))),
        np.array(column(st.integers(1, 1000))) / 1000,
        np.array(column(st.integers(1, 64))),
        np.array([seed_prefix(seed) for seed in column(seeds)]),
        np.array(column(st.integers(0, 100_000))),
    )
    values, ids = best_candidates(full, CANDIDATES)
    return full.astype(np.float64), values.astype(np.float64), ids, rows


def margins_of(full, values, ids, claimed, rows, slack=0.1):
    own = full[np.arange(len(full)), claimed]
    return margins(values, ids, claimed, own, rows, VOCABULARY, slack, np)


@given(positions())
def test_the_honest_choice_lies_in_the_support_and_has_no_margin(drawn):
    full, values, ids, rows = drawn
    chosen = seeded_choice(values, ids, rows, VOCABULARY, np)
    inside = exact_support(borders(values, rows, VOCABULARY, np), values)
    assert (((ids == chosen[:, None]) & inside).any(axis=1)).all()
    assert margins_of(full, values, ids, chosen, rows).max() <= 1e-9


@given(positions(), st.integers(0, VOCABULARY - 1))
def test_margins_are_finite_and_within_their_cap(drawn, token):
    full, values, ids, rows = drawn
    found = margins_of(full, values, ids, np.full(len(full), token), rows)
    assert ((found >= 0) & (found <= MARGIN_CAP_LOGITS)).all()


@given(positions(), st.integers(0, VOCABULARY - 1))
def test_more_slack_never_makes_a_margin_larger(drawn, token):
    full, values, ids, rows = drawn
    claimed = np.full(len(full), token)
    tight = margins_of(full, values, ids, claimed, rows, 0.05)
    assert (margins_of(full, values, ids, claimed, rows, 0.5) <= tight).all()


@given(positions(), st.integers(0, VOCABULARY - 1))
def test_numpy_and_torch_agree(drawn, token):
    full, values, ids, rows = drawn
    claimed = np.full(len(full), token)
    own = full[np.arange(len(full)), claimed]
    on_tensors = SamplingRows(
        *(torch.from_numpy(getattr(rows, name)) for name in SamplingRows.__dataclass_fields__)
    )
    tensors = [torch.from_numpy(array) for array in (values, ids, claimed, own)]
    there = margins(*tensors, on_tensors, VOCABULARY, 0.1, torch).numpy()
    here = margins(values, ids, claimed, own, rows, VOCABULARY, 0.1, np)
    # An exponential that differs in its last bit may flip a token that sits on the mass border.
    assert (np.isclose(here, there, atol=1e-6) | (here == MARGIN_CAP_LOGITS)).all()
    choice = seeded_choice(*tensors[:2], on_tensors, VOCABULARY, torch).numpy()
    assert (choice == seeded_choice(values, ids, rows, VOCABULARY, np)).mean() >= 0.5


@given(seeds, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_numpy_and_torch_hash_alike_and_stay_in_32_bits(seed, position, token):
    cells = [[seed_prefix(seed)], [position], [token]]
    here = hash_words(*(np.array(cell) for cell in cells))
    there = hash_words(*(torch.tensor(cell) for cell in cells))
    assert here.tolist() == there.tolist()
    assert 0 <= here[0] < 2**32


@given(tables, st.integers(1, 120))
def test_candidates_are_the_best_of_a_full_sort(table, count):
    values, ids = best_candidates(table, count)
    kept = min(count, VOCABULARY)
    assert np.array_equal(values, -np.sort(-table, axis=1)[:, :kept])
    assert np.array_equal(np.take_along_axis(table, ids, axis=1), values)
    assert all(len(set(row.tolist())) == kept for row in ids)


@given(st.lists(st.floats(0, MARGIN_CAP_LOGITS), max_size=200))
def test_every_margin_falls_into_exactly_one_bucket(values):
    assert sum(bucket_counts(values, BASE_EDGES_LOGITS)) == len(values)


@given(st.integers(0, 50), st.integers(51, 5000), st.floats(1e-12, 0.1))
def test_the_upper_bound_exceeds_the_frequency_and_grows_with_hits(hits, trials, error):
    bound = upper_bound(hits, trials, error)
    assert hits / trials < bound <= 1
    assert upper_bound(hits + 1, trials, error) > bound


def seen(counts, p0):
    return {Channel.MARGIN: Reading(counts, p0)}


@given(st.lists(st.tuples(bucketed, bounds), max_size=30))
def test_evidence_stays_finite_and_never_falls_below_a_fresh_start(responses):
    state = fresh_state(PARAMS)
    for counts, p0 in responses:
        state = update(state, seen(counts, p0), PARAMS)
        logs = state.log1p_evidence[Channel.MARGIN]
        assert all(math.isfinite(value) and value >= 0 for value in logs)
    assert state.responses == len(responses)


@given(st.lists(st.tuples(bucketed, bounds), max_size=10), bucketed, bounds)
def test_one_response_multiplies_the_evidence_by_at_most_its_cap(past, counts, p0):
    state = fresh_state(PARAMS)
    for earlier in past:
        state = update(state, seen(*earlier), PARAMS)
    before = math.exp(min(log_evidence(state), 600.0))
    after = log_evidence(update(state, seen(counts, p0), PARAMS))
    limit = math.log(before + 1) + math.log(PARAMS.response_evidence_max)
    assert after <= limit + 1e-6


@given(bounds)
def test_a_wider_bound_never_makes_a_loud_token_count_for_more(p0):
    wider = (1.0, *(bound * 1.3 for bound in p0[1:]))
    for bet in PARAMS.bets:
        for before, after in zip(ratios(bet, p0)[1:], ratios(bet, wider)[1:], strict=True):
            assert after <= before + 1e-9 or after <= 1


@given(bounds, bounds, st.floats(0, 1))
def test_the_larger_of_two_bounds_holds_for_every_mixture_of_what_keeps_to_them(one, other, share):
    """No blend of ordinary and hostile prompts pays a bet, if each kind keeps to its bound."""
    p0 = larger_bounds(one, other)
    mixed = [share * a + (1 - share) * b for a, b in zip(one[1:], other[1:], strict=True)]
    for bet in PARAMS.bets:
        pays = ratios(bet, p0)
        mean = pays[0] * (1 - sum(mixed)) + sum(map(math.prod, zip(mixed, pays[1:], strict=True)))
        assert mean <= 1 + 1e-9
