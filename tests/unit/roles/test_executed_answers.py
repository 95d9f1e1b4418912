"""Answers that are functions: run where they can do no harm, graded by what came of it."""

import pytest

from subnet.cli.engines import load_sandbox
from subnet.config import ConfigError
from subnet.core.benchmark import Outcome
from subnet.core.draws import draw_task
from subnet.edge.sandbox import BubblewrapSandbox, SandboxError
from subnet.roles import auditor
from subnet.sim.loop import run_virtual
from tests.validator_support import (
    ByteTokenizer,
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
)

ANSWER = "```python\ndef transform(items):\n    return sorted(items)\n```\nA quiet remark."


class FakeSandbox:
    """Answers every call alike, or fails."""

    def __init__(self, result=None):
        self.result = result
        self.ran = []

    def run(self, program):
        self.ran.append(program)
        if self.result is None:
            raise SandboxError("no more namespaces")
        return Outcome((self.result,) * len(program.calls))


def records(tmp_path, monkeypatch, sandbox, answer=lambda: ANSWER):
    """What the auditor recorded of a validator that asks for functions only."""
    monkeypatch.setattr(ByteTokenizer, "detokenize", lambda self, tokens: answer())
    settings = make_settings(draws={"families": ["code"], "tier": 3}, validator={"epochs_max": 1})
    subnet = Subnet(tmp_path / "state.sqlite", [FakeMiner(miner_hotkey(0))], settings)
    subnet.auditor._sandbox = sandbox
    kept = []
    save = subnet.store.save_audits

    def spy(standings, done, records, *rest):
        kept.extend(records)
        save(standings, done, records, *rest)

    monkeypatch.setattr(subnet.store, "save_audits", spy)
    run_virtual(subnet.run())
    subnet.store.close()
    assert kept and all(record.family == "code" for record in kept)
    return kept


def test_the_answers_function_runs_and_its_outcome_is_the_grade(tmp_path, monkeypatch):
    sandbox = FakeSandbox("[1]")
    grades = {record.grade for record in records(tmp_path, monkeypatch, sandbox)}
    assert grades == {0.0}
    assert {program.source for program in sandbox.ran} == {ANSWER.split("```")[1][7:]}
    assert not any("expected" in str(vars(program)) for program in sandbox.ran)


def test_references_that_really_run_earn_all(tmp_path, monkeypatch):
    drawn = []

    def remembered(*arguments):
        drawn.append(draw_task(*arguments))
        return drawn[-1]

    monkeypatch.setattr(auditor, "draw_task", remembered)
    made = records(tmp_path, monkeypatch, BubblewrapSandbox(), lambda: drawn[-1].reference)
    assert {record.grade for record in made} == {1.0}


def test_what_is_no_function_is_never_run_and_grades_nothing(tmp_path, monkeypatch):
    sandbox = FakeSandbox("[1]")
    made = records(tmp_path, monkeypatch, sandbox, lambda: "import os; os.remove('/')")
    assert {record.grade for record in made} == {0.0}
    assert sandbox.ran == []


def test_where_our_sandbox_fails_no_miner_is_graded(tmp_path, monkeypatch, caplog):
    made = records(tmp_path, monkeypatch, FakeSandbox())
    assert {record.grade for record in made} == {None}
    assert "no more namespaces" in caplog.text


def test_a_validator_without_bubblewrap_refuses_such_a_tier_and_needs_none_for_others(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert load_sandbox(make_settings()) is None
    assert load_sandbox(make_settings(draws={"families": ["open"], "tier": 5})) is None
    with pytest.raises(ConfigError, match="Debian package bubblewrap"):
        load_sandbox(make_settings(draws={"tier": 3}))
