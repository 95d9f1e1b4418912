"""The node's loops live and die together."""

import asyncio
from pathlib import Path

import pytest

from subnet.devnet import server
from subnet.devnet.params import DevnetParams
from subnet.devnet.server import run_devnet

FAST = DevnetParams(block_time_seconds=0.05)


async def test_a_loop_that_fails_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "follow_drand", fails)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10) as limit:
            await run_devnet(tmp_path / "chain.sqlite", 0, FAST, handle_signals=False)
    assert not limit.expired()


async def test_a_node_that_is_told_to_stop_stops_all_loops(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(20):
        await run_devnet(tmp_path / "chain.sqlite", 0, FAST, stop=stop, handle_signals=False)
    assert asyncio.all_tasks() == {asyncio.current_task()}
