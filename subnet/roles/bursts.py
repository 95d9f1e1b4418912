"""answers of a burst -> LEDGER <- audits: what each hotkey of a burst was verified to have given.

In memory only: a burst whose validator stops before all its answers were audited is void.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from subnet.core.audit import PPM
from subnet.core.burst_plan import BurstPlan
from subnet.core.capacity import tokens_inside
from subnet.core.records import Answered, Begun, InBurst, VoidWord
from subnet.core.standing import Blame
from subnet.core.statement import OpenBurst, WaitingCredit, open_burst, waiting_credit
from subnet.ports import Exchange


@dataclass(slots=True, eq=False)
class Burst:
    """One burst, from its start to its last audit."""

    begun: Begun
    """How its records say that it began."""
    window: range
    """Microseconds of the monotonic timer: what arrives then counts."""
    ends_us: int
    """When the load stops."""
    void: VoidWord | None = None
    """Why it proves nothing: the network or this machine failed in it."""
    had_network_fault: bool = False
    """Whether the network failed anybody since it began."""
    credits_ppm: Counter[str] = field(default_factory=Counter)
    """Verified millionths of tokens, by hotkey."""
    waiting: int = 0
    """Answers that no audit has settled yet."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once none waits any more after the last answer."""
    is_over: bool = False

    @property
    def number(self) -> int:
        """Its own; the latest has the highest."""
        return self.begun.burst

    def end(self) -> None:
        """No more answers will come."""
        self.is_over = True
        self._note()

    def settle(self, hotkey: str, credit_ppm: int) -> None:
        """One answer was audited."""
        self.waiting -= 1
        self.credits_ppm[hotkey] += credit_ppm
        self._note()

    def _note(self) -> None:
        if self.is_over and self.waiting == 0:
            self.settled.set()


class BurstLedger:
    """Answers of bursts that wait for their audit, by request id."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Burst, WaitingCredit]] = {}
        self._open: dict[int, Burst] = {}
        """Bursts without an end in the records, by number."""
        self.running: Burst | None = None
        self.plan = BurstPlan()
        """As the saved records lead to."""

    def begin(self, burst: Burst, plan: BurstPlan) -> None:
        """It is saved that a burst began; from now on answers are its own."""
        self._open[burst.number] = self.running = burst
        self.plan = plan

    def conclude(self, burst: Burst, plan: BurstPlan) -> None:
        """It is saved how a burst ended."""
        del self._open[burst.number]
        self.plan = plan

    def open_bursts(self) -> tuple[OpenBurst, ...]:
        """Those without an end, as a statement names them."""
        waiting: dict[int, list[WaitingCredit]] = {number: [] for number in self._open}
        for burst, credit in self._waiting.values():
            if burst.number in waiting:
                waiting[burst.number].append(credit)
        return tuple(
            open_burst(
                burst.begun,
                burst.credits_ppm,
                waiting[number],
                had_network_fault=burst.had_network_fault,
            )
            for number, burst in sorted(self._open.items())
        )

    def note_fault(self, blame: Blame) -> None:
        """It is saved that a request brought no answer, and who is to blame."""
        for burst in self._open.values():
            burst.had_network_fault |= blame is Blame.NETWORK

    def in_burst(self, exchange: Exchange, sent_us: int) -> InBurst | None:
        """What a sound answer that just came, to whatever question of ours, is for a burst.

        `sent_us` is when it was asked, by the monotonic timer. In a burst, what the burst itself
        did not ask counts as well: it took the miner's time.
        """
        burst = self.running
        if burst is None or not burst.begun.loads(exchange.miner_hotkey):
            return None
        tokens = tokens_inside(exchange.token_times_us, sent_us, burst.window)
        return InBurst(burst=burst.number, tokens=tokens)

    def note(self, answered: Answered, latency_ppm: int) -> None:
        """That answer is saved, and waits for its audit."""
        burst, credit = self.running, waiting_credit(answered, latency_ppm)
        if burst is None or credit is None:
            return
        burst.waiting += 1
        self._waiting[answered.request_id] = burst, credit

    def settle(self, request_id: str, share_ppm: int, *, is_verified: bool) -> None:
        """An answer was audited, or passed over; of others nothing happens.

        Each verified one stands for the `share_ppm` of answers that are audited.
        """
        found = self._waiting.pop(request_id, None)
        if found is not None:
            burst, one = found
            given = one.credit_ppm * PPM // share_ppm if is_verified else 0
            burst.settle(one.miner_hotkey, given)
