"""timers -> VIRTUAL LOOP -> roles: a day passes as fast as its events can be computed.

Nothing is waited for: when every task sleeps, the clock jumps to the next timer. Events of one
instant run in the order in which they were scheduled, so that a run can be repeated byte by byte.
"""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

Result = TypeVar("Result")
Ts = TypeVarTuple("Ts")

START_SECONDS: Final = 1000.0
"""What a fresh loop's clock shows."""


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop_of: Callable[[], "VirtualLoop"]) -> None:
        super().__init__()
        self._loop_of = loop_of

    def select(self, timeout: float | None = None) -> Any:
        """No file is ever ready: nothing here does I/O."""
        assert timeout is not None, "every task waits and no timer is set: a deadlock"
        self._loop_of().jump(timeout)
        return []


class _Timer(asyncio.TimerHandle):
    """Knows its place among timers of one instant, which a heap does not keep."""

    __slots__ = ("number",)
    number: int
    _when: float
    _scheduled: bool

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        assert isinstance(other, _Timer)
        if self._when == other._when:
            return self.number < other.number
        return self._when < other._when


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    _scheduled: list[_Timer]
    """The base class's heap."""

    def __init__(self) -> None:
        self._now = START_SECONDS
        self._timers = 0
        super().__init__(_JumpingSelector(lambda: self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock on."""
        self._now += max(0.0, seconds)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As the base class, but in order."""
        timer = _Timer(when, callback, args, self, context)
        timer.number, timer._scheduled = self._timers, True
        self._timers += 1
        heapq.heappush(self._scheduled, timer)
        return timer

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], Result], *args: *Ts
    ) -> asyncio.Future[Result]:
        """Run it here and now, so that `asyncio.to_thread` needs no thread."""
        future: asyncio.Future[Result] = self.create_future()
        future.set_result(func(*args))
        return future


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class LoopClock:
    """`ports.Clock` over the virtual loop, whose wall time runs `ahead_seconds` ahead."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.ahead_seconds = ahead_seconds

    def now_ns(self) -> int:
        """Nanoseconds; the epoch is arbitrary."""
        return round((asyncio.get_running_loop().time() + self.ahead_seconds) * 1e9)

    def monotonic_us(self) -> int:
        """Microseconds."""
        return round(asyncio.get_running_loop().time() * 1e6)
