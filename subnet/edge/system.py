"""The clock, the dice and the signals of this machine: the only place that reads them."""

import asyncio
import secrets
import signal
import time
from collections.abc import Coroutine
from typing import Any


class SystemClock:
    """`ports.Clock` over the machine's own clocks."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic_us(self) -> int:
        """Microseconds on a timer that never jumps."""
        return time.monotonic_ns() // 1000


def random_bytes(count: int) -> bytes:
    """Bytes that nobody can guess."""
    return secrets.token_bytes(count)


async def run_until_stopped(*services: Coroutine[Any, Any, None]) -> None:
    """Run services together; SIGINT or SIGTERM cancels them and waits for their cleanup.

    A service that raises stops its siblings too, and the error leaves this function (as an
    ExceptionGroup): half a neuron is worse than none. Returns when every service has returned.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    async def cancel_on_signal(tasks: list[asyncio.Task[None]]) -> None:
        await stop.wait()
        for task in tasks:
            task.cancel()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service) for service in services]
        watcher = asyncio.create_task(cancel_on_signal(tasks))
        await asyncio.wait(tasks)
        watcher.cancel()
