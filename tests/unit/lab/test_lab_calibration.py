"""A table fitted on honest answers covers them, and one fitted on quieter ones says so."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from protocol.structure import Structure
from subnet.cli.calibrate import calibrate
from subnet.cli.main import app
from subnet.config import ConfigError
from subnet.core.audit import Traffic, readings
from subnet.core.verification.bounds import CalibrationParams
from subnet.core.verification.calibration import BASE_EDGES_LOGITS, CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import Channel
from subnet.core.verification.gaps import fitted_gap_table
from subnet.lab import calibration as lab_calibration
from subnet.lab.calibration import repeated, with_users
from subnet.lab.fit import Answer, checked, fit
from tests.calibration_support import PAIR, PROVENANCE
from tests.validator_support import whole_table

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


def test_gaps_of_structured_answers_are_neither_fitted_nor_checked():
    dice = np.random.default_rng(4)
    found = table(answers(dice, 3000, 0.001, False))
    wild = [
        dataclasses.replace(
            one,
            score=ClaimScore(one.score.margins, tuple(9 * gap for gap in one.score.logprob_gaps)),
        )
        for one in answers(dice, 600, 0.001, True)
    ]
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    structured = [
        dataclasses.replace(one, claim=dataclasses.replace(one.claim, structure=vote))
        for one in wild
    ]
    as_structured = checked(structured, found, Traffic.BENCHMARK)
    assert (as_structured.gap_buckets_above_p0, as_structured.alarms) == (0, 0)
    as_free = checked(wild, found, Traffic.BENCHMARK)
    assert as_free.gap_buckets_above_p0 > 0 and as_free.alarms > 0


def hostile(dice, count, is_held_out, loud=0.02):
    return [
        dataclasses.replace(one, is_hostile=True) for one in answers(dice, count, loud, is_held_out)
    ]


def test_hostile_answers_keep_to_the_users_bounds_and_break_those_of_benchmarks():
    dice = np.random.default_rng(2)
    ordinary = answers(dice, 3000, 0.0005, False)
    worse = [*hostile(dice, 1500, False), *hostile(dice, 500, True)]
    found = with_users(table(ordinary), [*ordinary, *worse], "digest")
    users = found.users
    assert users.held_out.responses == 500 and users.held_out.alarms == 0
    assert users.held_out.mean_factor_max <= 1
    assert users.traffic_percent == pytest.approx(40)
    assert users.loud_ratio == pytest.approx(40, rel=0.3)
    one = worse[-1]
    assert set(readings(one.claim, one.score, found, Traffic.BENCHMARK)) == set(Channel)
    assert set(readings(one.claim, one.score, found, Traffic.ORGANIC)) == {Channel.MARGIN}
    as_benchmarks = checked([one for one in worse if one.is_held_out], found, Traffic.BENCHMARK)
    assert as_benchmarks.alarms > 0 and as_benchmarks.mean_factor_max > 1
    for drawn, chosen in zip(found.bands, users.bands, strict=True):
        assert all(wide >= narrow for wide, narrow in zip(chosen.p0, drawn.p0, strict=True))


def test_a_prompt_that_always_errs_convicts_when_it_is_all_that_a_user_asks():
    dice = np.random.default_rng(3)
    ordinary = answers(dice, 3000, 0.0005, False)
    worse = [*hostile(dice, 1500, False), *hostile(dice, 50, True)]
    found = with_users(table(ordinary), [*ordinary, *worse], "digest")
    calm = [of_prompt(one, (1, 1)) for one in answers(dice, 20, 0.0, True)]
    loud = [of_prompt(one, (2, 2)) for one in answers(dice, 20, 0.3, True)]
    rare = [of_prompt(one, (3, 3)) for one in answers(dice, 5, 0.3, True)]
    assert repeated([*calm, *loud, *rare], found) == (2, 1)
    assert repeated(rare, found) == (0, 0)


def test_one_freak_answer_to_a_prompt_is_no_habit_of_it():
    dice = np.random.default_rng(4)
    ordinary = answers(dice, 3000, 0.0, False)
    worse = [*hostile(dice, 3000, False, 0.0), *hostile(dice, 50, True, 0.0)]
    found = with_users(table(ordinary), [*ordinary, *worse], "digest")
    calm = [
        dataclasses.replace(of_prompt(one, (1, 1)), score=ClaimScore((0.0,), ()))
        for one in answers(dice, 15, 0.0, True)
    ]
    freaks = [dataclasses.replace(calm[0], score=ClaimScore((50.0,), ()))] * 2
    assert repeated([*calm, freaks[0]], found) == (1, 0)
    assert repeated([*calm, *freaks], found) == (1, 1)


def of_prompt(answer, prompt):
    claim = dataclasses.replace(answer.claim, prompt_token_ids=prompt)
    return dataclasses.replace(answer, claim=claim, is_hostile=True)


def call(folder, monkeypatch, made):
    monkeypatch.setattr(lab_calibration, "calibrate", lambda *_: made)
    arguments = ["calibrate", "--release", str(folder)]
    return CliRunner().invoke(app, arguments)


def test_a_table_without_power_is_refused_in_one_line_and_nothing_is_written(tmp_path, monkeypatch):
    dice = np.random.default_rng(1)
    weak = table(answers(dice, 300, 0.001, False))
    result = call(tmp_path, monkeypatch, weak)
    assert result.exit_code == 1
    (line,) = [one for one in result.output.splitlines() if "refused" in one]
    assert "nothing written" in line and "no attack was played" in line
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_stood_every_trial_is_written(tmp_path, monkeypatch):
    result = call(tmp_path, monkeypatch, whole_table())
    assert result.exit_code == 0, result.output
    text = (tmp_path / "calibration.json").read_text()
    assert CalibrationTable.model_validate_json(text) == whole_table()


def test_a_folder_without_a_release_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        calibrate(release=tmp_path)
