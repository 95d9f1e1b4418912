"""What the command sees to before any verb runs."""

import os

import pytest

from subnet.cli import main as command


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torchs_threads_sleep_while_they_wait_unless_the_operator_says_otherwise(
    monkeypatch, given, policy
):
    seen = []
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_WAIT_POLICY": given})
    monkeypatch.setattr(command, "run_process", lambda _: seen.append(dict(os.environ)))
    command.main()
    assert seen == [{"OMP_WAIT_POLICY": policy}]
