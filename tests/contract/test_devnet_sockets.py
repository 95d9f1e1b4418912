"""A real node among clients that idle, do not read, or do not even speak websocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from subnet.devnet import connections
from subnet.devnet.connections import CONNECTIONS_MAX, FRAME_BYTES_MAX

pytestmark = pytest.mark.timeout(60)
IDLE = 3 * CONNECTIONS_MAX


@pytest.fixture
def endpoint(devnet_in_thread, tmp_path) -> Iterator[str]:
    with devnet_in_thread(tmp_path / "chain.sqlite") as url:
        yield url


@asynccontextmanager
async def client(endpoint: str) -> AsyncIterator[ClientConnection]:
    async with connect(endpoint, max_size=None, compression=None, close_timeout=0.1) as connection:
        yield connection


async def ask(connection: ClientConnection, method: str, *params: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    await connection.send(json.dumps(request))
    return dict(json.loads(await connection.recv()))


async def height(connection: ClientConnection) -> int:
    return int((await ask(connection, "chain_getHeader"))["result"]["number"], 16)


async def assert_blocks_go_on(connection: ClientConnection) -> None:
    start = await height(connection)
    await connection.send(json.dumps({"id": 2, "method": "chain_subscribeNewHeads"}))
    last = start
    while last < start + 3:
        message = json.loads(await connection.recv())
        if "method" in message:
            last = int(message["params"]["result"]["number"], 16)
        else:
            subscription = message["result"]
    await connection.send(
        json.dumps({"id": 3, "method": "chain_unsubscribeNewHeads", "params": [subscription]})
    )
    while json.loads(await connection.recv()).get("id") != 3:
        continue


async def raw_socket(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = endpoint.removeprefix("ws://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_idle_websockets_beyond_the_limit_stop_no_client(endpoint: str) -> None:
    async with client(endpoint) as early, AsyncExitStack() as stack:
        await height(early)
        idle = [await stack.enter_async_context(client(endpoint)) for _ in range(IDLE)]
        await assert_blocks_go_on(early)
        async with client(endpoint) as late:
            await assert_blocks_go_on(late)
        # The oldest made room.
        with pytest.raises(ConnectionClosed):
            await idle[0].recv()


async def test_sockets_that_never_say_a_word_stop_no_client(endpoint: str) -> None:
    async with client(endpoint) as early:
        await height(early)
        sockets = [await raw_socket(endpoint) for _ in range(IDLE)]
        await assert_blocks_go_on(early)
        async with client(endpoint) as late:
            await assert_blocks_go_on(late)
        assert await sockets[0][0].read() == b""
        for _, writer in sockets:
            writer.close()


async def test_who_has_asked_something_is_not_closed_for_newcomers(endpoint: str) -> None:
    async with AsyncExitStack() as stack:
        active = [await stack.enter_async_context(client(endpoint)) for _ in range(CONNECTIONS_MAX)]
        for connection in active:
            await height(connection)
        async with client(endpoint) as refused:
            with pytest.raises(ConnectionClosed) as closed:
                await refused.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        for connection in (active[0], active[-1]):
            await height(connection)


def frame(method: str, *params: Any) -> bytes:
    """A websocket frame of a request, masked with zeros, as a client must mask it."""
    request = json.dumps({"id": 1, "method": method, "params": params}).encode()
    return bytes([0x81, 0x80 | len(request)]) + bytes(4) + request


async def handshake(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket by hand: a client library would read what we leave unread."""
    reader, writer = await raw_socket(endpoint)
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {endpoint.removeprefix('ws://')}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    return reader, writer


async def test_answers_that_nobody_reads_stop_no_other_client(endpoint: str) -> None:
    _, writer = await handshake(endpoint)
    writer.write(frame("rpc_methods") * 50_000)
    async with client(endpoint) as other:
        await assert_blocks_go_on(other)
    writer.close()


async def test_updates_that_nobody_reads_end_the_connection_and_no_other(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "OUTBOX_MESSAGES_MAX", 512)
    reader, writer = await handshake(endpoint)
    version = "0x0f000000"
    writer.write(frame("chain_subscribeNewHeads") * 128)
    # Enough answers to fill every buffer between here and there.
    metadata = frame("state_call", "Metadata_metadata_at_version", version)
    writer.write(metadata * 500)
    async with client(endpoint) as other:
        for _ in range(8):
            await assert_blocks_go_on(other)
        writer.transport.resume_reading()
        # It ends: without that, updates would go on for ever.
        while await reader.read(1 << 20):
            continue
        await assert_blocks_go_on(other)
    writer.close()


async def test_a_huge_frame_closes_its_own_connection_only(endpoint: str) -> None:
    async with client(endpoint) as other, client(endpoint) as huge:
        await height(other)
        with pytest.raises(ConnectionClosedError):
            await huge.send("x" * (FRAME_BYTES_MAX + 1))
            await huge.recv()
        await assert_blocks_go_on(other)


async def test_garbage_instead_of_a_handshake_is_turned_away(endpoint: str) -> None:
    async with client(endpoint) as other:
        for garbage in (b"\x00\xff" * 100 + b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"{}\n"):
            reader, writer = await raw_socket(endpoint)
            writer.write(garbage)
            writer.write_eof()
            await reader.read()
            writer.close()
        await assert_blocks_go_on(other)
