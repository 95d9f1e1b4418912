"""users' prompts -> DESK -> dispatcher: when users' prompts go out, and to whom.

A prompt leaves when it comes, not when its miner is next due for a benchmark: an instant that waits
for a prompt ends a long gap more often than a short one, and the gap told users from benchmarks
(AUC .73). Two independent streams of random instants that meet at one miner tell nothing of each
other. Where many prompts wait at once, they leave at exponential gaps, as benchmarks do.

To whom is drawn from all that are good enough: if only the best got users' prompts, all others
would know that they are tested.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final

from subnet.config import Settings
from subnet.core.book import StandingBook
from subnet.core.draws import (
    FIRST_PERIOD,
    draw_gap_seconds,
    period_secret,
    user_delay_seconds,
    user_priority,
)
from subnet.core.earnings import scores_of
from subnet.core.history import UserPrompt
from subnet.core.scoring import has_passed_probation
from subnet.roles.dispatcher import Dispatcher, Turn
from subnet.roles.peer import Peer
from subnet.roles.roster import Roster
from subnet.store import ValidatorStore

IDLE_SECONDS: Final = 0.25
"""Between two looks for more prompts while one is open, or for a miner that may take one."""
PROMPTS_AT_ONCE: Final = 64
"""Prompts that wait for their instant or their answer; later ones wait in the store."""


class UserDesk:
    """Sends every user's prompt to one good miner after another, until it is answered."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        store: ValidatorStore,
        book: StandingBook,
        roster: Roster,
        settings: Settings,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._book = book
        self._roster = roster
        self._settings = settings
        self._taken: set[int] = set()
        """Ids of prompts that are being served."""
        self._free_at: defaultdict[str, float] = defaultdict(float)
        """When a miner's next user's prompt may leave, in the loop's time."""
        self._running: Counter[str] = Counter()
        self._scored_at, self._known_scores = -math.inf, dict[str, int]()

    async def run(self) -> None:
        """Serve for ever, from the first period on whose secret is committed."""
        self._taken.clear()
        while self._store.period() < FIRST_PERIOD:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(IDLE_SECONDS)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._store.until_prompted()
                for prompt in self._new_prompts():
                    self._taken.add(prompt.prompt_id)
                    group.create_task(self._serve(prompt))
                await asyncio.sleep(IDLE_SECONDS)

    def user_scores(self) -> dict[str, int]:
        """Weights of the miners that users' prompts may go to, by hotkey.

        Marks in parts per million, but no more than half of the best's: among miners that are good
        enough all get as many, or the others would know that theirs are mostly benchmarks.
        """
        standings = self._book.known()
        scores = scores_of(standings, self._settings.rules)
        marks = {
            one.hotkey: scores[one.hotkey].marks_ppm
            for one in standings
            if one.hotkey in self._roster.peers
            and has_passed_probation(one, self._settings.scoring)
        }
        enough = max(marks.values(), default=0) // 2
        return {hotkey: min(mark, enough) for hotkey, mark in marks.items() if mark > 0 < enough}

    def _new_prompts(self) -> list[UserPrompt]:
        room = PROMPTS_AT_ONCE - len(self._taken)
        if room <= 0:
            return []
        new = [
            prompt
            for prompt in self._store.open_prompts()
            if prompt.prompt_id not in self._taken and self._dispatcher.can_ask(prompt)
        ]
        return new[:room]

    async def _serve(self, prompt: UserPrompt) -> None:
        """Ask, after a short delay that hides how often we look for prompts."""
        failed: set[str] = set()
        await asyncio.sleep(user_delay_seconds(self._secret(), prompt.prompt_id))
        while True:
            now = asyncio.get_running_loop().time()
            peer = self._drawn_peer(prompt, failed, self._scores(now))
            if peer is None:
                await asyncio.sleep(IDLE_SECONDS)
                continue
            hotkey = peer.endpoint.hotkey
            if self._free_at[hotkey] > now:
                await asyncio.sleep(self._free_at[hotkey] - now)
                continue
            await self._ask(peer, prompt, now)
            if all(one.prompt_id != prompt.prompt_id for one in self._store.open_prompts()):
                break
            failed.add(hotkey)
        self._taken.discard(prompt.prompt_id)

    async def _ask(self, peer: Peer, prompt: UserPrompt, now: float) -> None:
        hotkey = peer.endpoint.hotkey
        turn = self._dispatcher.next_turn()
        self._free_at[hotkey] = now + self._gap_seconds(turn)
        self._running[hotkey] += 1
        try:
            await self._dispatcher.ask(peer, turn, prompt)
        finally:
            self._running[hotkey] -= 1

    def _scores(self, now: float) -> dict[str, int]:
        """`user_scores`, of this look or the one before."""
        if now - self._scored_at >= IDLE_SECONDS:
            self._scored_at, self._known_scores = now, self.user_scores()
        return self._known_scores

    def _drawn_peer(
        self, prompt: UserPrompt, failed: set[str], scores: Mapping[str, int]
    ) -> Peer | None:
        """The first by the draw of those that may take one now; whoever failed on it comes last."""
        known = [one for one in scores if not self._dispatcher.must_wait(one)]
        free = {one for one in known if self._in_flight_max(one) > self._in_flight(one)}
        if not free:
            free = {one for one in known if self._concurrency(one) > self._in_flight(one)}
        rank = partial(user_priority, self._secret(), prompt.prompt_id)
        first = max((free - failed) or free, key=lambda one: rank(one, scores[one]), default=None)
        return None if first is None else self._roster.peers.get(first)

    def _in_flight_max(self, hotkey: str) -> int:
        """As the prober has it: a miner with as many at work must not know the kind of the next."""
        most = self._settings.validator.requests_in_flight_per_miner_max
        return min(self._concurrency(hotkey), most)

    def _concurrency(self, hotkey: str) -> int:
        peer = self._roster.peers.get(hotkey)
        return 0 if peer is None else peer.concurrent_requests_max

    def _in_flight(self, hotkey: str) -> int:
        return max(self._running[hotkey], self._dispatcher.in_flight(hotkey))

    def _gap_seconds(self, turn: Turn) -> float:
        label = b"user" + turn.counter.to_bytes(8, "little")
        mean = self._settings.validator.probe_interval_seconds
        return draw_gap_seconds(period_secret(self._store.master_secret, turn.period), label, mean)

    def _secret(self) -> bytes:
        return period_secret(self._store.master_secret, self._store.period())
