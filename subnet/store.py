"""What a validator asks of its memory; `subnet.edge.validator_store` answers."""

from collections.abc import Sequence
from typing import Protocol

from protocol.structure import Structure
from subnet.core.audited import AuditRecord, KeptAnswer, PendingAudit
from subnet.core.echoes import EchoPool, PeriodStart
from subnet.core.gaming import ExchangeMark
from subnet.core.history import EpochRecord, UserPrompt
from subnet.core.packed import Packed
from subnet.core.records import Record
from subnet.core.rules import RuleParams
from subnet.core.second_opinion import AlarmWindow, OpinionRecord
from subnet.core.standing import MinerStanding
from subnet.core.statement import OpenRecords, SignedStatement


class ValidatorStore(Protocol):
    """Survives `kill -9`: each method is one transaction, done when it returns."""

    @property
    def master_secret(self) -> bytes: ...

    def standings(self) -> list[MinerStanding]:
        """The latest of every hotkey and release."""
        ...

    def reserve_counter(self) -> int:
        """A number that no request had before, across restarts."""
        ...

    def period(self) -> int: ...

    def open_next_period(self) -> int: ...

    def period_start(self, period: int) -> PeriodStart | None:
        """What was fixed of a period; None if nothing was."""
        ...

    def save_ending(
        self,
        standing: MinerStanding,
        record: Record,
        pending: PendingAudit | None = None,
        prompt: UserPrompt | None = None,
        mark: ExchangeMark | None = None,
    ) -> None:
        """A request ended: the miner's new standing, why, and what it left behind."""
        ...

    def pending_audits(self, answers_max: int) -> list[PendingAudit]:
        """The oldest answers that wait."""
        ...

    def pending_audits_count(self) -> int: ...

    def name_draw_block(self, request_ids: Sequence[str], block: int) -> None: ...

    def save_audits(
        self,
        standings: Sequence[MinerStanding],
        done: Sequence[str],
        audits: Sequence[AuditRecord],
        records: Sequence[Record],
        kept: Sequence[KeptAnswer] = (),
    ) -> None:
        """A batch was audited: standings, what was found, requests that wait no longer, why the
        standings moved, evidence."""
        ...

    def alarm_window(self, miner_hotkey: str, release_digest: str) -> AlarmWindow | None:
        """The answers that a hotkey's last alarm rests on; None if they are not there any more."""
        ...

    def save_opinion(self, standing: MinerStanding, opinion: OpinionRecord, record: Record) -> None:
        """A second opinion decided; the transcripts of a contradicted alarm go."""
        ...

    def save_epoch(self, epoch: EpochRecord) -> None:
        """Insert, or replace the record of the same epoch block."""
        ...

    def save_moves(self, standings: Sequence[MinerStanding], records: Sequence[Record]) -> None:
        """Standings that moved, and why."""
        ...

    def next_burst(self) -> int | None:
        """All intervals below it were due for a burst; None before the first."""
        ...

    def open_records(self) -> OpenRecords:
        """All since the last statement."""
        ...

    def last_statement(self) -> SignedStatement | None: ...

    def statements_head(self) -> bytes | None:
        """Over all statements, 32 bytes; None before the first."""
        ...

    def close_epoch(
        self,
        epoch: EpochRecord,
        signed: SignedStatement,
        rules: RuleParams,
        packed: Packed,
        moved: Sequence[MinerStanding],
        records: Sequence[Record],
        pool: EchoPool,
    ) -> None:
        """Keep a statement with what it closes, made by `rules`, and the pool that it fixes for
        the next period. Then standings that the weights moved, and why."""
        ...

    def epochs(self) -> list[EpochRecord]:
        """In order."""
        ...

    def add_prompts(
        self,
        texts: Sequence[str],
        *,
        has_consent: bool = False,
        structure: Structure | None = None,
    ) -> None:
        """Those that are there already are left out."""
        ...

    async def until_prompted(self) -> None:
        """Return once a prompt is without an answer; whoever adds it may be another process."""
        ...

    def open_prompts(self) -> list[UserPrompt]:
        """Those without an answer, in order of arrival."""
        ...

    def prompts(self) -> list[UserPrompt]:
        """In order of arrival."""
        ...
