"""`assay simulate`: what it prints is what a script can rely on."""

import json
import re

import pytest
from typer.testing import CliRunner

from subnet.cli.exits import UsageError
from subnet.cli.main import app
from subnet.sim.strategy import Move, Strategy
from tests.simulation_support import ROOT

SMALL = ["simulate", "--hours", "1.5", "--miners", "6", "--validators", "2", "--load", "60"]
SMALL += ["--tempo", "50"]


class Silent(Strategy):
    """A plug-in that never answers."""

    name = "silent"

    def move(self, seen):
        return Move(is_silent=True)


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.chdir(ROOT)


def printed(*arguments):
    found = CliRunner().invoke(app, [*SMALL, *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_json_has_the_promised_keys():
    found = json.loads(printed("--strategy", "weaker model", "--json"))
    promised = {"seed", "hours", "strategies", "honest_cv", "quarantined_honest", "digest"}
    assert promised <= found.keys()
    for one in found["strategies"]:
        assert one.keys() == {
            *("name", "hotkeys", "income_rao", "cost"),
            *("income_per_cost_over_honest", "income_per_speed_over_honest", "upper95"),
        }
    assert [one["name"] for one in found["strategies"]] == ["honest", "weaker model"]


def test_a_plug_in_takes_part():
    path = "tests.simulation.test_simulate_command:Silent"
    found = json.loads(printed("--adversary", path, "--json"))
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
    assert "weaker model" in text
    assert not re.search(r'(?:src|href)="(?!#)', text), "nothing is loaded from elsewhere"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--strategy", "no such"], "no strategy"),
        (["--adversary", "no.such:Class"], "module:Class"),
        (["--adversary", "json:loads"], "adversary"),
        (["--strategy", "4 hotkeys, 1 engine", "--operators", "3"], "at most half"),
        (["--strategy", "copy", "--profiles", "no-such-file.json"], "no-such-file"),
    ],
)
def test_a_wrong_flag_is_named(arguments, word):
    found = CliRunner().invoke(app, [*SMALL, *arguments])
    assert isinstance(found.exception, UsageError)
    assert word in str(found.exception)


def test_the_list_says_what_each_strategy_does():
    found = CliRunner().invoke(app, ["simulate", "--list"], catch_exceptions=False)
    assert "weaker model: " in found.stdout
    assert "lying validator: " in found.stdout
