"""VALIDATOR STRATEGIES: an honest validator runs the real roles; a dishonest one bends what it can.

Whatever it bends, it sets weights on the same chain and is paid by the same consensus.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from subnet.sim.chain import ChainHandle, SimChain
from subnet.sim.fleet import Fleet
from subnet.sim.options import BLOCK_SECONDS

HONEST_VALIDATOR: Final = "honest validator"


class ValidatorStrategy:
    """An honest validator; dishonest ones change what they must. One instance, one validator."""

    name = HONEST_VALIDATOR
    summary = "asks, audits and weighs by the rules"
    stake_share: float | None = None
    """Of all stake; None shares the rest equally."""
    friends: tuple[str, ...] = ()
    """Names of the miner strategies that it favours."""
    is_working = True
    """Whether it runs the roles at all."""
    is_leaking = False
    """Whether it tells its friends which requests are benchmarks."""

    def weights(
        self, found: Mapping[int, int], chain: SimChain, friends: frozenset[int]
    ) -> Mapping[int, int]:
        """What it sets instead of what its roles found; `friends` are uids."""
        return found

    async def idle(self, chain: SimChain, hotkey: str) -> None:
        """What it does for ever if it does not work."""


class WeightCopier(ValidatorStrategy):
    """Reads the others' weights and sets them as its own."""

    name = "weight-copying validator"
    summary = "does no work, sets the stake-weighted mean of the weights it can read"
    is_working = False

    async def idle(self, chain: SimChain, hotkey: str) -> None:
        """Late in every epoch, so that what it reads is as fresh as it gets."""
        while True:
            block = await chain.next_epoch()
            last = block + chain.params.tempo_blocks - 2
            await asyncio.sleep((last - chain.block()) * BLOCK_SECONDS)
            shown = chain.shown_weights()
            stakes = {row.hotkey: row.stake_rao for row in chain.metagraph().neurons}
            mean: dict[int, int] = {}
            for other, row in shown.items():
                total = sum(value for _, value in row)
                if other != hotkey and total:
                    for uid, value in row:
                        mean[uid] = mean.get(uid, 0) + stakes[other] * value // total
            if any(mean.values()):
                chain.set_weights(hotkey, mean)


class Liar(ValidatorStrategy):
    """Gives all weight to its friends."""

    name = "lying validator"
    summary = "30 % of the stake, all weight to its own miners"
    stake_share = 0.3
    friends = ("weaker model",)

    def weights(
        self, found: Mapping[int, int], chain: SimChain, friends: frozenset[int]
    ) -> Mapping[int, int]:
        """Its friends alone."""
        return dict.fromkeys(sorted(friends), 1) or found


class Leaker(ValidatorStrategy):
    """Works honestly, and tells a friend what is a benchmark."""

    name = "leaking validator"
    summary = "tells its friend which requests are benchmarks"
    friends = ("friend of a leaking validator",)
    is_leaking = True


DISHONEST: Final[tuple[type[ValidatorStrategy], ...]] = (WeightCopier, Liar, Leaker)


class BentHandle(ChainHandle):
    """The chain as a validator's roles see it; what they set is bent on the way."""

    def __init__(
        self, chain: SimChain, hotkey: str, strategy: ValidatorStrategy, fleet: Fleet
    ) -> None:
        super().__init__(chain, hotkey)
        self._strategy = strategy
        self._fleet = fleet

    async def set_weights(self, weights: Mapping[int, int], version_key: int) -> None:
        """Of this hotkey, as its strategy wants them."""
        names = self._strategy.friends
        friends = frozenset(
            row.uid
            for row in self.chain.metagraph().neurons
            if (operator := self._fleet.of(row.hotkey)) is not None and operator.name in names
        )
        bent = self._strategy.weights(weights, self.chain, friends)
        self.chain.set_weights(self.hotkey, bent)
