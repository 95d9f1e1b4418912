"""What the command sees to before any verb runs."""

import os

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from subnet.cli import explain
from subnet.cli import main as command
from subnet.cli.exits import UsageError


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torchs_threads_sleep_while_they_wait_unless_the_operator_says_otherwise(
    monkeypatch, given, policy
):
    seen = []
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_WAIT_POLICY": given})
    monkeypatch.setattr(command, "run_process", lambda _: seen.append(dict(os.environ)))
    command.main()
    assert seen == [{"OMP_WAIT_POLICY": policy}]


def test_what_is_no_address_of_a_validator_is_said_before_anybody_is_asked():
    found = CliRunner().invoke(command.app, ["explain", "HOTKEY", "--url", "nonsense"])
    assert isinstance(found.exception, UsageError)
    assert str(found.exception) == "--url nonsense: give one such as http://203.0.113.7:8092"


def commands(group, path=()):
    for name, one in group.commands.items():
        yield from (
            commands(one, (*path, name)) if hasattr(one, "commands") else [((*path, name), one)]
        )


ALL = dict(commands(typer.main.get_command(command.app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_swallows_no_word_in_brackets_and_flows_at_any_width(path):
    verb = ALL[path]
    assert verb.help
    assert all("\n" not in one for one in verb.help.split("\n\n"))
    for said in (verb.help, *(one.help or "" for one in verb.params)):
        assert Text.from_markup(said).plain == said.replace("\\[", "["), said


def test_the_help_of_calibrate_names_the_section_of_draws():
    said = CliRunner().invoke(command.app, ["calibrate", "--help"], env={"COLUMNS": "200"}).output
    assert said.count("[draws]") == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": "no epoch has ended yet"}', "http://h says: no epoch has ended yet"),
        (b"<html>", "http://h answered nothing of ours: b'<html>'"),
        (b"[1]", "http://h answered nothing of ours: b'[1]'"),
    ],
)
def test_a_validator_that_explains_nothing_is_heard_in_its_own_words(body, says, monkeypatch):
    async def fetched(url):
        return body

    monkeypatch.setattr(explain, "_fetched", fetched)
    found = CliRunner().invoke(command.app, ["explain", "HOTKEY", "--url", "http://h"])
    assert isinstance(found.exception, UsageError)
    assert str(found.exception) == says


@pytest.mark.parametrize(
    "verb", ["law", "calibrate", "lab verify", "lab card", "lab tell-apart", "lab profiles"]
)
def test_where_nothing_can_be_written_is_said_before_a_long_run(verb, tmp_path, monkeypatch):
    """Whoever gets further would load an engine, or every core."""
    (tmp_path / "file").write_text("in the way")
    for name in ("subnet.cli.calibrate.progress_bars", "subnet.cli.lab_card._measured"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it began"))
    where = tmp_path / "file" / "below"
    found = CliRunner().invoke(command.app, [*verb.split(), "--output", str(where)])
    assert isinstance(found.exception, UsageError), found.exception
    assert str(found.exception).startswith(f"--output: {where} ")
