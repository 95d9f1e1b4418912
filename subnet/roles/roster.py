"""metagraph -> handshake -> ROSTER -> prober: which miners can be asked, and where.

Anyone with a published address counts as a miner. One that withdrew its address, refuses to shake
hands or serves another release cannot be asked; if it was scored before, each look at it counts
as a missed request, or it could keep its score by hiding. One that is dead or stalls rests before
it is called again, twice as long each time, so that it costs the others nothing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from protocol.handshake import MinerCard
from protocol.release import Release
from subnet.config import ValidatorSettings
from subnet.core.book import StandingBook
from subnet.core.records import MILLI, MISSED_REQUESTS_MILLI_MAX, Missed
from subnet.core.standing import Blame
from subnet.ports import (
    Chain,
    Clock,
    DeregisteredError,
    Endpoint,
    Fault,
    Metagraph,
    MinerClient,
    Neuron,
)
from subnet.roles.faults import STALLS, FaultJudge
from subnet.roles.peer import Peer
from subnet.store import ValidatorStore

HANDSHAKE_TIMEOUT_SECONDS: Final = 3.0
HANDSHAKES_AT_ONCE: Final = 32
NO_ENDPOINT: Final = "NO_ENDPOINT"
RESTING: Final = "RESTING"
OTHER_RELEASE: Final = "OTHER_RELEASE"

_log = logging.getLogger(__name__)


class Roster:
    """The miners that can be asked."""

    def __init__(
        self,
        *,
        chain: Chain,
        client: MinerClient,
        store: ValidatorStore,
        book: StandingBook,
        peers: dict[str, Peer],
        faults: FaultJudge,
        own_hotkey: str,
        release: Release,
        clock: Clock,
        settings: ValidatorSettings,
    ) -> None:
        """`peers`, by hotkey, is shared with the judge of faults and kept up to date here."""
        self._chain = chain
        self._client = client
        self._store = store
        self._book = book
        self._own_hotkey = own_hotkey
        self._release_digest = release.digest()
        self._clock = clock
        self._settings = settings
        self._is_permit_missing = False
        self.peers = peers
        self.validators: tuple[str, ...] = ()
        """Hotkeys with a permit, the largest stake first."""
        self._faults = faults
        self._on_change: list[Callable[[], None]] = []
        self._failures: Counter[str] = Counter()
        """Failed calls in a row, by hotkey."""
        self._resting: dict[Endpoint, float] = {}
        """Until when; a miner that moved is called at its new address at once."""

    async def run(self) -> None:
        """Keep the list fresh. Raises ChainError, DeregisteredError."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._settings.metagraph_refresh_seconds)

    async def refresh(self) -> None:
        """One look at the chain, and at every miner that is new, moved or due."""
        metagraph = await self._chain.metagraph()
        own = metagraph.neuron(self._own_hotkey)
        if own is None:
            raise DeregisteredError(
                f"hotkey {self._own_hotkey} is registered on subnet {metagraph.netuid} no more "
                f"(block {metagraph.block}); register it again, then start the validator"
            )
        if not own.has_validator_permit:
            self._say_permit_is_missing(metagraph)
            self.peers.clear()
            self._say_changed()
            return
        self._is_permit_missing = False
        permitted = [row for row in metagraph.neurons if row.has_validator_permit]
        permitted.sort(key=lambda row: (-row.stake_rao, row.hotkey))
        self.validators = tuple(row.hotkey for row in permitted)
        neurons = [row for row in metagraph.neurons if row.hotkey != self._own_hotkey]
        for hotkey in self.peers.keys() - {row.hotkey for row in neurons if row.endpoint}:
            del self.peers[hotkey]
        present = {row.endpoint for row in neurons}
        self._resting = {one: until for one, until in self._resting.items() if one in present}
        slots = asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for row in neurons:
                group.create_task(self._look_at(row, slots))
        self._say_changed()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Have a function called after each look at the chain, and when a miner goes to rest."""
        self._on_change.append(on_change)

    def rest(self, hotkey: str) -> None:
        """Leave a miner alone for a while: a refresh at first, then twice as long each time."""
        peer = self.peers.pop(hotkey, None)
        if peer is not None:
            self._rest(peer.endpoint)
            self._say_changed()

    def _say_changed(self) -> None:
        for on_change in self._on_change:
            on_change()

    def clear(self, hotkey: str) -> None:
        """A miner answered: its next rest is short again."""
        del self._failures[hotkey]

    def _rest(self, endpoint: Endpoint) -> None:
        seconds = min(
            self._settings.metagraph_refresh_seconds
            * 2.0 ** min(self._failures[endpoint.hotkey], 30),
            self._settings.handshake_interval_seconds,
        )
        self._failures[endpoint.hotkey] += 1
        self._resting[endpoint] = asyncio.get_running_loop().time() + seconds
        _log.info("miner %s rests for %.0f s", endpoint.hotkey, seconds)

    async def _look_at(self, row: Neuron, slots: asyncio.Semaphore) -> None:
        if row.endpoint is None:
            self._miss(row.hotkey, NO_ENDPOINT, Blame.MINER)
            return
        now = asyncio.get_running_loop().time()
        peer = self.peers.get(row.hotkey)
        if (
            peer is not None
            and peer.endpoint == row.endpoint
            and now - peer.asked_at < self._settings.handshake_interval_seconds
        ):
            return
        if now < self._resting.get(row.endpoint, now):
            self._miss(row.hotkey, RESTING, Blame.MINER)
            return
        self._resting.pop(row.endpoint, None)
        async with slots:
            card = await self._client.handshake(row.endpoint, HANDSHAKE_TIMEOUT_SECONDS)
        await self._take(row.endpoint, row.coldkey, card, now)

    async def _take(
        self, endpoint: Endpoint, owner: str, card: MinerCard | Fault, now: float
    ) -> None:
        if isinstance(card, MinerCard) and card.release.digest() == self._release_digest:
            if endpoint.hotkey not in self.peers:
                _log.info("miner %s serves the release", endpoint.hotkey)
            slots = card.concurrent_requests_max
            self.peers[endpoint.hotkey] = Peer(endpoint, owner, slots, now)
            return
        if isinstance(card, Fault) and card in STALLS and endpoint.hotkey in self.peers:
            blame = await self._faults.blame_of_stall()
            if blame is not Blame.MINER:
                self._miss(endpoint.hotkey, f"HANDSHAKE_{card}", blame)
                return
        self.peers.pop(endpoint.hotkey, None)
        if isinstance(card, MinerCard):
            self._miss(endpoint.hotkey, OTHER_RELEASE, Blame.MINER)
        else:
            if card is not Fault.REFUSED:
                self._rest(endpoint)
            # A refusal may be ours: a miner learns of a new permit only at its next refresh.
            blame = Blame.BACK_PRESSURE if card is Fault.REFUSED else Blame.MINER
            self._miss(endpoint.hotkey, f"HANDSHAKE_{card}", blame)

    def _miss(self, hotkey: str, word: str, blame: Blame) -> None:
        """Count a miner that cannot be asked, if it has anything to lose."""
        standing = self._book.standing(hotkey)
        if standing.requests == 0:
            return
        missed_requests = (
            self._settings.metagraph_refresh_seconds / self._settings.probe_interval_seconds
        )
        record = Missed(
            at_us=self._clock.now_ns() // 1000,
            miner_hotkey=hotkey,
            word=word,
            blame=blame,
            missed_requests_milli=min(round(missed_requests * MILLI), MISSED_REQUESTS_MILLI_MAX),
        )
        missed = self._book.after(record)
        self._store.save_moves([missed], [record])
        self._book.put([missed])

    def _say_permit_is_missing(self, metagraph: Metagraph) -> None:
        if not self._is_permit_missing:
            self._is_permit_missing = True
            _log.warning(
                "no validator permit on subnet %d at block %d: miners would refuse us; waiting "
                "(permits go to the largest stakes, at the next epoch)",
                metagraph.netuid,
                metagraph.block,
            )
