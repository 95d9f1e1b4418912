"""`assay devnet` as people start it: what it says, and how it refuses."""

import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subnet.devnet.params import DEV_NAMES
from subnet.devnet.store import STORE_VERSION, Store

pytestmark = pytest.mark.e2e
COMMAND = [sys.executable, "-m", "subnet.cli.main", "devnet", "--port", "0", "--state"]


@pytest.fixture
def greeting(tmp_path: Path) -> Iterator[list[str]]:
    """The lines up to the last command to try, of a devnet that runs meanwhile."""
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path / "chain.sqlite"), "--block-time", "0.25"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if sum(" btcli " in known for known in lines) == 3:
            break
    yield lines
    process.terminate()
    assert process.wait() == 0


def test_it_says_where_it_listens_who_has_money_and_what_to_try(
    greeting: list[str], tmp_path: Path
) -> None:
    endpoint = greeting[0].removeprefix("devnet listens on ")
    assert endpoint.startswith("ws://127.0.0.1:")
    for name in DEV_NAMES:
        assert any(line.split()[:1] == [f"//{name}"] for line in greeting)
    commands = [shlex.split(line) for line in greeting if line.startswith("  btcli ")]
    assert len(commands) == 3
    assert all(command[-1] == endpoint for command in commands)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", BTCLI, *command[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        for command in commands
    ]
    for command, run in zip(commands, runs, strict=True):
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (command, out, err)


BTCLI = "import sys; from bittensor.cli.main import main; sys.argv[0] = 'btcli'; sys.exit(main())"


def test_a_state_file_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    done = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(path) in line and "format 99" in line and f"format {STORE_VERSION}" in line
