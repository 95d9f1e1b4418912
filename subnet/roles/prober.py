"""gaps -> PROBER -> dispatcher: when each miner is asked.

Gaps are exponential, as users' are, and drawn from the committed secret. A miner that stalls rests,
so that it holds no slots from the others.
"""

import asyncio
import heapq
import logging
from collections import Counter
from typing import Final

from subnet.config import ValidatorSettings
from subnet.core.draws import FIRST_PERIOD, draw_gap_seconds, period_secret
from subnet.core.standing import Blame
from subnet.roles.dispatcher import Dispatcher, Outcome, Turn
from subnet.roles.faults import STALLS, FaultJudge
from subnet.roles.peer import Peer
from subnet.roles.roster import Roster
from subnet.store import ValidatorStore

IDLE_SECONDS: Final = 0.25
"""Between two looks at what only the store knows."""

_log = logging.getLogger(__name__)


class Prober:
    """Asks every miner of the roster, each at its own random instants."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        store: ValidatorStore,
        roster: Roster,
        faults: FaultJudge,
        settings: ValidatorSettings,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._roster = roster
        self._faults = faults
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.requests_in_flight_max)
        self._due: list[tuple[float, str]] = []
        """A heap: when each known miner is due, and its hotkey."""
        self._known: set[str] = set()
        """Miners that are in the heap."""
        self._skipped: Counter[str] = Counter()
        """Instants at which a miner was busy, by hotkey."""
        self._wake = asyncio.Event()
        self._running: Counter[str] = Counter()
        self._stalls: Counter[str] = Counter()
        """In a row, by hotkey."""
        roster.subscribe(self._meet)

    async def run(self) -> None:
        """Ask for ever, from the first period on whose secret is committed.

        A miner's misbehaviour is data; anything raised here is our own defect.
        """
        while self._store.period() < FIRST_PERIOD:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)
        self._meet()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                peer, turn = await self._next_due()
                group.create_task(self._ask_in_slot(peer, turn))

    def _meet(self) -> None:
        """Draw the first instants of miners that are new on the roster."""
        if self._store.period() < FIRST_PERIOD:
            return
        new = sorted(self._roster.peers.keys() - self._known)
        now = asyncio.get_running_loop().time() if new else 0.0
        for hotkey in new:
            self._push(now + self._first_gap_seconds(hotkey), hotkey)
        self._known.update(new)

    def _push(self, due_at: float, hotkey: str) -> None:
        heapq.heappush(self._due, (due_at, hotkey))
        self._wake.set()

    async def _next_due(self) -> tuple[Peer, Turn]:
        """The next miner whose instant has come, and its turn; its following instant is drawn."""
        loop = asyncio.get_running_loop()
        while True:
            await self._until_audits_catch_up()
            now = loop.time()
            while self._due and self._due[0][0] <= now:
                _, hotkey = heapq.heappop(self._due)
                peer = self._free_peer(hotkey, now)
                if peer is not None:
                    turn = self._dispatcher.next_turn()
                    self._push(now + self._gap_seconds(turn), hotkey)
                    self._running[hotkey] += 1
                    return peer, turn
            await self._sleep_until(self._due[0][0] if self._due else None)

    def _free_peer(self, hotkey: str, now: float) -> Peer | None:
        """A miner that is due, if it is still there and may be asked now."""
        peer = self._roster.peers.get(hotkey)
        if peer is None:
            self._known.discard(hotkey)
            return None
        in_flight_max = self._settings.requests_in_flight_per_miner_max
        in_flight = max(self._running[hotkey], self._dispatcher.in_flight(hotkey))
        is_busy = in_flight >= min(peer.concurrent_requests_max, in_flight_max)
        if is_busy or self._dispatcher.must_wait(hotkey):
            self._push(now + self._skip_gap_seconds(hotkey), hotkey)
            return None
        return peer

    async def _sleep_until(self, due_at: float | None) -> None:
        """Sleep to an instant, or until another one may come sooner."""
        loop = asyncio.get_running_loop()
        self._wake.clear()
        timer = None if due_at is None else loop.call_at(due_at, self._wake.set)
        await self._wake.wait()
        if timer is not None and due_at is not None:
            timer.cancel()
            self._faults.note_lag(loop.time() - due_at)

    async def _until_audits_catch_up(self) -> None:
        waiting_max = self._settings.pending_audits_max
        if self._store.pending_audits_count() < waiting_max:
            return
        _log.warning(
            "%d answers wait for the referee: no questions until some are done", waiting_max
        )
        while self._store.pending_audits_count() >= waiting_max:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)

    async def _ask_in_slot(self, peer: Peer, turn: Turn) -> None:
        hotkey = peer.endpoint.hotkey
        try:
            self._note_stall(await self._dispatcher.ask(peer, turn))
        finally:
            self._running[hotkey] -= 1
            self._slots.release()

    def _note_stall(self, outcome: Outcome) -> None:
        """Let a miner rest that holds our slots again and again without an answer."""
        hotkey = outcome.exchange.miner_hotkey
        if outcome.exchange.fault not in STALLS:
            del self._stalls[hotkey]
            self._roster.clear(hotkey)
        elif outcome.blame is Blame.MINER:
            self._stalls[hotkey] += 1
            if self._stalls[hotkey] >= self._settings.stalls_in_a_row_max:
                self._roster.rest(hotkey)

    def _first_gap_seconds(self, hotkey: str) -> float:
        secret = period_secret(self._store.master_secret, self._store.period())
        return draw_gap_seconds(secret, hotkey.encode(), self._settings.probe_interval_seconds)

    def _skip_gap_seconds(self, hotkey: str) -> float:
        """To the next instant of a miner that is busy now, or asked us to wait.

        A user's prompt goes elsewhere then. A benchmark that came as soon as the miner is free, or
        when a user's could not, would be known for one.
        """
        self._skipped[hotkey] += 1
        label = hotkey.encode() + self._skipped[hotkey].to_bytes(8, "little")
        secret = period_secret(self._store.master_secret, self._store.period())
        return draw_gap_seconds(secret, label, self._settings.probe_interval_seconds)

    def _gap_seconds(self, turn: Turn) -> float:
        secret = period_secret(self._store.master_secret, turn.period)
        label = turn.counter.to_bytes(8, "little")
        return draw_gap_seconds(secret, label, self._settings.probe_interval_seconds)
