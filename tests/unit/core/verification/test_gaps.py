"""The second channel's table: bounds above the truth, silent outside what was measured."""

import numpy as np
import pytest

from subnet.core.verification.bounds import CalibrationParams
from subnet.core.verification.gaps import (
    EDGE_QUANTILES,
    GAP_BUCKETS,
    LENGTH_CLASSES_TOKENS,
    fitted_gap_table,
    length_class,
)

PARAMS = CalibrationParams()
DICE = np.random.default_rng(3)


def answer(tokens, scale=0.01):
    return tuple(abs(DICE.normal(0, scale, tokens)))


@pytest.fixture(scope="module")
def table():
    return fitted_gap_table(
        [(t, answer(tokens)) for t in (0, 700, 1500) for tokens in (2, 40) for _ in range(500)],
        PARAMS,
    )


def test_bounds_lie_above_what_was_counted_and_the_quiet_bucket_accuses_nobody(table):
    assert sorted(sum(cell.counts) for cell in table.cells) == [500, 500, 1000, 1000]
    for cell in table.cells:
        assert cell.p0[0] == 1
        for hits, bound in zip(cell.counts[1:], cell.p0[1:], strict=True):
            assert bound > PARAMS.safety_factor * hits / sum(cell.counts)


def test_edges_are_the_honest_quantiles_of_a_length_class(table):
    quiet = sum(cell.counts[0] for cell in table.cells if cell.tokens_min == 33)
    assert quiet / 1500 == pytest.approx(EDGE_QUANTILES[0], abs=0.01)
    assert table.edges_nats[1] > table.edges_nats[33], "short means scatter more"


def test_coarser_weights_fall_into_the_loudest_bucket(table):
    reading = table.reading(answer(40, scale=0.1), 1000)
    assert reading.counts == (0,) * (GAP_BUCKETS - 1) + (1,)
    assert reading.p0[-1] < 0.1


def test_a_range_of_temperatures_shares_its_bounds(table):
    assert table.reading(answer(40), 300).p0 == table.reading(answer(40), 1000).p0
    assert table.reading(answer(40), 1000).p0 != table.reading(answer(40), 1001).p0


@pytest.mark.parametrize("tokens", [0, 12])
def test_a_length_that_was_not_measured_says_nothing(table, tokens):
    assert table.reading(answer(tokens), 700) is None


def test_honest_answers_keep_to_the_bounds_and_noisier_ones_are_counted(table):
    assert table.buckets_above([(700, answer(40)) for _ in range(500)]) == 0
    assert table.buckets_above([(700, answer(40, scale=0.013)) for _ in range(500)]) > 0


def test_every_length_has_a_class_from_its_shortest_answer_on():
    assert [length_class(start) for start in LENGTH_CLASSES_TOKENS] == list(LENGTH_CLASSES_TOKENS)
    assert length_class(0) == 0 and length_class(8) == 4 and length_class(10_000) == 33
