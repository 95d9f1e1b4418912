"""Bounds must lie above the truth; requests outside the envelope must be inconclusive."""

import math

import numpy as np
import pytest

from subnet.core.verification.bounds import CalibrationParams, bucket_counts, upper_bound
from subnet.core.verification.calibration import (
    BASE_EDGES_LOGITS,
    Band,
    CalibrationTable,
    fitted_band,
    numeric_noise,
    scaled_edges,
    users_bands,
)
from subnet.core.verification.gaps import GapTable
from tests.calibration_support import PAIR, PROVENANCE

PARAMS = CalibrationParams()


def band(temperature_milli, top_p_milli, p0):
    return Band(
        temperature_milli=temperature_milli,
        top_p_milli=top_p_milli,
        counts=(100, 0, 0, 0),
        p0=(1.0, *p0),
    )


def table(*bands, context_tokens_max=128):
    return CalibrationTable(
        sigma_logits=0.01,
        slack_logits=0.1,
        edges_logits=BASE_EDGES_LOGITS,
        context_tokens_max=context_tokens_max,
        params=PARAMS,
        pairs=(PAIR,),
        bands=bands,
        gaps=GapTable(edges_nats={}, cells=()),
        held_out=None,
        users=None,
        power=None,
        provenance=PROVENANCE,
    )


TABLE = table(
    band(0, 1000, (0.2, 0.1, 0.01)),
    band(100, 500, (0.1, 0.02, 0.001)),
    band(100, 1000, (0.1, 0.03, 0.002)),
    band(1000, 500, (0.05, 0.01, 0.003)),
    band(1000, 1000, (0.04, 0.01, 0.001)),
)


def test_the_upper_bound_without_hits_is_the_closed_form():
    assert upper_bound(0, 1000, 1e-6) == pytest.approx(1 - 1e-6 ** (1 / 1000), rel=1e-9)


def test_the_upper_bound_leaves_exactly_the_stated_error():
    hits, trials, error = 7, 500, 1e-3
    bound = upper_bound(hits, trials, error)
    below = sum(
        math.comb(trials, k) * bound**k * (1 - bound) ** (trials - k) for k in range(hits + 1)
    )
    assert below == pytest.approx(error, rel=1e-6)


def test_the_upper_bound_is_one_when_every_trial_hit():
    assert upper_bound(5, 5, 1e-6) == 1.0
    assert upper_bound(0, 0, 1e-6) == 1.0


def test_the_upper_bound_handles_many_hits():
    assert 0.05 < upper_bound(5_000, 100_000, 1e-8) < 0.055


def test_more_bands_share_the_error_and_so_get_wider_bounds():
    counts = (990, 7, 2, 1)
    assert fitted_band(0, 1000, counts, 20, PARAMS).p0 > fitted_band(0, 1000, counts, 1, PARAMS).p0


def test_fitted_bounds_exceed_the_measured_frequencies_and_the_quiet_bucket_accuses_nobody():
    counts = (9_900, 70, 20, 10)
    fitted = fitted_band(1000, 950, counts, 19, PARAMS)
    assert fitted.p0[0] == 1.0
    for hits, bound in zip(counts[1:], fitted.p0[1:], strict=True):
        assert bound > PARAMS.safety_factor * hits / 10_000


def test_a_margin_on_an_edge_belongs_to_the_lower_bucket():
    assert bucket_counts([0, 0.03, 0.0301, 0.1, 0.3, 0.31, 50], BASE_EDGES_LOGITS) == (2, 2, 1, 2)
    assert bucket_counts([], BASE_EDGES_LOGITS) == (0, 0, 0, 0)


def test_edges_widen_with_the_noise_of_the_release_but_never_narrow():
    assert scaled_edges(0.001) == BASE_EDGES_LOGITS
    assert scaled_edges(0.02) == pytest.approx([2 * edge for edge in BASE_EDGES_LOGITS])


def test_the_slack_follows_the_tail_of_the_noise_and_sigma_its_mean_square():
    gaps = np.concatenate([np.zeros(9_000), np.full(1_000, 0.1)])
    assert numeric_noise(gaps, PARAMS) == pytest.approx((0.1 * math.sqrt(0.1), 0.2))
    assert numeric_noise(np.zeros(10), PARAMS) == (0.0, PARAMS.slack_logits_min)


def test_a_calibrated_point_has_its_own_bounds():
    assert TABLE.bounds(100, 500, 100) == (1.0, 0.1, 0.02, 0.001)


def test_between_points_the_largest_bound_around_holds():
    assert TABLE.bounds(500, 700, 100) == (1.0, 0.1, 0.03, 0.003)


def test_greedy_ignores_top_p():
    assert TABLE.bounds(0, 300, 100) == (1.0, 0.2, 0.1, 0.01)


@pytest.mark.parametrize(
    ("temperature_milli", "top_p_milli", "context_tokens"),
    [(50, 900, 10), (1001, 900, 10), (1000, 499, 10), (1000, 900, 129)],
    ids=["between greedy and the coldest", "hotter", "narrower top-p", "longer"],
)
def test_outside_the_envelope_is_inconclusive(temperature_milli, top_p_milli, context_tokens):
    assert TABLE.bounds(temperature_milli, top_p_milli, context_tokens) is None


def test_a_table_survives_json():
    assert CalibrationTable.model_validate_json(TABLE.model_dump_json()) == TABLE


def test_what_users_ask_is_bounded_by_the_worse_of_both_kinds_at_each_temperature():
    noisy = (9_000, 900, 90, 10)
    found = users_bands(TABLE.bands, {0: noisy, 1000: (10_000, 0, 0, 0)}, PARAMS)
    assert {band.temperature_milli for band in found} == {0, 1000}, "none for what was not searched"
    for band in found:
        ordinary = TABLE.bounds(band.temperature_milli, band.top_p_milli, 1)
        assert all(wide >= own for wide, own in zip(band.p0, ordinary, strict=True))
    assert found[0].p0[1] > 900 / 10_000


def test_without_a_search_only_what_users_ask_is_inconclusive():
    assert TABLE.users is None
    assert TABLE.bounds(1000, 1000, 1, of_users=True) is None
    assert TABLE.bounds(1000, 1000, 1) is not None


def test_honest_counts_rarely_exceed_their_bounds():
    dice = np.random.default_rng(3)
    truth = (0.98, 0.015, 0.004, 0.001)
    for _ in range(200):
        fitted = fitted_band(0, 1000, tuple(dice.multinomial(20_000, truth)), 19, PARAMS)
        assert all(p < bound for p, bound in zip(truth[1:], fitted.p0[1:], strict=True))
