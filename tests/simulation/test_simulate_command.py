"""`assay simulate`: what it prints is what a script can rely on."""

import json
import re

import pytest
from typer.testing import CliRunner

from subnet.cli.exits import UsageError
from subnet.cli.main import app
from subnet.config import ConfigError
from subnet.sim.adversaries import LeakedFriend
from subnet.sim.roster import known_miners, known_validators
from subnet.sim.simulation import Simulation
from subnet.sim.validators import Leaker
from tests.simulation import plug_ins
from tests.simulation_support import ROOT

SMALL = ["simulate", "--hours", "1.5", "--miners", "6", "--validators", "2", "--load", "60"]
PLUGGED = "tests.simulation.plug_ins:"
SMALL += ["--tempo", "50"]


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def printed(*arguments):
    found = CliRunner().invoke(app, [*SMALL, *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def nearly_the_same_rules(folder):
    """They differ in how long a way back is that nobody walks in so short a run."""
    text = (ROOT / "subnet.toml").read_text()
    assert "reinstatement_answers = 5000" in text
    file = folder / "other.toml"
    file.write_text(text.replace("reinstatement_answers = 5000", "reinstatement_answers = 5001"))
    return str(file)


RESULT = {"seed", "hours", "strategies", "honest_cv", "quarantined_honest", "digest"}
RESULT |= {"validators", "requests", "unmeasured_families"}
STRATEGY = {"name", "hotkeys", "income_rao", "cost", "income_per_cost_over_honest", "upper95"}
STRATEGY |= {"income_per_speed_over_honest"}
VALIDATOR = {"name", "validators", "dividends_rao", "dividends_per_stake_over_honest"}


def test_the_json_has_exactly_the_keys_that_the_docs_promise():
    found = json.loads(printed("--strategy", "weaker model", "--operators", "1", "--json"))
    assert found.keys() == RESULT | {"validators_run"}
    assert found["validators_run"] is None
    assert all(one.keys() == STRATEGY for one in found["strategies"])
    assert all(one.keys() == VALIDATOR for one in found["validators"])
    assert [one["name"] for one in found["strategies"]] == ["honest", "weaker model"]
    (weaker,) = [one for one in found["strategies"] if one["name"] == "weaker model"]
    assert weaker["upper95"] >= weaker["income_per_cost_over_honest"], (
        "one operator has a bound too"
    )
    docs = (ROOT / "docs" / "simulator.md").read_text()
    assert all(f"`{key}`" in docs for key in found.keys() | STRATEGY | VALIDATOR)


def test_without_a_name_every_strategy_of_miners_and_validators_is_compared(tmp_path):
    other = nearly_the_same_rules(tmp_path)
    arguments = ["--miners", "80", "--hours", ".5", "--load", "4", "--json"]
    found = json.loads(printed(*arguments, "--compare", other))
    assert found.keys() == {"runs", "change"}
    assert found["runs"].keys() == {"subnet.toml", other}
    known = {*known_miners(), *known_validators()}
    assert found["change"].keys() == known | {"honest"}
    assert set(found["change"].values()) <= {0.0, None}, "the rules that count are the same"
    for run in found["runs"].values():
        assert run.keys() == RESULT | {"validators_run"}
        own = run["validators_run"]
        assert own.keys() == RESULT
        assert {one["name"] for one in own["validators"]} - {"honest validator"} == set(
            known_validators()
        )
        assert LeakedFriend.name in {one["name"] for one in own["strategies"]}
        assert [one["name"] for one in run["validators"]] == ["honest validator"]


def test_a_comparison_names_everybody_in_full_on_a_narrow_terminal(tmp_path, monkeypatch):
    other = nearly_the_same_rules(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    names = ("--strategy", LeakedFriend.name, "--strategy", Leaker.name)
    text = printed(*names, "--compare", other)
    assert LeakedFriend.name in text
    assert re.search(rf"{Leaker.name} +│ +\d\.\d\d\d │ +\d\.\d\d\d │ \+0\.000", text)


def test_where_honest_miners_earn_nothing_there_is_no_ratio():
    arguments = ["--hours", ".1", "--tempo", "10", "--miners", "30", "--strategy", "weaker model"]
    found = json.loads(printed(*arguments, "--json"))
    for one in found["strategies"]:
        assert one["income_rao"] < 0
        assert one["income_per_cost_over_honest"] is one["upper95"] is None
    assert found["honest_cv"] is None
    text = printed(*arguments)
    assert re.search(r"weaker model.* - .* - ", text)
    assert "honest CV -, " in text


def test_a_plug_in_takes_part():
    found = json.loads(printed("--adversary", PLUGGED + "Silent", "--json"))
    (silent,) = [one for one in found["strategies"] if one["name"] == "silent"]
    assert silent["income_rao"] < 0


def test_a_change_of_rules_is_compared_strategy_by_strategy(tmp_path):
    blind = (ROOT / "subnet.toml").read_text()
    blind = blind.replace("integrity_check = true", "integrity_check = false")
    (tmp_path / "blind.toml").write_text(blind)
    page = tmp_path / "change.html"
    found = json.loads(
        printed(
            *("--config", str(tmp_path / "blind.toml"), "--compare", "subnet.toml"),
            *("--strategy", "weaker model", "--report", str(page), "--json"),
        )
    )
    assert found["change"]["weaker model"] > 1
    text = page.read_text()
    assert text.count("<svg") == 2
    assert f"<td>{found['change']['weaker model']:+.3f}<" in text
    assert not re.search(r'(?:src|href)="(?!#)', text), "nothing is loaded from elsewhere"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "", "differ in nothing"),
        (
            "bursts_per_day = 72",
            "bursts_per_day = 144",
            "differ in nothing but capacity.bursts_per_day, which a run does not use",
        ),
        ("port = 8091", "port = 8191", "differ in nothing but miner.port, which"),
    ],
)
def test_rules_that_a_run_cannot_tell_apart_are_not_run_twice(
    before, after, words, tmp_path, monkeypatch
):
    monkeypatch.setattr(Simulation, "run", None)
    text = (ROOT / "subnet.toml").read_text()
    assert before in text
    (tmp_path / "mine.toml").write_text(text.replace(before, after) if before else text)
    with pytest.raises(UsageError) as refusal:
        printed("--config", str(tmp_path / "mine.toml"), "--compare", str(ROOT / "subnet.toml"))
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strategy", "no such"], 'no strategy "no such"; --list names all'),
        (["--strategy", "weaker modle"], 'did you mean "weaker model"?'),
        (["--adversary", "no.such:Class"], "No module named 'no'"),
        (["--adversary", PLUGGED + "NoSuch"], "module:Class"),
        (["--adversary", "json:loads"], "--adversary json:loads: TypeError"),
        (["--adversary", "collections:Counter"], "no subnet.sim.strategy.Strategy"),
        (["--adversary", "tests.simulation.breaks_at_import:X"], "RuntimeError: not today"),
        (["--adversary", PLUGGED + "Nameless"], "'honest' is taken"),
        (["--adversary", PLUGGED + "SameName"], "'weaker model' is taken"),
        (["--adversary", PLUGGED + "Silent", "--adversary", PLUGGED + "Silent"], "is taken"),
        (["--adversary", PLUGGED + "NoSuchGpu"], "has no GPU nope; known: A100"),
        (["--adversary", PLUGGED + "NoHotkeys"], "hotkeys = 0"),
        (["--adversary", PLUGGED + "NoEngine"], "engine_share = 0"),
        (["--strategy", "4 hotkeys, 1 engine", "--operators", "3"], "at most half"),
        (["--strategy", "4 hotkeys, 1 engine", "--operators", "3"], "--miners 24 has room"),
        (["--strategy", "copy", "--profiles", "no-such-file.json"], "no-such-file"),
        (["--strategy", "copy", "--calibration", "no-such-file.json"], "no-such-file"),
        (["--strategy", "copy", "--calibration", "pyproject.toml"], "pyproject.toml: Invalid JSON"),
        (["--strategy", "copy", "--prices", "pyproject.toml"], "pyproject.toml: gpu: Field"),
        (["--strategy", "copy", "--report", "/no/such/folder/x.html"], "/no/such/folder/x.html"),
        (["--strategy", "copy", "--compare", "subnet.toml"], "both rules are those of subnet.toml"),
        (["--strategy", "copy", "--hours", "1", "--tempo", "360"], "give it 3.6 hours, or a tempo"),
        (["--strategy", "copy", "--load", "inf"], "load: Input should be a finite number"),
        (["--miners", "1000", "--validators", "3", "--prompts", "inf"], "finite number"),
    ],
)
def test_what_cannot_run_is_said_in_one_line_before_anything_runs(arguments, words, monkeypatch):
    monkeypatch.setattr(Simulation, "run", None)
    found = CliRunner().invoke(app, [*SMALL, *arguments])
    assert isinstance(found.exception, UsageError)
    assert words in str(found.exception)
    assert "\n" not in str(found.exception)
    assert "http" not in str(found.exception)


