"""What simulated miners draw from: a file of measured answers, and of nothing else."""

import dataclasses
import json

import pytest

from subnet.core.bundle import canonical_digest
from subnet.core.draws import DrawParams
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.release_files import load_release_files
from subnet.lab.profiles import drawn_power
from subnet.sim.adversaries import ADVERSARIES
from subnet.sim.answers import Answers, LookingReferee, SimTokenizer
from subnet.sim.profiles import HONEST, ProfilesError, read_profiles
from tests.simulation_support import TINY, laboratory, simulated


def test_the_shipped_file_is_of_the_shipped_release_and_its_table():
    lab = laboratory()
    assert lab.profiles.release_digest == load_release_files(str(TINY)).release.digest()
    assert lab.profiles.calibration_digest == canonical_digest(lab.table)
    assert lab.profiles.families == set(DrawParams().families)
    assert len(lab.profiles.pools[HONEST]) >= 2000


def test_a_file_reads_back_as_it_was_written(tmp_path):
    found = laboratory().profiles
    found.write(tmp_path / "again.json")
    again = read_profiles(tmp_path / "again.json")
    for name, pool in found.pools.items():
        assert [one.row() for one in pool] == [one.row() for one in again.pools[name]]


@pytest.mark.parametrize("text", ["", "{}", '{"format": "assay/profiles/1", "columns": []}', "[1]"])
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ProfilesError, match=r"broken\.json"):
        read_profiles(tmp_path / "broken.json")


def test_a_row_that_lacks_a_column_is_refused(tmp_path):
    laboratory().profiles.write(tmp_path / "some.json")
    found = json.loads((tmp_path / "some.json").read_text())
    found["pools"][HONEST][0].pop()
    (tmp_path / "some.json").write_text(json.dumps(found))
    with pytest.raises(ProfilesError):
        read_profiles(tmp_path / "some.json")


@pytest.mark.parametrize("name", ["honest", "replay"])
def test_a_file_without_what_every_run_draws_from_is_refused(tmp_path, name):
    found = laboratory().profiles
    pools = {key: pool[:1] for key, pool in found.pools.items() if key != name}
    dataclasses.replace(found, pools=pools).write(tmp_path / "few.json")
    with pytest.raises(ProfilesError, match=f"no answers of {name}"):
        read_profiles(tmp_path / "few.json")


def test_answers_are_drawn_from_those_most_like_the_question():
    profiles = laboratory().profiles
    for one in profiles.alike(HONEST, "extraction", 700, 950, structured=True):
        assert (one.family, one.is_structured) == ("extraction", True)
        assert (one.temperature_milli, one.top_p_milli) == (700, 950)
    assert profiles.alike(HONEST, "no such family", 1000, 950, structured=False)
    with pytest.raises(ProfilesError, match="no behaviour"):
        profiles.alike("no such cheat", "code", 1000, 950, structured=False)


def test_every_move_of_a_shipped_strategy_was_measured_and_priced():
    """A misspelt behaviour would fail only when the strategy plays it."""
    lab = laboratory()
    named = {made().behaviour for made in ADVERSARIES if hasattr(made(), "behaviour")}
    assert named <= set(lab.profiles.pools)
    assert named <= set(lab.prices.shares)


def test_the_referee_reads_what_was_measured():
    answers = Answers()
    row = next(one for one in laboratory().profiles.pools["smaller model"] if one.tokens > 5)
    ids = answers.write(7, row, "some words", row.tokens, is_stop=True)
    referee = LookingReferee(answers, laboratory().table.pairs[0].referee)
    claim = dataclasses.make_dataclass("Claim", ["seed", "output_token_ids"])(7, ids)
    (score,) = referee.score([claim])
    assert sorted(margin for margin in score.margins if margin) == sorted(row.margins_logits)
    assert set(score.logprob_gaps) == {row.gap_nats}
    assert SimTokenizer(answers).detokenize(ids) == "some words"


def test_simulated_grades_have_the_measured_mean():
    run = simulated(hours=3.0, load=120.0)
    measured = [one.grade for one in laboratory().profiles.pools[HONEST] if one.grade is not None]
    sums = [one.quality for v in run.validators for one in v.roles.book.known()]
    found = sum(one.total for one in sums) / sum(one.weight for one in sums)
    assert found == pytest.approx(sum(measured) / len(measured), abs=0.02)


def test_the_detector_tells_the_shipped_answers_apart():
    """On what a validator itself draws; bounds that hold for any prompt need 590 answers of fp8."""
    lab = laboratory()
    names = ("honest", "smaller model", "int4 weights", "fp8 weights", "int8 weights")
    chosen = dataclasses.replace(
        lab.profiles, pools={name: lab.profiles.pools[name] for name in names}
    )
    found = drawn_power(chosen, lab.table, 50, EvidenceParams(), 1)
    assert found["honest"].detected == 0
    assert found["int8 weights"].detected == 0, "below the noise floor, or the docs are wrong"
    assert found["smaller model"].p95_responses <= 5
    assert found["int4 weights"].p95_responses <= 30
    assert found["fp8 weights"].p95_responses <= 200
    wide = drawn_power(chosen, lab.table.without_drawn(), 50, EvidenceParams(), 1)
    assert (wide["fp8 weights"].median_responses or 4000) > 300
