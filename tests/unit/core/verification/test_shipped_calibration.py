"""The table in the repository must fit the weights beside it and cover the whole envelope."""

from pathlib import Path

import pytest

from subnet.core.verification.admission import refused
from subnet.core.verification.calibration import BUCKETS, CalibrationTable
from subnet.edge.release_files import load_release

SHIPPED = Path(__file__).parents[4] / "assets" / "tiny"


@pytest.fixture(scope="module")
def table():
    return CalibrationTable.model_validate_json((SHIPPED / "calibration.json").read_text())


def test_it_was_measured_on_the_shipped_weights(table):
    """If this fails the weights were replaced: run assay calibrate again."""
    assert table.provenance.release_digest == load_release(str(SHIPPED)).digest()


def test_it_covers_the_whole_envelope(table):
    context = load_release(str(SHIPPED)).context_tokens_max
    for temperature_milli in (0, *range(100, 2001, 50)):
        for top_p_milli in range(500, 1001, 50):
            bounds = table.bounds(temperature_milli, top_p_milli, context)
            assert bounds is not None
            assert len(bounds) == BUCKETS


def test_its_bounds_lie_above_what_was_counted_and_are_sharp_enough_to_convict(table):
    for band in table.bands:
        tokens = sum(band.counts)
        for hits, bound in zip(band.counts[1:], band.p0[1:], strict=True):
            assert hits / tokens < bound
        assert band.p0[-1] < 0.01


def test_it_would_be_written_again(table):
    assert refused(table) == ()


def test_held_out_answers_kept_to_it_and_raised_no_alarm(table):
    assert table.held_out is not None
    assert table.held_out.tokens > 50_000
    assert table.held_out.alarms == 0
    assert table.held_out.buckets_above_p0 == 0
