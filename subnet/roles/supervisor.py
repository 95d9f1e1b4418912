"""Keeps loops running: the world's failures restart them, our own defects end the process.

There is no third way: a loop that returns without leave is a defect too, so nothing can stop
silently while the process looks alive.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from subnet.ports import ChainError

WORLD_FAILURES: Final = (ChainError,)
"""Named failures of the world that a loop may meet; a bad miner is data, not a failure."""

_log = logging.getLogger(__name__)


class LoopEndedError(Exception):
    """A loop that must run for ever returned: our own defect."""


class Supervisor:
    """Runs named loops; counts how often each had to be restarted."""

    def __init__(self, delay_seconds: float, delay_seconds_max: float) -> None:
        """The pause before a restart doubles from the first to the second limit, and starts over
        once a loop has run for longer than the second."""
        self._delay_seconds = delay_seconds
        self._delay_seconds_max = delay_seconds_max
        self.restarts: Counter[str] = Counter()

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a loop for ever. Raises what the loop raised, if it was not the world's failure."""
        await self.keep_until_done(name, run)
        raise LoopEndedError(f"the {name} loop returned")

    async def keep_until_done(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """As `keep`, for a loop that may come to its end."""
        clock = asyncio.get_running_loop()
        delay = self._delay_seconds
        while True:
            started = clock.time()
            try:
                return await run()
            except WORLD_FAILURES as error:
                self.restarts[name] += 1
                if clock.time() - started > self._delay_seconds_max:
                    delay = self._delay_seconds
                _log.warning(
                    "the %s loop failed and starts again in %.1f s (restart %d): %s",
                    name,
                    delay,
                    self.restarts[name],
                    error,
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, self._delay_seconds_max)
