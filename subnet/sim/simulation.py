"""options, strategies -> SIMULATION -> result: a whole subnet in one process, on virtual time.

The roles and rules are those that run in production; only what they touch is simulated.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from subnet.config import Settings
from subnet.core.bundle import EvidenceRules
from subnet.core.verification.calibration import CalibrationTable
from subnet.roles.supervisor import Supervisor
from subnet.roles.validator import Validator, World
from subnet.sim.answers import (
    Answers,
    LookingReferee,
    LookingSecondEngine,
    NoGrammars,
    NoSandbox,
    SimTokenizer,
    make_canary,
    simulated_release,
)
from subnet.sim.chain import EpochOutcome, SimChain
from subnet.sim.client import SimClient
from subnet.sim.dice import address, dice
from subnet.sim.fleet import Fleet
from subnet.sim.loop import START_SECONDS, LoopClock, run_virtual
from subnet.sim.network import Network
from subnet.sim.options import SimOptions, paced
from subnet.sim.prices import Prices
from subnet.sim.profiles import Profiles
from subnet.sim.store import MemoryStore
from subnet.sim.strategy import Kit, Strategy, StrategyError
from subnet.sim.validators import BentHandle, ValidatorStrategy

STAKE_RAO: Final = 1_000_000_000_000_000
"""Of all validators together."""
GC_THRESHOLDS: Final = (200_000, 50, 1000)
"""Evidence that is kept is no garbage: looking through it took a fifth of a long run."""
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Laboratory:
    """What every run rests on: measured answers, the release's table, prices."""

    profiles: Profiles
    table: CalibrationTable
    prices: Prices


class _NoKey:
    """`ports.Signer` without a key: nobody checks a signature here."""

    def __init__(self, hotkey: str) -> None:
        self.hotkey = hotkey

    def sign(self, message: bytes) -> str:
        return "0" * 128


@dataclass
class SimValidator:
    """One validator of a run."""

    hotkey: str
    strategy: ValidatorStrategy
    stake_rao: int
    store: MemoryStore
    client: SimClient
    roles: Validator | None


