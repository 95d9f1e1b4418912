"""ports -> VALIDATOR: its roles, composed once for the process, the tests and the simulator."""

import asyncio
from dataclasses import dataclass

from protocol.release import Release
from subnet.config import Settings
from subnet.core.book import StandingBook
from subnet.core.canary import Canary
from subnet.core.verification.calibration import CalibrationTable
from subnet.ports import (
    Chain,
    Clock,
    Grammars,
    MinerClient,
    Referee,
    Sandbox,
    SecondEngine,
    Signer,
    Tokenizer,
)
from subnet.roles.auditor import Auditor
from subnet.roles.dispatcher import Dispatcher
from subnet.roles.prober import Prober
from subnet.roles.roster import Roster
from subnet.roles.second_opinion import SecondOpinions
from subnet.roles.supervisor import Supervisor
from subnet.roles.weight_setter import WeightSetter
from subnet.store import ValidatorStore


@dataclass(frozen=True, slots=True)
class World:
    """All that a validator touches, and what it goes by."""

    chain: Chain
    client: MinerClient
    referee: Referee
    second_engine: SecondEngine | None
    """None lets alarms close gates by themselves, as `validator.second_opinion` = none says."""
    grammars: Grammars | None
    tokenizer: Tokenizer
    store: ValidatorStore
    clock: Clock
    signer: Signer
    release: Release
    table: CalibrationTable
    canary: Canary
    settings: Settings
    sandbox: Sandbox | None = None
    """None where `draws` asks for nothing whose answers are executed."""


class Validator:
    """A validator's roles over one world."""

    def __init__(self, world: World) -> None:
        settings = world.settings
        store, chain, clock = world.store, world.chain, world.clock
        self.book = StandingBook(store.standings(), world.release.digest(), settings.rules)
        self.roster = Roster(
            chain=chain,
            client=world.client,
            store=store,
            book=self.book,
            own_hotkey=world.signer.hotkey,
            release=world.release,
            clock=clock,
            settings=settings.validator,
        )
        self.dispatcher = Dispatcher(
            client=world.client,
            store=store,
            book=self.book,
            roster=self.roster,
            tokenizer=world.tokenizer,
            grammars=world.grammars,
            clock=clock,
            own_hotkey=world.signer.hotkey,
            release=world.release,
            settings=settings,
        )
        self.prober = Prober(
            dispatcher=self.dispatcher,
            store=store,
            roster=self.roster,
            settings=settings.validator,
        )
        self.auditor = Auditor(
            chain=chain,
            referee=world.referee,
            table=world.table,
            canary=world.canary,
            store=store,
            book=self.book,
            tokenizer=world.tokenizer,
            clock=clock,
            settings=settings,
            sandbox=world.sandbox,
        )
        self.weight_setter = WeightSetter(
            chain=chain,
            store=store,
            book=self.book,
            clock=clock,
            signer=world.signer,
            release=world.release,
            settings=settings,
        )
        self.second_opinions: SecondOpinions | None = None
        if world.second_engine is not None:
            self.second_opinions = SecondOpinions(
                engine=world.second_engine,
                store=store,
                book=self.book,
                clock=clock,
                settings=settings,
            )

    async def run(self, supervisor: Supervisor) -> None:
        """Run all loops until the weight setter has set the weights that it was asked for.

        A defect in any of them ends all, as an ExceptionGroup.
        """
        async with asyncio.TaskGroup() as group:
            endless = [
                group.create_task(supervisor.keep("roster", self.roster.run)),
                group.create_task(supervisor.keep("probe", self.prober.run)),
                group.create_task(supervisor.keep("audit", self.auditor.run)),
            ]
            if self.second_opinions is not None:
                asking = supervisor.keep("second opinion", self.second_opinions.run)
                endless.append(group.create_task(asking))
            await supervisor.keep_until_done("weights", self.weight_setter.run)
            for task in endless:
                task.cancel()
