"""What the command sees to before any verb runs."""

import os

import pytest
from typer.testing import CliRunner

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
