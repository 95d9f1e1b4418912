"""cover -> JOINT PROBER -> dispatcher: bursts that prove what hotkeys give beside each other.

At instants that only the secret tells, a group of hotkeys is loaded at once: users come in a
rising stream, each asks again as soon as it is answered, until the burst is over. What they ask is
what the prober would have asked. A burst in which the network or this machine failed proves nothing
and comes again.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from subnet.config import Settings
from subnet.core.book import StandingBook
from subnet.core.burst_plan import (
    after_begin,
    after_rates,
    after_void,
    next_again,
    result_of,
)
from subnet.core.capacity import Capacity, has_fallen, rate_tps_milli, users_max
from subnet.core.cover import (
    LATE_SECONDS_MAX,
    PERIODS_MAX,
    Cover,
    Pair,
    Turn,
    arrivals_seconds,
    burst_at,
    burst_before,
    burst_from,
    burst_seconds,
    burst_starts_at,
    bursts_between,
    counted_window,
    draw_cover,
    draw_pair,
    group_of,
    pairs,
    suspects_of,
    turn_of,
)
from subnet.core.draws import FIRST_PERIOD, period_secret
from subnet.core.records import Begun, Measured, Voided, VoidWord
from subnet.core.scoring import is_gate_open
from subnet.core.standing import Blame
from subnet.ports import Clock
from subnet.roles.bursts import Burst, BurstLedger
from subnet.roles.dispatcher import Dispatcher
from subnet.roles.faults import STALLS, FaultJudge
from subnet.roles.peer import Peer
from subnet.roles.roster import Roster
from subnet.store import ValidatorStore

IDLE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5
"""How long a burst's user waits after a fault; twice as long after each in a row, or a miner that
is full for a moment would refuse more than it answers."""
RETRY_SECONDS_MAX: Final = 16.0
LAG_STEP_SECONDS: Final = 1.0
MICROSECONDS: Final = 1_000_000
VOID_WORDS: Final = {Blame.NETWORK: VoidWord.NETWORK, Blame.VERIFIER: VoidWord.VERIFIER}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Due:
    """A burst's instant, by the secret that was in use when it was drawn."""

    number: int
    period: int
    turn: Turn
    starts_at: float
    """Seconds since the epoch of the wall clock."""


