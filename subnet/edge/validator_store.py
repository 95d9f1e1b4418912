"""exchange, audit, epoch -> STATE -> restart: `store.ValidatorStore` in one SQLite file.

Each method is one transaction, so a `kill -9` loses nothing but requests in flight. WAL with
synchronous=NORMAL: a killed process loses no commit; only a power cut may undo the last ones, which
costs a few observations, and a flush a commit would stall the loop that times the answers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from protocol.structure import Structure
from subnet.config import ConfigError
from subnet.core.audited import AuditRecord, KeptAnswer, PendingAudit
from subnet.core.bundle import EvidenceRules
from subnet.core.echoes import EchoPool
from subnet.core.gaming import ExchangeMark
from subnet.core.history import EpochRecord, UserPrompt
from subnet.core.packed import Packed
from subnet.core.records import ENDINGS, Lost, Record, Started, Voided, VoidWord
from subnet.core.rules import RuleParams
from subnet.core.second_opinion import OpinionRecord, Verdict
from subnet.core.standing import MinerStanding
from subnet.core.statement import OpenRecords, SignedStatement, TurnRef
from subnet.edge import epoch_rows, ledger_rows, mark_rows, period_rows, prompt_rows
from subnet.edge.fact_rows import fact, increment, save_fact
from subnet.edge.kept_rows import (
    KeptLimits,
    drop_alarm_window,
    keep,
    save_rules,
)
from subnet.edge.opinion_rows import save_opinion
from subnet.edge.state_reader import SCHEMA_VERSION, InUse, StateReader, assert_version, open_engine
from subnet.edge.validator_rows import counts_of, fields, pending_of, pending_row
from subnet.edge.validator_schema import (
    FACTS,
    META,
    PENDING,
    RECORDS,
    STANDINGS,
)

LOOK_SECONDS: Final = 0.25
"""Between two looks for a user's prompt."""
AUDIT_RECORDS_MAX: Final = 10_000
"""Records kept; older ones are dropped with each batch."""
EPOCHS_MAX: Final = 1000
"""Epochs kept one by one; older ones only in their totals."""
STATEMENTS_MAX: Final = 60
"""Statements kept with their records: three days of 72-minute epochs."""
# Built once: to build a statement takes longer than SQLite takes to run it.
_OLDEST_PENDING: Final = (
    sa.select(PENDING).order_by(PENDING.c.sequence).limit(sa.bindparam("answers_max"))
)
_PENDING_COUNT: Final = sa.select(sa.func.count()).select_from(PENDING)
_INSERT_STANDING: Final = insert(STANDINGS)
_SAVE_STANDING: Final = _INSERT_STANDING.on_conflict_do_update(
    index_elements=["hotkey"], set_=dict(_INSERT_STANDING.excluded)
)
"""The one row of its hotkey: what it was on another release moved with it."""


