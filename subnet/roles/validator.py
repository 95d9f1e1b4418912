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
from subnet.roles.bursts import BurstLedger
from subnet.roles.dispatcher import Dispatcher
from subnet.roles.faults import FaultJudge
from subnet.roles.joint_prober import JointProber
from subnet.roles.peer import Peer
from subnet.roles.prober import Prober
from subnet.roles.roster import Roster
from subnet.roles.second_opinion import SecondOpinions
from subnet.roles.supervisor import Supervisor
from subnet.roles.user_desk import UserDesk
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
        store, clock = world.store, world.clock
        self.book = StandingBook(store.standings(), world.release.digest(), settings.rules)
        peers: dict[str, Peer] = {}
        ledger = BurstLedger()
        self.faults = FaultJudge(
            client=world.client,
            store=store,
            book=self.book,
            peers=peers,
            scoring=settings.scoring,
            params=settings.faults,
        )
        self.roster = Roster(
            chain=world.chain,
            client=world.client,
            store=store,
            book=self.book,
            peers=peers,
            faults=self.faults,
            own_hotkey=world.signer.hotkey,
            release=world.release,
            clock=clock,
            settings=settings.validator,
        )
        self.dispatcher = Dispatcher(
            client=world.client,
            store=store,
            book=self.book,
            faults=self.faults,
            ledger=ledger,
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
            faults=self.faults,
            settings=settings.validator,
        )
        self.joint_prober = JointProber(
            dispatcher=self.dispatcher,
            store=store,
            book=self.book,
            roster=self.roster,
            ledger=ledger,
            faults=self.faults,
            clock=clock,
            own_hotkey=world.signer.hotkey,
            settings=settings,
        )
        self.desk = UserDesk(
            dispatcher=self.dispatcher,
            store=store,
            book=self.book,
            roster=self.roster,
            settings=settings,
        )
        self._is_capacity_measured = settings.capacity.is_measured
        self._compose_judges(world, ledger)

    def _compose_judges(self, world: World, ledger: BurstLedger) -> None:
        settings = world.settings
        store, chain, clock = world.store, world.chain, world.clock
        self.auditor = Auditor(
            chain=chain,
            referee=world.referee,
            table=world.table,
            canary=world.canary,
            store=store,
            book=self.book,
            ledger=ledger,
            tokenizer=world.tokenizer,
            clock=clock,
            settings=settings,
            sandbox=world.sandbox,
        )
        self.weight_setter = WeightSetter(
            chain=chain,
            store=store,
            book=self.book,
            ledger=ledger,
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
                group.create_task(supervisor.keep("users", self.desk.run)),
                group.create_task(supervisor.keep("audit", self.auditor.run)),
            ]
            if self._is_capacity_measured:
                together = supervisor.keep("joint probe", self.joint_prober.run)
                endless.append(group.create_task(together))
            if self.second_opinions is not None:
                asking = supervisor.keep("second opinion", self.second_opinions.run)
                endless.append(group.create_task(asking))
            await supervisor.keep_until_done("weights", self.weight_setter.run)
            for task in endless:
                task.cancel()
