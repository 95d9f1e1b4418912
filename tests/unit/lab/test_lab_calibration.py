"""A table fitted on honest answers covers them, and one fitted on quieter ones says so."""

import numpy as np
import pytest

from subnet.cli.calibrate import calibrate
from subnet.config import ConfigError
from subnet.core.audit import Traffic
from subnet.core.verification.bounds import CalibrationParams
from subnet.core.verification.calibration import BASE_EDGES_LOGITS, CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.gaps import fitted_gap_table
from subnet.lab.calibration import Answer, checked, fit
from tests.calibration_support import PAIR, PROVENANCE

PARAMS = CalibrationParams()


def answers(dice, count, loud, is_held_out):
    made = []
    for place in range(count):
        tokens = int(dice.integers(9, 33))
        claim = Claim((1,) * 8, (2,) * tokens, (0, 1000)[place % 2], 1000, 50, 1, None, "length")
        margins = np.where(dice.random(tokens) < loud, 0.5, 0.0)
        gaps = np.abs(dice.normal(0, 0.01, tokens))
        made.append(
            Answer(claim, ClaimScore(tuple(margins.tolist()), tuple(gaps.tolist())), is_held_out)
        )
    return made


def table(fitted_on):
    return CalibrationTable(
        sigma_logits=0.01,
        slack_logits=0.1,
        edges_logits=BASE_EDGES_LOGITS,
        context_tokens_max=64,
        params=PARAMS,
        bands=fit(fitted_on, BASE_EDGES_LOGITS, PARAMS),
        gaps=fitted_gap_table(
            [(one.claim.temperature_milli, one.score.logprob_gaps) for one in fitted_on], PARAMS
        ),
        pairs=(PAIR,),
        held_out=None,
        users=None,
        power=None,
        provenance=PROVENANCE,
    )


def test_answers_of_the_same_kind_keep_to_it():
    dice = np.random.default_rng(1)
    held_out = answers(dice, 1000, 0.001, True)
    found = checked(held_out, table(answers(dice, 3000, 0.001, False)), Traffic.BENCHMARK)
    assert (found.responses, found.alarms, found.buckets_above_p0) == (1000, 0, 0)
    assert found.gap_buckets_above_p0 == 0 and found.mean_factor_max <= 1


def test_answers_that_it_was_not_made_for_are_told():
    dice = np.random.default_rng(1)
    louder = answers(dice, 500, 0.05, True)
    found = checked(louder, table(answers(dice, 3000, 0.001, False)), Traffic.BENCHMARK)
    assert found.alarms > 0 and found.buckets_above_p0 == 2
    assert found.mean_factor_max > 1


def test_a_folder_without_a_release_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        calibrate(release=tmp_path)