class JointProber:
    """Probes hotkeys together, cover by cover."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        store: ValidatorStore,
        book: StandingBook,
        roster: Roster,
        ledger: BurstLedger,
        faults: FaultJudge,
        clock: Clock,
        own_hotkey: str,
        settings: Settings,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._book = book
        self._roster = roster
        self._ledger = ledger
        self._faults = faults
        self._clock = clock
        self._own_hotkey = own_hotkey
        self._settings = settings
        self._params = settings.capacity
        self._missed_for = VoidWord.STOPPED
        """Why instants are gone: at first no process was there."""

    async def run(self) -> None:
        """Probe for ever, from the first period on whose secret is committed."""
        while self._store.period() < FIRST_PERIOD:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)
        async with asyncio.TaskGroup() as group:
            while True:
                due = await self._until_next()
                burst = self._begin(due)
                if burst is not None:
                    await self._probe(burst)
                    group.create_task(self._conclude(burst))

    async def _until_next(self) -> _Due:
        """Sleep to the start of the next burst. Those whose instants are gone are void."""
        now = self._clock.now_ns() / 1e9
        upcoming = self._store.next_burst()
        number = max(upcoming or 0, burst_at(now, self._params))
        due = self._due(burst_from(number, self._params))
        while due.starts_at < now:
            due = self._due(burst_from(due.number + 1, self._params))
        if upcoming is not None and bursts_between(upcoming, due.number - 1, self._params):
            self._void(upcoming, burst_before(due.number, self._params), self._missed_for)
        self._missed_for = VoidWord.LATE
        await asyncio.sleep(due.starts_at - now)
        return due

    def _due(self, number: int) -> _Due:
        turn = turn_of(self._own_hotkey, self._roster.validators, self._params)
        period = self._store.period()
        secret = period_secret(self._store.master_secret, period)
        starts_at = burst_starts_at(secret, number, turn, self._params)
        return _Due(number, period, turn, starts_at)

    def _void(self, first: int, last: int, word: VoidWord) -> None:
        at_us = self._clock.now_ns() // 1000
        self._store.save_moves([], [Voided(at_us=at_us, first=first, last=last, word=word)])

    def _begin(self, due: _Due) -> Burst | None:
        """The burst that is now due; None if it is void before it begins."""
        number = due.number
        late = self._clock.now_ns() / 1e9 - due.starts_at
        if late > LATE_SECONDS_MAX or due.period < self._store.period() - PERIODS_MAX:
            self._void(number, number, VoidWord.LATE)
            return None
        present = [
            hotkey
            for hotkey in self._roster.peers
            if is_gate_open(self._book.standing(hotkey), self._settings.scoring)
        ]
        if not present:
            self._void(number, number, VoidWord.NOBODY)
            return None
        if self._store.pending_audits_count() >= self._settings.validator.pending_audits_max:
            _log.warning("no burst: too many answers wait for the referee")
            self._void(number, number, VoidWord.BUSY)
            return None
        known = {hotkey: self._book.standing(hotkey).capacity for hotkey in present}
        begun = self._begun(due, known)
        if not begun.group.keys() & known.keys():
            self._void(number, number, VoidWord.NOBODY)
            return None
        self._store.save_moves([], [begun])
        secret = period_secret(self._store.master_secret, due.period)
        start_us = self._clock.monotonic_us()
        ends_us = start_us + round(burst_seconds(secret, number, self._params) * MICROSECONDS)
        burst = Burst(begun, counted_window(start_us, self._params), ends_us)
        self._ledger.begin(burst, after_begin(self._ledger.plan, begun, self._params))
        return burst

    def _begun(self, due: _Due, known: Mapping[str, Capacity]) -> Begun:
        """What is due, with those that can be asked."""
        again = next_again(self._ledger.plan, known.keys())
        if again is None:
            cover, pair = self._next_pair(due, known)
        else:
            cover, pair = self._cover(again.cover), again.pair
        if again is None or again.instead_of is None:
            group = self._group(cover, pair, known)
        else:
            group = again.group
        return Begun(
            at_us=self._clock.now_ns() // 1000,
            period=due.period,
            burst=due.number,
            turn=due.turn.number,
            turns=due.turn.turns,
            cover=cover.number,
            blocks=cover.blocks,
            pair=pair,
            instead_of=None if again is None else again.instead_of,
            group=group,
            absent=tuple(sorted(group.keys() - known.keys())),
        )

    def _next_pair(self, due: _Due, known: Mapping[str, Capacity]) -> tuple[Cover, Pair]:
        """Cover and pair of a burst that repeats none."""
        plan = self._ledger.plan
        secret = period_secret(self._store.master_secret, due.period)
        if plan.left:
            cover = plan.covers[-1]
        else:
            cover = draw_cover(secret, due.number + 1, known, self._suspects(known), self._params)
        left = plan.left or pairs(len(cover.blocks))
        met = {one: self._book.standing(one).capacity.met_ppm for one in cover.hotkeys}
        return cover, draw_pair(secret, due.number, left, cover, met)

    def _group(
        self, cover: Cover, pair: Pair, known: Mapping[str, Capacity]
    ) -> dict[str, tuple[int, ...]]:
        """Who takes part in a burst that is no second try, with the blocks that each meets."""
        newcomers = [hotkey for hotkey in known if hotkey not in cover.hotkeys]
        planned = group_of(cover, pair, self._suspects(known), newcomers, self._params)
        return {hotkey: planned[hotkey] for hotkey in known if hotkey in planned}

    def _suspects(self, known: Mapping[str, Capacity]) -> dict[str, int]:
        return suspects_of(known, self._params.shortfall_tolerated_ppm)

    def _cover(self, number: int) -> Cover:
        return next(one for one in self._ledger.plan.covers if one.number == number)

    async def _probe(self, burst: Burst) -> None:
        """Load the group until the burst is over and every answer came."""
        there = [hotkey for hotkey in burst.begun.group if burst.begun.loads(hotkey)]
        _log.info("burst %d: %d hotkeys together", burst.number, len(there))
        peers = self._roster.peers
        loop = asyncio.get_running_loop()
        seconds = (burst.ends_us - self._clock.monotonic_us()) / MICROSECONDS
        start, end = loop.time(), loop.time() + seconds
        watcher = asyncio.create_task(self._watch_lag(burst))
        try:
            async with asyncio.TaskGroup() as group:
                for hotkey in there:
                    for arrival in self._arrivals(burst, peers[hotkey]):
                        user = self._user(burst, peers[hotkey], start + arrival, end)
                        group.create_task(user)
            # If all have stalled, what the prober asks meanwhile still counts.
            await asyncio.sleep(max(0.0, end - loop.time()))
        finally:
            watcher.cancel()
            self._ledger.running = None
            burst.end()

    def _arrivals(self, burst: Burst, peer: Peer) -> list[float]:
        users = users_max(peer.concurrent_requests_max, self._params)
        begun = burst.begun
        secret = period_secret(self._store.master_secret, begun.period)
        return arrivals_seconds(secret, begun.burst, peer.endpoint.hotkey, users, self._params)

    async def _user(self, burst: Burst, peer: Peer, arrives_at: float, ends_at: float) -> None:
        """One user: asks, and asks again, until the burst is over or the miner stalls."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(arrives_at - loop.time())
        pause = RETRY_SECONDS
        while loop.time() < ends_at:
            outcome = await self._dispatcher.ask(peer, self._dispatcher.next_turn())
            if outcome.blame in VOID_WORDS:
                burst.void = VOID_WORDS[outcome.blame]
            if outcome.exchange.fault in STALLS:
                return
            if outcome.blame is None:
                pause = RETRY_SECONDS
            else:
                wait = max(pause, outcome.wait_seconds)
                await asyncio.sleep(min(wait, ends_at - loop.time()))
                pause = min(2 * pause, RETRY_SECONDS_MAX)

    async def _watch_lag(self, burst: Burst) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_STEP_SECONDS)
            if self._faults.note_lag(loop.time() - before - LAG_STEP_SECONDS):
                burst.void = VoidWord.VERIFIER

    async def _conclude(self, burst: Burst) -> None:
        """Fold a burst into the standings, once all its answers were audited."""
        await burst.settled.wait()
        begun, plan = burst.begun, self._ledger.plan
        if burst.void is not None:
            self._void(burst.number, burst.number, burst.void)
            self._ledger.conclude(burst, after_void(plan, begun))
            _log.warning("burst %d proves nothing: the fault was not the miners'", burst.number)
            return
        known = {hotkey: self._book.standing(hotkey).capacity for hotkey in begun.group}
        records = [self._measured(burst, hotkey) for hotkey in begun.group]
        moved = [self._book.after(record) for record in records]
        self._store.save_moves(moved, records)
        self._book.put(moved)
        fallen = [
            one.miner_hotkey
            for one in records
            if has_fallen(known[one.miner_hotkey], one.result.rate_tps_milli, self._params)
        ]
        self._ledger.conclude(burst, after_rates(plan, begun, fallen))

    def _measured(self, burst: Burst, hotkey: str) -> Measured:
        rate = rate_tps_milli(burst.credits_ppm[hotkey], burst.window)
        return Measured(
            at_us=self._clock.now_ns() // 1000,
            miner_hotkey=hotkey,
            period=burst.begun.period,
            result=result_of(burst.begun, hotkey, rate),
        )
