"""The devnet's process: a websocket server on one side, a clock that makes blocks on the other."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from subnet.devnet.chain import Chain
from subnet.devnet.connections import listen
from subnet.devnet.drand import Pulses
from subnet.devnet.drand_client import DRAND_URLS, follow_drand
from subnet.devnet.params import DevnetParams
from subnet.devnet.rpc import Rpc

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
        async with await listen(Rpc(chain), host, port) as server:
            bound = next(iter(server.sockets)).getsockname()[1]
            if on_listening:
                on_listening(f"ws://{host}:{bound}")
            await _run_until_one_ends(
                _produce(chain, stop), follow_drand(chain.state, pulses, drand_urls)
            )
    finally:
        chain.close()


async def _run_until_one_ends(*loops: Coroutine[Any, Any, None]) -> None:
    """A loop that fails takes the node along: none goes on without the others."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
