"""operators -> FLEET -> client: simulated miners, their engines, and what they cost."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from protocol.handshake import MinerCard
from protocol.inference import Environment
from protocol.release import Release
from subnet.ports import ChainError
from subnet.sim.chain import SimChain
from subnet.sim.dice import address, dice
from subnet.sim.options import STREAMS_SCALE
from subnet.sim.prices import Gpu, Prices
from subnet.sim.profiles import MeasuredAnswer
from subnet.sim.strategy import Strategy

SHARE_MIN = 0.01
"""Of a GPU: what whoever answers nothing pays for being there."""
REQUEST_SECONDS = 0.02
"""What an engine needs for a request besides its tokens."""


@dataclass
class SimEngine:
    """One GPU with continuous batching: alone an answer is fast, together they share its tokens."""

    name: str
    gpu: Gpu
    share: float = 1.0
    """Of a GPU, or several."""
    running: int = 0

    @property
    def offered(self) -> int:
        """Simulated requests at once that it serves within the bars."""
        return max(1, round(self.gpu.concurrent_requests_max * self.share / STREAMS_SCALE))

    @property
    def slots(self) -> int:
        """Those that it takes: one stands for four, so the smallest has a place to spare."""
        return max(2, self.offered)

    def times_seconds(self, answer: MeasuredAnswer) -> tuple[float, float]:
        """(until the first token, between two tokens) of an answer that starts now."""
        gap = max(
            1.0 / self.gpu.stream_tokens_per_second,
            self.running * STREAMS_SCALE / (self.gpu.tokens_per_second_max * self.share),
        )
        prefill = answer.prompt_tokens / self.gpu.prefill_tokens_per_second
        return REQUEST_SECONDS + prefill + gap, gap


@dataclass
class Operator:
    """Whoever runs one strategy: its hotkeys, its engine, its bill."""

    number: int
    strategy: Strategy
    engine: SimEngine
    chance: np.random.Generator
    chain: SimChain
    seed: int
    hotkeys: list[str] = field(default_factory=list)
    """All that it ever registered, the newest last."""
    active: list[str] = field(default_factory=list)
    honest_seconds: float = 0.0
    """GPU seconds of all that it was asked, had it answered honestly."""
    used_seconds: float = 0.0
    gpu_seconds: float = 0.0
    """Rented."""
    enrolled: Callable[["Operator", str], None] = lambda operator, hotkey: None

    @property
    def name(self) -> str:
        """Its strategy's."""
        return self.strategy.name

    def enrol(self) -> str | None:
        """Register one more hotkey; None if the chain has no place."""
        hotkey = address(self.seed, "miner", self.number, len(self.hotkeys))
        try:
            self.chain.register(hotkey, address(self.seed, "owner", self.number))
        except ChainError:
            return None
        self.hotkeys.append(hotkey)
        self.active.append(hotkey)
        self.enrolled(self, hotkey)
        return hotkey

    def leave(self, hotkey: str) -> None:
        """Serve under a hotkey no more."""
        self.active.remove(hotkey)

    def note(self, answer: MeasuredAnswer, share: float) -> None:
        """Bill one answer, or what it would have been: `share` is 0 where none was given."""
        gpu = self.engine.gpu
        seconds = (
            answer.prompt_tokens / gpu.prefill_tokens_per_second
            + answer.tokens / gpu.tokens_per_second_max
        )
        self.honest_seconds += seconds
        self.used_seconds += seconds * share

    def cost_usd(self) -> float:
        """Rented GPUs, less what its answers did not need: the cheat's most favourable bill.

        A GPU is rented for the load of one hotkey; answers that took half as long need half of it,
        and so does who refuses half.
        """
        one_hotkey = self.honest_seconds / self.strategy.hotkeys
        share = min(1.0, self.used_seconds / one_hotkey) if one_hotkey else 1.0
        share = max(share, SHARE_MIN)
        return self.gpu_seconds / 3600 * self.engine.gpu.usd_per_hour * share


class Fleet:
    """Every miner of a run, by hotkey."""

    def __init__(
        self, chain: SimChain, release: Release, environment: Environment, prices: Prices, seed: int
    ) -> None:
        self.release = release
        self.environment = environment
        self.prices = prices
        self.operators: list[Operator] = []
        self._chain = chain
        self._seed = seed
        self._by_hotkey: dict[str, Operator] = {}
        self._cards: dict[str, MinerCard] = {}

    def enter(self, strategy: Strategy) -> Operator:
        """A new operator with all its hotkeys."""
        number = len(self.operators)
        operator = Operator(
            number=number,
            strategy=strategy,
            engine=SimEngine(
                f"engine {number}", self.prices.named(strategy.gpu), strategy.engine_share
            ),
            chance=dice(self._seed, "operator", number),
            chain=self._chain,
            seed=self._seed,
            enrolled=self._put,
        )
        self.operators.append(operator)
        for _ in range(strategy.hotkeys):
            assert operator.enrol() is not None, "a fresh subnet has places for all"
        return operator

    def of(self, hotkey: str) -> Operator | None:
        """Who serves under a hotkey."""
        operator = self._by_hotkey.get(hotkey)
        return operator if operator is not None and hotkey in operator.active else None

    def card(self, hotkey: str) -> MinerCard:
        """What a hotkey promises."""
        if hotkey not in self._cards:
            operator = self._by_hotkey[hotkey]
            offered = operator.engine.offered
            self._cards[hotkey] = MinerCard(
                nonce="0" * 64,
                miner_hotkey=hotkey,
                release=self.release,
                environment=self.environment,
                concurrent_requests_max=max(1, round(offered * operator.strategy.declared_factor)),
            )
        return self._cards[hotkey]

    def named(self, name: str) -> Iterable[Operator]:
        """The operators of one strategy."""
        return (one for one in self.operators if one.name == name)

    def after_epoch(self, now_seconds: float, seconds: float) -> None:
        """Bill the epoch and let every operator think."""
        for operator in self.operators:
            strategy = operator.strategy
            operator.gpu_seconds += strategy.gpus(now_seconds) * strategy.engine_share * seconds
            strategy.epoch(operator)

    def _put(self, operator: Operator, hotkey: str) -> None:
        self._by_hotkey[hotkey] = operator
