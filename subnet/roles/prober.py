"""gaps -> PROBER -> dispatcher: when each miner is asked.

Gaps are exponential, as users' are, and drawn from the committed secret. A miner that stalls rests,
so that it holds no slots from the others.
"""

import asyncio
import logging
from collections import Counter
from typing import Final

from subnet.config import ValidatorSettings
from subnet.core.draws import FIRST_PERIOD, draw_gap_seconds, period_secret
from subnet.ports import Exchange, Fault
from subnet.roles.dispatcher import Dispatcher, Turn
from subnet.roles.roster import Peer, Roster
from subnet.store import ValidatorStore

IDLE_SECONDS: Final = 0.25
"""Longest sleep of the prober, so that a new miner is seen soon."""
STALLS: Final = frozenset({Fault.TIMEOUT, Fault.UNREACHABLE})
"""Faults that hold a slot for long before they show."""

_log = logging.getLogger(__name__)


class Prober:
    """Asks every miner of the roster, each at its own random instants."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        store: ValidatorStore,
        roster: Roster,
        settings: ValidatorSettings,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._roster = roster
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.requests_in_flight_max)
        self._due_at: dict[str, float] = {}
        self._running: Counter[str] = Counter()
        self._stalls: Counter[str] = Counter()
        """In a row, by hotkey."""

    async def run(self) -> None:
        """Ask for ever, from the first period on whose secret is committed.

        A miner's misbehaviour is data; anything raised here is our own defect.
        """
        while self._store.period() < FIRST_PERIOD:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                peer, turn = await self._next_due()
                group.create_task(self._ask_in_slot(peer, turn))

    async def _next_due(self) -> tuple[Peer, Turn]:
        """The next miner whose instant has come, and its turn; its following instant is drawn."""
        clock = asyncio.get_running_loop()
        in_flight_max = self._settings.requests_in_flight_per_miner_max
        while True:
            await self._until_audits_catch_up()
            now = clock.time()
            peers = self._roster.peers
            for hotkey in self._due_at.keys() - peers.keys():
                del self._due_at[hotkey]
            for hotkey in sorted(peers.keys() - self._due_at.keys()):
                self._due_at[hotkey] = now + self._first_gap_seconds(hotkey)
            free = [
                hotkey
                for hotkey, peer in peers.items()
                if self._running[hotkey] < min(peer.concurrent_requests_max, in_flight_max)
            ]
            first = min(free, key=self._due_at.__getitem__, default=None)
            if first is not None and self._due_at[first] <= now:
                turn = self._dispatcher.next_turn()
                self._due_at[first] = now + self._gap_seconds(turn)
                self._running[first] += 1
                return peers[first], turn
            wait = IDLE_SECONDS if first is None else self._due_at[first] - now
            await asyncio.sleep(min(wait, IDLE_SECONDS))

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
        try:
            self._note_stall(await self._dispatcher.ask(peer, turn))
        finally:
            self._running[peer.endpoint.hotkey] -= 1
            self._slots.release()

    def _note_stall(self, exchange: Exchange) -> None:
        """Let a miner rest that holds our slots again and again without an answer."""
        hotkey = exchange.miner_hotkey
        if exchange.fault not in STALLS:
            del self._stalls[hotkey]
            self._roster.clear(hotkey)
            return
        self._stalls[hotkey] += 1
        if self._stalls[hotkey] >= self._settings.stalls_in_a_row_max:
            self._roster.rest(hotkey)

    def _first_gap_seconds(self, hotkey: str) -> float:
        secret = period_secret(self._store.master_secret, self._store.period())
        return draw_gap_seconds(secret, hotkey.encode(), self._settings.probe_interval_seconds)

    def _gap_seconds(self, turn: Turn) -> float:
        secret = period_secret(self._store.master_secret, turn.period)
        label = turn.counter.to_bytes(8, "little")
        return draw_gap_seconds(secret, label, self._settings.probe_interval_seconds)
