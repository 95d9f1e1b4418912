"""The devnet as a process: killed and started again, and refused a port. The wire node only."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bittensor as bt
import pytest
from bittensor import calls

from subnet.edge.sdk_client import connected, sdk_client
from tests.contract.chains import TAO, Wallet, must, succeed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
OWNER = Wallet("//Alice")


@pytest.fixture
def endpoint(devnet_in_thread, tmp_path: Path) -> Iterator[str]:
    with devnet_in_thread(tmp_path / "devnet.sqlite") as url:
        yield url


def start_process(path: Path) -> tuple[subprocess.Popen[str], str]:
    command = "import typer; from subnet.cli.devnet import devnet; typer.run(devnet)"
    flags = ["--port", "0", "--state", str(path), "--block-time", "0.05"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *flags], stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    assert "ws://" in first, first
    return process, first.split()[-1]


def end(process: subprocess.Popen[str], number: int) -> int:
    os.kill(process.pid, number)
    code = process.wait(15)
    process.stdout.close()
    return code


def stake_call(netuid: int, tao: int):
    return calls.SubtensorModule.add_stake(hotkey=OWNER.hot, netuid=netuid, amount_staked=tao * TAO)


async def test_the_chain_goes_on_where_kill_9_stopped_it(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    process, url = start_process(path)
    try:
        async with connected(sdk_client(url)) as client:
            opened = await succeed(client, bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
            netuid = int(opened.data["netuid"])
            await must(client, stake_call(netuid, 7), OWNER)
            block = await client.block()
            block_hash = await client._substrate.block_hash(block)
            graph = await client.subnets.metagraph(netuid, block=block)
    finally:
        end(process, signal.SIGKILL)
    process, url = start_process(path)
    try:
        async with connected(sdk_client(url)) as client:
            assert await client._substrate.block_hash(block) == block_hash
            assert await client.subnets.metagraph(netuid, block=block) == graph
            assert (await client.wait_for_block(timeout=10)).number > block
            await must(client, stake_call(netuid, 1), OWNER)
    finally:
        assert end(process, signal.SIGTERM) == 0


def test_a_taken_port_is_one_clear_line_and_exit_code_2(endpoint: str, tmp_path: Path) -> None:
    command = "import typer; from subnet.cli.devnet import devnet; typer.run(devnet)"
    port = endpoint.rpartition(":")[2]
    flags = ["--port", port, "--state", str(tmp_path / "other.sqlite")]
    result = subprocess.run(
        [sys.executable, "-c", command, *flags], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and port in result.stderr