class SqliteValidatorStore(StateReader):
    """The memory of one validator hotkey on one subnet."""

    def __init__(self, path: Path, identity: Mapping[str, str], new_secret: bytes) -> None:
        """Open or create the file, for its owner's eyes only.

        `identity` says whose memory it is (hotkey, subnet); a file of another one is refused.
        `new_secret` becomes the master secret if there is none yet. Raises ConfigError.
        """
        super().__init__(path, open_engine(str(path)))
        self._next_counter = 0
        self._in_flight: dict[int, TurnRef] = {}
        """Due requests without an ending, by counter."""
        self._evidence: tuple[str, KeptLimits] | None = None
        try:
            path.touch(mode=0o600)
            path.chmod(0o600)
            with self._begin() as db:
                self._migrate(db, identity, new_secret)
                self._master_secret = bytes.fromhex(fact(db, "master_secret"))
                self._period = int(fact(db, "period"))
        except (OSError, sa.exc.DBAPIError) as error:
            word = getattr(error, "orig", None) or error
            raise ConfigError(f"cannot use the state file {path}: {word}") from error

    @property
    def master_secret(self) -> bytes:
        """32 bytes that all draws derive from; never leaves this file but for revealed periods."""
        return self._master_secret

    def save_evidence_rules(self, rules: EvidenceRules, limits: KeptLimits) -> None:
        """What the evidence kept from now on rests on; to be said before the first audit."""
        with self._begin() as db:
            self._evidence = save_rules(db, rules), limits

    def reserve_counter(self) -> int:
        """A number that no request had before, across restarts."""
        with self._begin() as db:
            self._next_counter = increment(db, "counter", 1)
        first = self._next_counter - 1
        self._in_flight[first] = TurnRef(period=self._period, counter=first)
        return first

    def period(self) -> int:
        """The period whose secret is in use, from 0."""
        return self._period

    def open_next_period(self) -> int:
        """Move on to the next period, and return it."""
        with self._begin() as db:
            self._period = increment(db, "period", 1)
            period_rows.save_first_counter(db, self._period, int(fact(db, "counter")))
        return self._period

    def save_ending(
        self,
        standing: MinerStanding,
        record: Record,
        pending: PendingAudit | None = None,
        prompt: UserPrompt | None = None,
        mark: ExchangeMark | None = None,
    ) -> None:
        """A request ended: the miner's new standing, why, and what it left behind."""
        with self._begin() as db:
            _save_standing(db, standing)
            ledger_rows.append(db, [record])
            if pending is not None:
                db.execute(PENDING.insert(), pending_row(pending))
            if prompt is not None:
                prompt_rows.save_prompt(db, prompt)
            if mark is not None:
                mark_rows.save_mark(db, mark)
        if isinstance(record, ENDINGS):
            self._in_flight.pop(record.counter, None)

    def pending_audits(self, answers_max: int) -> list[PendingAudit]:
        """The oldest answers that wait."""
        with self._begin() as db:
            rows = db.execute(_OLDEST_PENDING, {"answers_max": answers_max}).mappings()
            return [pending_of(dict(row)) for row in rows]

    def pending_audits_count(self) -> int:
        """How many answers wait."""
        with self._begin() as db:
            return int(db.execute(_PENDING_COUNT).scalar_one())

    def name_draw_block(self, request_ids: Sequence[str], block: int) -> None:
        """Fix the block whose hash will decide the draw of these answers."""
        with self._begin() as db:
            db.execute(
                PENDING.update()
                .where(PENDING.c.request_id.in_(request_ids))
                .values(draw_block=block)
            )

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
        with self._begin() as db:
            for standing in standings:
                _save_standing(db, standing)
            ledger_rows.append(db, records)
            db.execute(PENDING.delete().where(PENDING.c.request_id.in_(done)))
            if audits:
                rows = [{**fields(audit), "counts": counts_of(audit)} for audit in audits]
                db.execute(RECORDS.insert(), rows)
                newest = sa.select(sa.func.max(RECORDS.c.sequence)).scalar_subquery()
                db.execute(RECORDS.delete().where(RECORDS.c.sequence <= newest - AUDIT_RECORDS_MAX))
            if kept:
                assert self._evidence is not None, "evidence without its rules"
                keep(db, kept, *self._evidence)

    def save_opinion(self, standing: MinerStanding, opinion: OpinionRecord, record: Record) -> None:
        """A second opinion decided; the transcripts of a contradicted alarm go."""
        with self._begin() as db:
            _save_standing(db, standing)
            ledger_rows.append(db, [record])
            save_opinion(db, opinion)
            if opinion.verdict is Verdict.CONTRADICTED:
                drop_alarm_window(db, opinion.miner_hotkey)

    def save_epoch(self, epoch: EpochRecord) -> None:
        """Insert, or replace the record of the same epoch block."""
        with self._begin() as db:
            epoch_rows.save_epoch(db, epoch, EPOCHS_MAX)

    def save_moves(self, standings: Sequence[MinerStanding], records: Sequence[Record]) -> None:
        """Standings that moved, and why."""
        with self._begin() as db:
            for standing in standings:
                _save_standing(db, standing)
            ledger_rows.append(db, records)

    def next_burst(self) -> int | None:
        """All intervals below it were due for a burst; None before the first."""
        with self._begin() as db:
            return ledger_rows.next_burst(db)

    def open_records(self) -> OpenRecords:
        """All since the last statement."""
        due = [self._in_flight[counter] for counter in sorted(self._in_flight)]
        with self._begin() as db:
            return ledger_rows.open_records(db, self._next_counter, due)

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
        """Keep a statement with the records it counts, and the pool of the next period; then what
        the weights moved, and why."""
        with self._begin() as db:
            period_rows.save_pool(db, self._period + 1, pool)
            epoch_rows.save_epoch(db, epoch, EPOCHS_MAX)
            ledger_rows.close(db, signed, rules, packed, STATEMENTS_MAX)
            for standing in moved:
                _save_standing(db, standing)
            ledger_rows.append(db, records)

    def begin(self, at_us: int, in_use: InUse) -> None:
        """A process starts: requests that the last one left unfinished are lost."""
        with self._begin() as db:
            save_fact(db, "in_use", in_use.model_dump_json())
            lost = ledger_rows.lost_turns(db)
            ended = [Lost(at_us=at_us, period=one.period, counter=one.counter) for one in lost]
            ledger_rows.append(
                db,
                [
                    Started(at_us=at_us, rules=in_use.rules, release_digest=in_use.release_digest),
                    *ended,
                    *(
                        Voided(at_us=at_us, first=one, last=one, word=VoidWord.STOPPED)
                        for one in sorted(ledger_rows.open_bursts(db))
                    ),
                ],
            )
            self._next_counter = int(fact(db, "counter"))

    def add_prompts(
        self,
        texts: Sequence[str],
        *,
        has_consent: bool = False,
        structure: Structure | None = None,
    ) -> None:
        """Users' own prompts, to be answered once a miner has passed probation.

        One that is there already, with the same structure, is not asked again: a restart repeats
        its flags.
        """
        with self._begin() as db:
            prompt_rows.add_prompts(db, texts, has_consent=has_consent, structure=structure)

    async def until_prompted(self) -> None:
        """Look again and again: nobody tells of what another process writes."""
        while not self.open_prompts():  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(LOOK_SECONDS)

    def _migrate(self, db: sa.Connection, identity: Mapping[str, str], new_secret: bytes) -> None:
        version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version != 0:
            assert_version(self._path, version)
        META.create_all(db)
        db.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        facts = {
            **identity,
            "master_secret": new_secret.hex(),
            "counter": "0",
            "period": "0",
            "next_burst": "",
            "open_bursts": "[]",
        }
        db.execute(
            insert(FACTS).on_conflict_do_nothing(),
            [{"name": name, "value": value} for name, value in facts.items()],
        )
        for name, value in identity.items():
            if fact(db, name) != value:
                raise ConfigError(
                    f"the state file {self._path} belongs to {name} {fact(db, name)}, not {value};"
                    " name another with --state"
                )


def _save_standing(db: sa.Connection, standing: MinerStanding) -> None:
    row = {
        "hotkey": standing.hotkey,
        "release_digest": standing.release_digest,
        "body": standing.model_dump_json(),
    }
    db.execute(_SAVE_STANDING, row)