class Simulation:
    """One run. Build it anew for each."""

    def __init__(
        self,
        lab: Laboratory,
        options: SimOptions,
        settings: Settings,
        entrants: Sequence[Strategy],
        validators: Sequence[ValidatorStrategy] = (),
    ) -> None:
        """`entrants` are one operator each; honest ones fill up to `options.miners` hotkeys, and
        honest validators up to `options.validators`."""
        draws = settings.draws
        self.lab = replace(lab, table=lab.table.for_draws(draws.families, draws.tier))
        self.options = options
        self.settings = paced(settings, options)
        self._validators = [
            *validators,
            *(ValidatorStrategy() for _ in range(options.validators - len(validators))),
        ]
        self._entrants = list(entrants)
        taken = sum(one.hotkeys for one in entrants)
        assert taken < options.miners, "somebody has to be honest"
        self._entrants += [Strategy() for _ in range(options.miners - taken)]

    def run(self, advance: Advance = lambda _: None) -> "Simulation":
        """Run it to its end; `advance` is told of every epoch.

        Raises StrategyError if a strategy broke.
        """
        logger, thresholds = logging.getLogger("subnet.roles"), gc.get_threshold()
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            run_virtual(self._run(advance))
        except ExceptionGroup as group:
            broken = group.subgroup(lambda one: isinstance(one, StrategyError))
            if broken is None:
                raise
            raise _first_leaf(broken) from group
        finally:
            gc.set_threshold(*thresholds)
            logger.setLevel(level)
        return self

    async def _run(self, advance: Advance) -> None:
        options, seed = self.options, self.options.seed
        self.chain = SimChain(options.chain, options.miners + options.validators, seed)
        self.answers = Answers()
        pair = self.lab.table.pairs[0]
        self.referee = LookingReferee(self.answers, pair.referee)
        self.release = simulated_release(self.lab.profiles)
        self.fleet = Fleet(self.chain, self.release, pair.miner, self.lab.prices, seed)
        self.network = Network(options.network, options.hours, seed)
        self.canary = make_canary(self.answers, self.lab.profiles)
        stakes = _stakes(self._validators)
        self.validators = [
            self._validator(number, strategy, stakes[number])
            for number, strategy in enumerate(self._validators)
        ]
        kit = Kit(self.lab.table, self.settings.evidence)
        for place in dice(seed, "order").permutation(len(self._entrants)):
            self._entrants[place].kit = kit
            self.fleet.enter(self._entrants[place])
        self.chain.watchers += [self._bill, lambda _: advance(1)]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._live(one)) for one in self.validators]
            if options.prompts_per_hour:
                running.append(group.create_task(self._ask_as_users()))
            await self.chain.run(options.epochs)
            for task in running:
                task.cancel()

    def _validator(self, number: int, strategy: ValidatorStrategy, stake_rao: int) -> SimValidator:
        hotkey = address(self.options.seed, "validator", number)
        owner = address(self.options.seed, "staker", number)
        self.chain.register(hotkey, owner, has_endpoint=False, stake_rao=stake_rao)
        settings = self.settings
        rules = EvidenceRules(
            release=self.release,
            table=self.lab.table,
            evidence=settings.evidence,
            audit=settings.audit,
        )
        secret = dice(self.options.seed, "secret", number).bytes(32)
        store = MemoryStore(secret, rules, settings.validator.evidence_answers_max)
        client = SimClient(
            hotkey=hotkey,
            store=store,
            fleet=self.fleet,
            network=self.network,
            answers=self.answers,
            profiles=self.lab.profiles,
            draws=settings.draws,
        )
        if strategy.is_leaking:
            client.friends = frozenset(strategy.friends)
        has_second = settings.validator.second_opinion != "none"
        roles = Validator(
            World(
                chain=BentHandle(self.chain, hotkey, strategy, self.fleet),
                client=client,
                referee=self.referee,
                second_engine=LookingSecondEngine(self.referee, self.canary)
                if has_second
                else None,
                grammars=NoGrammars(),
                tokenizer=SimTokenizer(self.answers),
                store=store,
                clock=LoopClock(),
                signer=_NoKey(hotkey),
                release=self.release,
                table=self.lab.table,
                canary=self.canary,
                settings=settings,
                sandbox=NoSandbox(),
            )
        )
        return SimValidator(
            hotkey, strategy, stake_rao, store, client, roles if strategy.is_working else None
        )

    async def _live(self, validator: SimValidator) -> None:
        if validator.roles is None:
            await validator.strategy.idle(self.chain, validator.hotkey)
        else:
            settings = self.settings.validator
            pauses = settings.restart_delay_seconds, settings.restart_delay_seconds_max
            await validator.roles.run(Supervisor(*pauses))

    async def _ask_as_users(self) -> None:
        """Users' own prompts, at every working validator."""
        chance = dice(self.options.seed, "users")
        number = 0
        while True:
            await asyncio.sleep(chance.exponential(3600 / self.options.prompts_per_hour))
            for validator in self.validators:
                number += 1
                validator.store.add_prompts([f"a user's question, number {number}"])

    def _bill(self, outcome: EpochOutcome) -> None:
        now = asyncio.get_running_loop().time() - START_SECONDS
        self.fleet.after_epoch(now, self.options.epoch_seconds)


def _first_leaf(error: Exception) -> Exception:
    return _first_leaf(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def _stakes(validators: Sequence[ValidatorStrategy]) -> list[int]:
    fixed = sum(one.stake_share or 0.0 for one in validators)
    others = sum(one.stake_share is None for one in validators)
    return [round(STAKE_RAO * (one.stake_share or (1.0 - fixed) / others)) for one in validators]
