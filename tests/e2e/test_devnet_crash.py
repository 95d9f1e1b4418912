"""The devnet is killed under load, again and again: what it told a client as final stays so.

Clients keep what they were told: finalised heads, their events, and transfers that were included.
After each kill the same process is started on the same file, and everything told is read again.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bittensor.sp_core import Keypair
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from subnet.devnet.chain import state_root
from subnet.devnet.metadata import build_metadata
from subnet.devnet.signing import sign_extrinsic
from tests.forking import Commands, Run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
KILLS, SEED = 20, 20_251_125
BLOCK_SECONDS = 0.05
SENDERS = [Keypair.create_from_uri(f"//{name}") for name in ("Alice", "Bob", "Charlie", "Dave")]
SINK = str(Keypair.create_from_uri("//Sink").ss58_address)
AMOUNT_RAO = 1_000
START_SECONDS_MAX = 60
METADATA = build_metadata(round(BLOCK_SECONDS * 1000))
EVENTS_KEY = "0x" + bytes(METADATA.codec.storage_prefix("System", "Events")).hex()


class Node:
    """A JSON-RPC session by hand, so that no client library retries or hides anything."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = iter(range(1, 1 << 30))
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._updates: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                message = json.loads(frame)
                if "method" in message:
                    params = message["params"]
                    self._updates.put_nowait((params["subscription"], params["result"]))
                else:
                    self._answers.pop(message["id"]).set_result(message)
        except ConnectionClosed:
            pass
        for future in self._answers.values():
            future.set_exception(ConnectionResetError())
        self._updates.put_nowait(None)

    async def update(self) -> tuple[str, Any]:
        """The next update, as (subscription, result); ConnectionResetError when the node died."""
        update = await self._updates.get()
        if update is None:
            raise ConnectionResetError
        return update

    async def ask(self, method: str, *params: Any) -> Any:
        """The result of a call; an error when the node died before it answered."""
        number = next(self._ids)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self._connection.send(json.dumps(request))
        answer = await future
        assert "error" not in answer, answer
        return answer["result"]

    async def close(self) -> None:
        await self._connection.close()
        await self._reader


@asynccontextmanager
async def session(endpoint: str) -> AsyncIterator[Node]:
    async with connect(endpoint, max_size=None, compression=None) as connection:
        node = Node(connection)
        try:
            yield node
        finally:
            await node.close()


@dataclass
class Told:
    """Everything that clients were told as final in one life of the node."""

    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)
    included: dict[str, str] = field(default_factory=dict)
    any_included: asyncio.Event = field(default_factory=asyncio.Event)


class Load:
    """Clients of one life of the node. They end when it does."""

    def __init__(self, endpoint: str, genesis: str, told: Told) -> None:
        self._endpoint = endpoint
        self._genesis = genesis
        self._told = told

    async def follow(self) -> None:
        """Every finalised head, and the events of its block."""
        async with session(self._endpoint) as node:
            await node.ask("chain_subscribeFinalizedHeads")
            while True:
                _, header = await node.update()
                block_hash = await node.ask("chain_getBlockHash", header["number"])
                self._told.headers[block_hash] = header
                self._told.events[block_hash] = await node.ask(
                    "state_getStorage", EVENTS_KEY, block_hash
                )

    async def transfer(self, sender: Keypair) -> None:
        """One transfer after the other, a few at a time, each followed to its block."""
        call = METADATA.codec.compose_call(
            "Balances", "transfer_keep_alive", {"dest": SINK, "value": AMOUNT_RAO}
        )
        async with session(self._endpoint) as node:
            nonce = await node.ask("account_nextIndex", str(sender.ss58_address))
            sent: dict[str, str] = {}
            while True:
                while len(sent) < 8:
                    raw = (
                        "0x"
                        + sign_extrinsic(
                            METADATA, self._genesis, sender, bytes(call), nonce=nonce
                        ).hex()
                    )
                    sent[await node.ask("author_submitAndWatchExtrinsic", raw)] = raw
                    nonce += 1
                subscription, status = await node.update()
                if isinstance(status, dict) and "finalized" in status:
                    self._told.included[sent.pop(subscription)] = status["finalized"]
                    self._told.any_included.set()


async def until_killed(load: Any) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        await load


