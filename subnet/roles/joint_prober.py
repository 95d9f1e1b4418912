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
from subnet.core.capacity import (
    BurstResult,
    has_fallen,
    rate_tps_milli,
    users_max,
)
from subnet.core.cover import (
    Cover,
    Pair,
    arrivals_seconds,
    burst_seconds,
    burst_starts_at,
    counted_window,
    draw_cover,
    draw_pair,
    group_of,
    interval_seconds,
    met_ppm,
    pairs,
    retries_max,
    suspects_of,
    tried_again_for,
    turn_of,
)
from subnet.core.draws import FIRST_PERIOD, period_secret
from subnet.core.records import Measured
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

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """A burst that comes again."""

    pair: Pair
    cover: Cover
    first: Burst | None
    """Its first try, if that counts until the second; none if it was void."""
    wanted: frozenset[str]
    """It waits until one of these is there."""


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
        self._covers: tuple[Cover, ...] = ()
        """Those that still count, the latest last."""
        self._left: list[Pair] = []
        """Of the latest."""
        self._again: list[Again] = []
        self._retries = 0
        """How many more bursts may be tried again until the next cover."""
        self._drawn = 0
        """Covers."""
        self._asked: dict[str, int] = {}
        """For whose sake a burst was last tried again: how many covers were drawn by then."""

    async def run(self) -> None:
        """Probe for ever, from the first period on whose secret is committed."""
        while self._store.period() < FIRST_PERIOD:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)
        number = -1
        async with asyncio.TaskGroup() as group:
            while True:
                number = await self._until_next(number)
                burst = self._begin(number)
                if burst is not None:
                    await self._probe(burst)
                    group.create_task(self._conclude(burst))

    async def _until_next(self, last: int) -> int:
        """Sleep to the start of the next burst; its number, above `last`."""
        now = self._clock.now_ns() / 1e9
        number = max(last + 1, int(now / interval_seconds(self._params)))
        while True:
            now = self._clock.now_ns() / 1e9
            starts_at = self._starts_at(number)
            if starts_at >= now:
                await asyncio.sleep(starts_at - now)
                return number
            number += 1

    def _starts_at(self, number: int) -> float:
        longest = self._params.duration_seconds_max
        longest += self._settings.validator.request_timeout_seconds
        turn = turn_of(self._own_hotkey, self._roster.validators, longest, self._params)
        return burst_starts_at(self._secret(), number, turn, longest, self._params)

    def _begin(self, number: int) -> Burst | None:
        """The burst that is now due; None if there is nobody to probe or too much to audit."""
        present = [
            hotkey
            for hotkey in self._roster.peers
            if is_gate_open(self._book.standing(hotkey), self._settings.scoring)
        ]
        if not present:
            return None
        if self._store.pending_audits_count() >= self._settings.validator.pending_audits_max:
            _log.warning("no burst: too many answers wait for the referee")
            return None
        known = {hotkey: self._book.standing(hotkey).capacity for hotkey in present}
        suspects = suspects_of(known, self._params.shortfall_tolerated_ppm)
        unproven = {hotkey for hotkey, capacity in known.items() if not capacity.covers}
        turn = self._again_with(present) or self._next_pair(number, present, suspects, unproven)
        newcomers = [hotkey for hotkey in present if hotkey not in turn.cover.hotkeys]
        planned = group_of(turn.cover, turn.pair, suspects, newcomers, self._params)
        group = {hotkey: planned[hotkey] for hotkey in present if hotkey in planned}
        if turn.first is not None:
            group = {**turn.first.group, **group}
        seconds = burst_seconds(self._secret(), number, self._params)
        start_us = self._clock.monotonic_us()
        return Burst(
            number=number,
            period=self._store.period(),
            cover=turn.cover,
            pair=turn.pair,
            instead_of=turn.first,
            group=group,
            absent=frozenset(group) - set(present),
            window=counted_window(start_us, self._params),
            ends_us=start_us + round(seconds * MICROSECONDS),
        )

    def _again_with(self, present: list[str]) -> Again | None:
        """The latest burst that comes again and need not wait any longer."""
        self._again = [one for one in self._again if one.cover in self._covers]
        for at in reversed(range(len(self._again))):
            one = self._again[at]
            if not one.wanted or not one.wanted.isdisjoint(present):
                for hotkey in one.wanted - set(present):
                    self._asked[hotkey] = self._drawn - 1
                return self._again.pop(at)
        return None

    def _next_pair(
        self, number: int, present: list[str], suspects: Mapping[str, int], unproven: set[str]
    ) -> Again:
        if not self._left:
            cover = draw_cover(self._secret(), number + 1, present, suspects, self._params)
            self._covers = (*self._covers, cover)[-self._params.covers_kept :]
            self._left = pairs(len(cover.blocks))
            self._retries = retries_max(len(cover.blocks))
            self._drawn += 1
        cover = self._covers[-1]
        pair = draw_pair(self._secret(), number, self._left, cover, unproven)
        self._left.remove(pair)
        return Again(pair, cover, None, frozenset())

    async def _probe(self, burst: Burst) -> None:
        """Load the group until the burst is over and every answer came."""
        _log.info("burst %d: %d hotkeys together", burst.number, len(burst.group))
        peers = self._roster.peers
        loop = asyncio.get_running_loop()
        seconds = (burst.ends_us - self._clock.monotonic_us()) / MICROSECONDS
        start, end = loop.time(), loop.time() + seconds
        watcher = asyncio.create_task(self._watch_lag(burst))
        self._ledger.running = burst
        try:
            async with asyncio.TaskGroup() as group:
                for hotkey in [one for one in burst.group if one not in burst.absent]:
                    for arrival in self._arrivals(burst, peers[hotkey]):
                        user = self._user(burst, peers[hotkey], start + arrival, end)
                        group.create_task(user)
        finally:
            watcher.cancel()
            self._ledger.running = None
            burst.end()

    def _arrivals(self, burst: Burst, peer: Peer) -> list[float]:
        users = users_max(peer.concurrent_requests_max, self._params)
        secret = period_secret(self._store.master_secret, burst.period)
        return arrivals_seconds(secret, burst.number, peer.endpoint.hotkey, users, self._params)

    async def _user(self, burst: Burst, peer: Peer, arrives_at: float, ends_at: float) -> None:
        """One user: asks, and asks again, until the burst is over or the miner stalls."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(arrives_at - loop.time())
        pause = RETRY_SECONDS
        while loop.time() < ends_at:
            outcome = await self._dispatcher.ask(peer, self._dispatcher.next_turn())
            if outcome.blame in (Blame.NETWORK, Blame.VERIFIER):
                burst.is_void = True
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
            burst.is_void |= self._faults.note_lag(loop.time() - before - LAG_STEP_SECONDS)

    async def _conclude(self, burst: Burst) -> None:
        """Fold a burst into the standings, once all its answers were audited."""
        await burst.settled.wait()
        if burst.is_void:
            _log.warning("burst %d proves nothing: the fault was not the miners'", burst.number)
            self._try_again(burst, burst.instead_of, frozenset())
            return
        known = {hotkey: self._book.standing(hotkey).capacity for hotkey in burst.group}
        records = [self._measured(burst, hotkey) for hotkey in burst.group]
        moved = [self._book.after(record) for record in records]
        self._store.save_moves(moved, records)
        self._book.put(moved)
        fallen = [
            one.miner_hotkey
            for one in records
            if has_fallen(known[one.miner_hotkey], one.result.rate_tps_milli, self._params)
        ]
        blocks = len(burst.cover.blocks)
        wanted = tried_again_for(fallen, self._asked, self._drawn, self._retries, blocks)
        if wanted:
            self._retries -= 1
            self._asked |= dict.fromkeys(wanted, self._drawn)
            self._try_again(burst, burst, wanted)

    def _try_again(self, burst: Burst, first: Burst | None, wanted: frozenset[str]) -> None:
        """All hotkeys of a single block meet again in the next burst anyway."""
        if len(burst.cover.blocks) > 1:
            self._again.append(Again(burst.pair, burst.cover, first, wanted))

    def _measured(self, burst: Burst, hotkey: str) -> Measured:
        beside, is_first = burst.group[hotkey], burst.instead_of is None
        return Measured(
            at_us=self._clock.now_ns() // 1000,
            miner_hotkey=hotkey,
            period=burst.period,
            result=BurstResult(
                cover=burst.cover.number,
                burst=burst.number,
                beside=beside,
                met_ppm=met_ppm(burst.cover, beside) if is_first else 0,
                rate_tps_milli=rate_tps_milli(burst.credits_ppm[hotkey], burst.window),
            ),
        )

    def _secret(self) -> bytes:
        return period_secret(self._store.master_secret, self._store.period())
