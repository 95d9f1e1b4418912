"""The law of the incentives: each sentence can fail, and the command says so."""

import json

import pytest
from typer.testing import CliRunner

from subnet.cli import law_runs
from subnet.cli.exits import EXIT_FAULT
from subnet.cli.main import app
from subnet.config import ConfigError
from subnet.sim.adversaries import (
    ADVERSARIES,
    CONTROLS,
    BenchmarksOnly,
    Colluders,
    PartTimer,
    RoundsForUsers,
    SharedEngine,
    SlowButAdequate,
    SlowPeer,
)
from subnet.sim.law import judged
from subnet.sim.result import SimResult, StrategyResult, ValidatorResult
from subnet.sim.trials import DAY, SLOW, Outcome, whole
from tests.simulation_support import ROOT

GOOD = {
    "weaker model": 0.1,
    SharedEngine.name: 0.9,
    SlowButAdequate.name: 1.2,
    PartTimer.name: 1.2,
}
COMPANY = {Colluders.name: 0.98, SlowPeer.name: 0.99}
USERS = {BenchmarksOnly.name: 0.4, RoundsForUsers.name: 1.3}
ON = "liar, commit-reveal on"
OTHERS = ("slow_peer", "company", "users")
"""What `law_of` changes in other trials than the day's."""


def outcome(
    trial="day", ratios=GOOD, cv=0.02, quarantined=0, dividends=0.9, peer=500_000.0, speed=1.0
):
    strategies = tuple(
        StrategyResult(
            name=name,
            hotkeys=1,
            income_rao=1,
            cost=1.0,
            income_per_cost_over_honest=ratio,
            upper95=None,
            income_per_speed_over_honest=None if ratio is None else ratio * speed,
        )
        for name, ratio in ratios.items()
    )
    validators = tuple(
        ValidatorResult(
            name=name, validators=1, dividends_rao=1, dividends_per_stake_over_honest=ratio
        )
        for name, ratio in (("honest validator", 1.0), ("lying validator", dividends))
    )
    result = SimResult(
        seed=0,
        hours=1.0,
        strategies=strategies,
        honest_cv=cv,
        quarantined_honest=quarantined,
        validators=validators if trial == ON else (),
        requests=1,
        unmeasured_families=(),
        digest="",
    )
    return Outcome(trial, result, peer)


def law_of(**changes):
    found = []
    for _ in range(3):
        found += [
            outcome(**{key: value for key, value in changes.items() if key not in OTHERS}),
            outcome("company", {**COMPANY, **changes.get("company", {})}),
            outcome("users", {**USERS, **changes.get("users", {})}),
            outcome(ON, {}, dividends=changes.get("dividends", 0.9)),
            outcome("slow peer", {}, peer=changes.get("slow_peer", 500_000.0)),
            outcome("good peer", {}),
            outcome("honest alone", {}, cv=changes.get("cv", 0.02)),
        ]
    return {one.name: one.is_held for one in judged(found)}


def test_a_good_subnet_keeps_the_whole_law():
    assert all(law_of().values())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ratios": {**GOOD, "weaker model": 1.0}}, "weaker model"),
        ({"ratios": {**GOOD, SharedEngine.name: 1.01}}, "net of registration"),
        ({"ratios": {**GOOD, SlowButAdequate.name: 0.8}, "speed": 2.0}, "per cost"),
        ({"speed": 0.6}, "per token a second"),
        ({"ratios": {**GOOD, PartTimer.name: 0.8}}, "part-timer"),
        ({"company": {Colluders.name: 1.01}}, "colluding miners: income over the same operator"),
        ({"company": {SlowPeer.name: 1.01}}, "slow peer: income over the same operator"),
        ({"users": {BenchmarksOnly.name: 1.01}}, "serves benchmarks only"),
        ({"cv": 0.06}, "coefficient of variation"),
        ({"quarantined": 1}, "quarantined"),
        ({"dividends": 1.1}, "lower bound"),
        ({"slow_peer": 520_000.0}, "very slow miner"),
        ({"slow_peer": 480_000.0}, "very slow miner"),
    ],
)
def test_each_sentence_can_fail_alone(changes, word):
    failed = [name for name, is_held in law_of(**changes).items() if not is_held]
    assert len(failed) == 1
    assert word in failed[0]


@pytest.mark.parametrize("changes", [{"ratios": {"weaker model": None}}, {"cv": None}])
def test_where_honest_miners_earn_nothing_no_law_is_judged(changes):
    with pytest.raises(ConfigError, match="honest miners earned nothing in trial"):
        law_of(**changes)


def test_every_shipped_strategy_stands_before_the_law():
    tried = {made for trial in whole() for made in trial.entrants}
    assert {*ADVERSARIES, *CONTROLS} <= tried
    assert not set(DAY) & set(SLOW)


def test_whoever_can_be_seen_has_a_bound_in_the_trial_that_shows_it():
    for made in ADVERSARIES:
        trials = [trial.name for trial in whole() if made in trial.entrants]
        outcomes = [outcome(trial, {made.name: 1.01}) for trial in trials if "peer" not in trial]
        controls = {made.name: 1.0 for made in CONTROLS}
        outcomes += [outcome("day", controls)]
        outcomes += [outcome(name, {}) for name in ("honest alone", "slow peer", "good peer")]
        found = [one for one in judged(outcomes) if made.name in one.name]
        assert found
        assert all(one.is_held is not made.is_visible for one in found)


def test_users_prompts_are_asked_where_the_law_says_so():
    prompts = {trial.name: trial.prompts for trial in whole()}
    assert prompts["users"] > 0 and prompts["copier and leaker, commit-reveal on"] > 0
    assert [trial.options(0).prompts_per_hour for trial in whole()] == list(prompts.values())


def test_without_the_verifier_the_law_fails_and_says_where(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    blind = (ROOT / "subnet.toml").read_text()
    blind = blind.replace("integrity_check = true", "integrity_check = false")
    (tmp_path / "blind.toml").write_text(blind)
    arguments = ["law", "--quick", "--seeds", "2", "--config", str(tmp_path / "blind.toml")]
    arguments += ["--keep", str(tmp_path / "kept"), "--json"]
    found = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)])
    assert found.exit_code == EXIT_FAULT
    rows = {row["name"]: row for row in json.loads(found.stdout)}
    assert not rows["weaker model: income per cost over honest"]["held"]
    written = json.loads((tmp_path / "law.json").read_text())
    assert written["seeds"] == 2
    assert {row["strategy"] for row in written["strategies"]} >= {"honest", "weaker model"}
    assert all(len(row["by_seed"]) == 2 for row in written["strategies"])
    assert "| **no** |" in (tmp_path / "law.md").read_text()
    monkeypatch.setattr(law_runs, "_run", None)
    again = CliRunner().invoke(app, arguments)
    assert again.stdout == found.stdout, "all of it was kept"
