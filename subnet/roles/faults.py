"""stall -> FAULT JUDGE -> blame: was it the miner, the network, or we ourselves?

Asked only after a stall, so it costs nothing while all is well. One look at the witnesses speaks
for all stalls of the same moment.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from subnet.core.book import StandingBook
from subnet.core.draws import period_secret
from subnet.core.faults import FaultParams, draw_witnesses, is_outage
from subnet.core.scoring import ScoringParams, has_passed_probation
from subnet.core.standing import Blame
from subnet.ports import Fault, MinerClient
from subnet.roles.peer import Peer
from subnet.store import ValidatorStore

STALLS: Final = frozenset({Fault.TIMEOUT, Fault.UNREACHABLE})
"""Faults that the network can cause as well as the miner."""
LOOK_TIMEOUT_SECONDS: Final = 3.0

_log = logging.getLogger(__name__)


class FaultJudge:
    """Tells miners' stalls from the network's and our own."""

    def __init__(
        self,
        *,
        client: MinerClient,
        store: ValidatorStore,
        book: StandingBook,
        peers: Mapping[str, Peer],
        scoring: ScoringParams,
        params: FaultParams,
    ) -> None:
        """`peers` is the roster's own, by hotkey."""
        self._client = client
        self._store = store
        self._book = book
        self._peers = peers
        self._scoring = scoring
        self._params = params
        self._lagged_at = float("-inf")
        self._look: asyncio.Task[bool] | None = None
        self._looked_at = float("-inf")
        self._looks = 0

    def note_lag(self, seconds: float) -> bool:
        """Hear that a timer of ours fired so late; whether that was too late to blame others."""
        is_late = seconds > self._params.lag_seconds_max
        if is_late:
            self._lagged_at = asyncio.get_running_loop().time()
            _log.warning("this machine is overloaded: its loop woke up %.1f s late", seconds)
        return is_late

    async def blame_of_stall(self) -> Blame:
        """Whose fault a stall is that was just seen."""
        now = asyncio.get_running_loop().time()
        if now - self._lagged_at < self._params.outage_seconds:
            return Blame.VERIFIER
        if self._look is None or now - self._looked_at >= self._params.outage_seconds:
            self._looked_at = now
            self._look = asyncio.create_task(self._is_outage())
        return Blame.NETWORK if await asyncio.shield(self._look) else Blame.MINER

    async def _is_outage(self) -> bool:
        owner_of = {
            hotkey: peer.owner
            for hotkey, peer in self._peers.items()
            if has_passed_probation(self._book.standing(hotkey), self._scoring)
        }
        secret = period_secret(self._store.master_secret, self._store.period())
        self._looks += 1
        witnesses = draw_witnesses(secret, self._looks, owner_of, self._params)
        if len(witnesses) < self._params.outage_witnesses_min:
            return False
        cards = await asyncio.gather(
            *(
                self._client.handshake(self._peers[hotkey].endpoint, LOOK_TIMEOUT_SECONDS)
                for hotkey in witnesses
            )
        )
        out_of_reach = sum(card in STALLS for card in cards if isinstance(card, Fault))
        is_out = is_outage(out_of_reach, len(witnesses), self._params)
        if is_out:
            _log.warning(
                "the network is at fault: %d of %d miners are out of reach at once",
                out_of_reach,
                len(witnesses),
            )
        return is_out
