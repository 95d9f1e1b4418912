"""The devnet's process: a websocket server on one side, a clock that makes blocks on the other."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from subnet.devnet.chain import Chain
from subnet.devnet.drand import Pulses
from subnet.devnet.drand_client import DRAND_URLS, follow_drand
from subnet.devnet.params import DevnetParams
from subnet.devnet.rpc import Rpc, Session

FRAME_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 256
OUTBOX_MAX = 4096
_TRY_AGAIN_LATER, _POLICY = 1013, 1008

Listening = Callable[[str], None]


async def run_devnet(
    state_path: Path,
    port: int = 9944,
    params: DevnetParams | None = None,
    *,
    host: str = "127.0.0.1",
    on_listening: Listening | None = None,
    stop: asyncio.Event | None = None,
    handle_signals: bool = True,
    drand_urls: Sequence[str] = DRAND_URLS,
) -> None:
    """Run a devnet until `stop` is set or the process is asked to end.

    Port 0 takes any free port; `on_listening` is told the endpoint. `drand_urls` are the relays
    asked for the pulses that commits wait for. Raises OSError when the port is taken, StoreError
    when the file cannot be used.
    """
    stop = stop or asyncio.Event()
    if handle_signals:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    pulses = Pulses()
    chain = Chain(state_path, params or DevnetParams(), _now_ms(), pulses)
    try:
        rpc = Rpc(chain)
        hub = _Hub(rpc)
        async with serve(
            hub.serve, host, port, max_size=FRAME_BYTES_MAX, compression=None, close_timeout=1
        ) as server:
            bound = next(iter(server.sockets)).getsockname()[1]
            if on_listening:
                on_listening(f"ws://{host}:{bound}")
            follower = asyncio.create_task(follow_drand(chain.state, pulses, drand_urls))
            try:
                await _produce(chain, stop)
            finally:
                follower.cancel()
                with suppress(asyncio.CancelledError):
                    await follower
    finally:
        chain.close()


async def _produce(chain: Chain, stop: asyncio.Event) -> None:
    """One block per block time, on a steady grid; a late start of a block is not made up for."""
    period = chain.params.block_time_seconds
    loop = asyncio.get_running_loop()
    due = loop.time() + period
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(due - loop.time(), 0))
            return
        chain.produce(_now_ms())
        due = max(due + period, loop.time())


class _Hub:
    """Websocket connections, each with an outbox of bounded length."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._count = 0

    async def serve(self, connection: ServerConnection) -> None:
        if self._count >= CONNECTIONS_MAX:
            await connection.close(_TRY_AGAIN_LATER, "too many connections")
            return
        self._count += 1
        outbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(OUTBOX_MAX)

        def send(message: dict[str, Any]) -> None:
            try:
                outbox.put_nowait(message)
            except asyncio.QueueFull:
                full.set()

        full = asyncio.Event()
        session = Session(send)
        self._rpc.connect(session)
        writer = asyncio.create_task(_write(connection, outbox))
        try:
            async for frame in connection:
                self._rpc.handle(session, frame)
                # Frames may be waiting already: let the writer and the clock have their turn.
                await asyncio.sleep(0)
                if full.is_set():
                    await connection.close(_POLICY, "answers are not being read")
        except ConnectionClosed:
            pass
        finally:
            self._count -= 1
            self._rpc.disconnect(session)
            writer.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await writer


async def _write(
    connection: ServerConnection, outbox: "asyncio.Queue[dict[str, Any] | None]"
) -> None:
    with suppress(ConnectionClosed):
        while True:
            message = await outbox.get()
            await connection.send(json.dumps(message, separators=(",", ":")))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
