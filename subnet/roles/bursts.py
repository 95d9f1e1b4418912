"""answers of a burst -> LEDGER <- audits: what each hotkey of a burst was verified to have given.

In memory only: a burst whose validator stops before all its answers were audited proves nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from subnet.core.audit import PPM
from subnet.core.capacity import credit_ppm
from subnet.core.cover import Cover, Pair
from subnet.ports import Exchange


@dataclass(slots=True, eq=False)
class Burst:
    """One burst, from its start to its last audit."""

    number: int
    period: int
    """Whose secret its draws come from."""
    cover: Cover
    pair: Pair
    is_retry: bool
    group: Mapping[str, tuple[int, ...]]
    """Hotkeys, with the blocks that each meets."""
    window: range
    """Microseconds of the monotonic timer: what arrives then counts."""
    is_void: bool = False
    """Whether the network or this machine failed in it."""
    halves_ppm: tuple[Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    """Verified millionths of tokens in each half of the window, by hotkey."""
    waiting: int = 0
    """Answers that no audit has settled yet."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once none waits any more after the last answer."""
    is_over: bool = False

    @property
    def credits_ppm(self) -> Counter[str]:
        """By hotkey, twice those of the half that brought fewer: an engine that is fetched when
        requests pile up gives little in the first."""
        first, second = self.halves_ppm
        return Counter({hotkey: 2 * min(first[hotkey], second[hotkey]) for hotkey in self.group})

    def credit_ppm(
        self, token_times_us: Sequence[int], sent_us: int, latency_ppm: int
    ) -> tuple[int, int]:
        """What one answer adds to each half; see `capacity.credit_ppm`."""
        opens, closes = self.window.start, self.window.stop
        middle = (opens + closes) // 2
        first, second = range(opens, middle), range(middle, closes)
        return (
            credit_ppm(token_times_us, sent_us, first, latency_ppm),
            credit_ppm(token_times_us, sent_us, second, latency_ppm),
        )

    def end(self) -> None:
        """No more answers will come."""
        self.is_over = True
        self._note()

    def settle(self, hotkey: str, credits_ppm: tuple[int, int]) -> None:
        """One answer was audited; what it adds to each half."""
        self.waiting -= 1
        for half, credit in zip(self.halves_ppm, credits_ppm, strict=True):
            half[hotkey] += credit
        self._note()

    def _note(self) -> None:
        if self.is_over and self.waiting == 0:
            self.settled.set()


class BurstLedger:
    """Answers of bursts that wait for their audit, by request id."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Burst, str, tuple[int, int]]] = {}
        self.running: Burst | None = None

    def note(self, exchange: Exchange, sent_us: int, latency_ppm: int) -> None:
        """A sound answer came, to whatever question of ours; it waits for its audit.

        `sent_us` is when it was asked, by the monotonic timer. In a burst, what the burst itself
        did not ask counts as well: it took the miner's time.
        """
        burst, hotkey = self.running, exchange.miner_hotkey
        if burst is None or hotkey not in burst.group:
            return
        credits_ppm = burst.credit_ppm(exchange.token_times_us, sent_us, latency_ppm)
        burst.waiting += 1
        self._waiting[exchange.request.request_id] = burst, hotkey, credits_ppm

    def holds(self, request_id: str) -> bool:
        """Whether an answer belongs to a burst: it is audited as benchmarks are, whoever asked."""
        return request_id in self._waiting

    def settle(self, request_id: str, share_ppm: int, *, is_verified: bool) -> None:
        """An answer was audited, or passed over; of others nothing happens.

        Each verified one stands for the `share_ppm` of answers that are audited.
        """
        found = self._waiting.pop(request_id, None)
        if found is not None:
            burst, hotkey, (first, second) = found
            counted = PPM if is_verified else 0
            burst.settle(hotkey, (first * counted // share_ppm, second * counted // share_ppm))