@pytest.mark.parametrize("flag", ["--config", "--compare"])
def test_a_bad_file_is_said_before_all_else(flag, tmp_path, monkeypatch):
    monkeypatch.setattr(Simulation, "run", None)
    (tmp_path / "bad.toml").write_text("[scoring]\nno_such_key = 1\n")
    for path in (tmp_path / "bad.toml", tmp_path / "none.toml"):
        found = CliRunner().invoke(app, [*SMALL, "--strategy", "no such", flag, str(path)])
        assert isinstance(found.exception, ConfigError)
        assert path.name in str(found.exception)


@pytest.mark.parametrize("arguments", [["--miners", "5000"], ["--validators", "65"]])
def test_more_than_a_run_can_hold_is_refused(arguments):
    found = CliRunner().invoke(app, [*SMALL, *arguments])
    assert found.exit_code == 2
    assert arguments[0] in found.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Breaks", "strategy breaks, move(): ZeroDivisionError: division by zero"),
        ("Unmeasured", "strategy unmeasured: no behaviour nope was measured; known: honest"),
        ("NoMove", "strategy no move, move(): it returned None"),
        ("BadMove", "strategy bad move, move(): it returned Move("),
        ("BadHold", "strategy bad hold, move(): it returned Move("),
        ("BadBill", "strategy bad bill, gpus(): it returned -1"),
        ("BreaksLate", "strategy breaks late, epoch(): KeyError: 'x'"),
    ],
)
def test_a_strategy_that_breaks_in_a_run_is_named_in_one_line(name, words):
    found = CliRunner().invoke(app, [*SMALL, "--adversary", PLUGGED + name])
    assert isinstance(found.exception, UsageError)
    assert words in str(found.exception)


def test_a_report_that_cannot_be_written_after_all_costs_no_result(tmp_path):
    page = tmp_path / "shelf" / "x.html"
    page.parent.mkdir()
    plug_ins.Vandal.folder = page.parent
    arguments = ["--adversary", PLUGGED + "Vandal", "--report", str(page)]
    found = CliRunner().invoke(app, [*SMALL, *arguments])
    assert isinstance(found.exception, UsageError)
    assert str(page) in str(found.exception)
    assert "vandal" in found.stdout


def test_the_list_says_what_each_strategy_does():
    found = CliRunner().invoke(app, ["simulate", "--list"], catch_exceptions=False)
    assert "weaker model: " in found.stdout
    assert "lying validator: " in found.stdout
    told = CliRunner().invoke(app, ["simulate", "--list", "--json"], catch_exceptions=False)
    listed = json.loads(told.stdout)
    assert listed["miners"].keys() == known_miners().keys()
    assert listed["validators"].keys() == known_validators().keys()