@pytest.fixture
async def devnets(tmp_path: Path) -> AsyncIterator[Commands]:
    async with Commands(
        "subnet.cli.main", tmp_path, os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as runs:
        yield runs


@asynccontextmanager
async def running(devnets: Commands, state: Path) -> AsyncIterator[tuple[Run, str]]:
    """The real process on a state file, and where it listens."""
    flags = ("--port", 0, "--state", state, "--block-time", BLOCK_SECONDS)
    process = await devnets.start("devnet", *flags)
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while "\n" not in (said := process.out.read_text() if process.out.exists() else ""):
                assert not process.code.done(), process.err.read_text()
                await asyncio.sleep(0.02)
        line = said.splitlines()[0]
        assert line.startswith("devnet listens on "), line
        yield process, line.split()[-1]
    finally:
        if not process.code.done():
            os.kill(process.pid, signal.SIGKILL)
        await process.code


async def kill_under_load(
    devnets: Commands, state: Path, chance: random.Random, before: Told
) -> Told:
    """One life of the node: what was told before is checked, load is put on it, it is killed."""
    told = Told()
    async with running(devnets, state) as (process, endpoint):
        await check(endpoint, before)
        async with session(endpoint) as node:
            genesis = await node.ask("chain_getBlockHash", 0)
        load = Load(endpoint, genesis, told)
        tasks = [
            asyncio.create_task(until_killed(work))
            for work in (load.follow(), *(load.transfer(sender) for sender in SENDERS))
        ]
        if chance.random() < 0.5:
            await told.any_included.wait()
        await asyncio.sleep(chance.uniform(0, 6 * BLOCK_SECONDS))
        os.kill(process.pid, signal.SIGKILL)
        assert await process.code == -signal.SIGKILL
        await asyncio.gather(*tasks)
    return told


async def check(endpoint: str, told: Told) -> None:
    """Whether the node still says everything that it said before."""
    async with session(endpoint) as node:
        for block_hash, header in told.headers.items():
            assert await node.ask("chain_getHeader", block_hash) == header
            assert await node.ask("chain_getBlockHash", header["number"]) == block_hash
        for block_hash, events in told.events.items():
            assert await node.ask("state_getStorage", EVENTS_KEY, block_hash) == events
        bodies: dict[str, list[str]] = {}
        for extrinsic, block_hash in told.included.items():
            if block_hash not in bodies:
                block = await node.ask("chain_getBlock", block_hash)
                assert block is not None, "a block that was told as final is gone"
                bodies[block_hash] = block["block"]["extrinsics"]
            assert extrinsic in bodies[block_hash]


def check_file(state: Path) -> int:
    """Whether every block follows from the one before, by the rows alone; the transfers in them."""
    with contextlib.closing(sqlite3.connect(state)) as database:
        blocks = database.execute(
            "SELECT number, hash, parent, state_root FROM blocks ORDER BY number"
        ).fetchall()
        bodies = database.execute("SELECT extrinsics FROM blocks WHERE number > 0").fetchall()
        changes: dict[int, list[Any]] = {}
        for number, item, row_key, value in database.execute(
            "SELECT block, item, key, value FROM state"
        ):
            parsed = None if value is None else json.loads(value)
            changes.setdefault(number, []).append((item, tuple(json.loads(row_key)), parsed))
    assert [row[0] for row in blocks] == list(range(len(blocks)))
    assert set(changes) <= set(range(len(blocks)))
    for (_, parent_hash, _, parent_root), (number, _, parent, root) in pairwise(blocks):
        assert parent == parent_hash
        assert root == state_root(parent_root, changes.get(number, []))
    # The author's own extrinsic is the first of each block.
    return sum(len(json.loads(body)) - 1 for (body,) in bodies)


async def free_rao(endpoint: str, account: str) -> int:
    key = bytes(METADATA.codec.storage_key("System", "Account", [account]))
    async with session(endpoint) as node:
        raw = await node.ask("state_getStorage", "0x" + key.hex())
    info = METADATA.decode("AccountInfo", bytes.fromhex(raw[2:]))
    return int(info["data"]["free"])


async def test_nothing_told_as_final_is_lost_by_twenty_kills_under_load(
    devnets: Commands, tmp_path: Path
) -> None:
    state = tmp_path / "chain.sqlite"
    chance = random.Random(SEED)
    lives = [Told()]
    for _ in range(KILLS):
        lives.append(await kill_under_load(devnets, state, chance, lives[-1]))
    async with running(devnets, state) as (_, endpoint):
        for told in lives:
            await check(endpoint, told)
        received = await free_rao(endpoint, SINK)
    assert received == AMOUNT_RAO * check_file(state)
    assert sum(len(told.included) for told in lives) > KILLS
    assert sum(len(told.events) for told in lives) > KILLS
