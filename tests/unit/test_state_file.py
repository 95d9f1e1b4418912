"""Commands that read a validator's state file: what is no such file is one clear line."""

import pytest
from typer.testing import CliRunner

from subnet.cli import chain_reader, evidence
from subnet.cli.exits import UsageError
from subnet.cli.main import app
from subnet.config import ConfigError
from subnet.core.audit import Traffic
from subnet.edge.kept_rows import KeptWindow
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.ports import ChainError
from tests.validator_support import VALIDATOR, miner_hotkey

PAGE_BYTES = 4096
READERS = (
    ("records",),
    ("replay",),
    ("gaming", "--no-chain"),
    ("explain", miner_hotkey(0)),
    ("evidence", miner_hotkey(0)),
)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Of a validator that has only just started."""
    path = tmp_path_factory.mktemp("state") / "validator.sqlite"
    SqliteValidatorStore(path, {"hotkey": VALIDATOR}, bytes(32)).close()
    return path


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.mark.parametrize("command", READERS)
def test_damage_behind_the_schema_is_one_line_too(state, tmp_path, command):
    """The version is read, and the first table that is asked for is not there."""
    content = bytearray(state.read_bytes())
    schema_pages = 8
    for at in range(schema_pages * PAGE_BYTES, len(content), PAGE_BYTES):
        content[at : at + 64] = b"\x55" * 64
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(content)
    found = call(*command, "--state", broken)
    assert isinstance(found.exception, ConfigError), found.exception
    assert f"cannot read the state file {broken}: database disk image is malformed" == str(
        found.exception
    )


@pytest.mark.parametrize("command", [*READERS, ("status",)])
def test_a_path_without_a_state_or_to_a_folder_is_one_line(tmp_path, command):
    missing = call(*command, "--state", tmp_path / "none")
    assert isinstance(missing.exception, UsageError)
    assert "no validator has run with the state file" in str(missing.exception)
    folder = call(*command, "--state", tmp_path)
    assert isinstance(folder.exception, ConfigError)
    assert str(folder.exception) == f"cannot read the state file {tmp_path}: it is a folder"


def test_who_has_no_state_hears_what_does_without(tmp_path):
    none = tmp_path / "none"
    asked = call("explain", miner_hotkey(0), "--state", none)
    assert str(asked.exception).endswith("name one with --state, or ask a validator by --url")
    replayed = call("replay", "--state", none)
    assert str(replayed.exception).endswith("name one with --state, or read an epoch by --file")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("replay", "--file", "e.jsonl", "--epoch", 5), "--file holds one epoch"),
        (("explain", "HOTKEY", "--url", "http://h", "--live"), "--url asks a validator"),
        (("explain", "HOTKEY", "--validator", "HOTKEY"), "give --url too"),
    ],
)
def test_a_flag_that_would_say_nothing_is_refused(arguments, says):
    found = call(*arguments)
    assert isinstance(found.exception, UsageError)
    assert says in str(found.exception)


def window(traffic, answers, *, led_to_alarm=False):
    return KeptWindow("miner", traffic, led_to_alarm, None, None, (None,) * answers)


def test_evidence_is_of_the_latest_alarm_or_else_of_the_most_answers():
    """Windows come in the order of their last answers."""
    quiet = [window(Traffic.ORGANIC, 7), window(Traffic.BENCHMARK, 90), window(Traffic.ECHO, 8)]
    alarms = [window(one, 2, led_to_alarm=True) for one in (Traffic.BENCHMARK, Traffic.ECHO)]
    assert evidence._chosen(quiet, None, "miner").traffic is Traffic.BENCHMARK
    assert evidence._chosen([*alarms, *quiet], None, "miner") is alarms[1]
    assert evidence._chosen([*alarms, *quiet], Traffic.ORGANIC, "miner") is quiet[0]


def test_gaming_without_a_node_says_how_to_do_without(state, monkeypatch):
    async def refuse(settings):
        raise ChainError("no node")

    monkeypatch.setattr(chain_reader.BittensorChain, "connect", refuse)
    found = call("gaming", "--state", state)
    assert isinstance(found.exception, UsageError)
    assert (
        str(found.exception) == "no node; --network names another, --no-chain does without owners"
    )


def test_too_few_exchanges_are_no_finding_and_no_riddle(state):
    said = call("gaming", "--state", state, "--no-chain").output
    assert said.count("0 looked at, 0 found; too few") == 3
