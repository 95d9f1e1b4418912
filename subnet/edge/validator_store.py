"""exchange, audit, epoch -> STATE -> restart: `ports.ValidatorStore` in one SQLite file.

Each method is one transaction, so a `kill -9` loses nothing but requests in flight. WAL with
synchronous=NORMAL: a killed process loses no commit; only a power cut may undo the last ones, which
costs a few observations, and a flush a commit would stall the loop that times the answers.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.dialects.sqlite import insert

from subnet.config import ConfigError
from subnet.core.audited import AuditRecord, KeptAnswer, PendingAudit
from subnet.core.bundle import EvidenceRules
from subnet.core.draws import period_secret
from subnet.core.history import EpochRecord, UserPrompt
from subnet.core.scoring import ScoringParams
from subnet.core.second_opinion import AlarmWindow, OpinionRecord, Verdict
from subnet.core.standing import MinerStanding
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge import epoch_rows
from subnet.edge.epoch_history import EpochTotals, total_of
from subnet.edge.fact_rows import fact, increment, save_fact
from subnet.edge.kept_rows import (
    KeptLimits,
    KeptWindow,
    alarm_window,
    drop_alarm_window,
    keep,
    kept_windows,
    save_rules,
)
from subnet.edge.opinion_rows import opinions, save_opinion
from subnet.edge.validator_rows import counts_of, fields, pending_of, pending_row
from subnet.edge.validator_schema import (
    FACTS,
    META,
    PENDING,
    PROMPTS,
    RECORDS,
    STANDINGS,
)

SCHEMA_VERSION: Final = 3
AUDIT_RECORDS_MAX: Final = 10_000
"""Records kept; older ones are dropped with each batch."""
EPOCHS_MAX: Final = 1000
"""Epochs kept one by one; older ones only in their totals."""
COUNTERS_AT_ONCE: Final = 64
BUSY_TIMEOUT_SECONDS: Final = 10.0


class Rules(BaseModel):
    """What a reader needs to score standings exactly as their validator does."""

    model_config = ConfigDict(frozen=True)

    scoring: ScoringParams
    evidence: EvidenceParams
    release_digest: str


class StateReader:
    """What others may read while the validator writes: status pages, reports."""

    def __init__(self, path: Path, engine: sa.Engine) -> None:
        self._path = path
        self._engine = engine

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()

    def standings(self) -> list[MinerStanding]:
        """The latest of every hotkey and release. Raises ConfigError for those of another code."""
        with self._begin() as db:
            bodies = db.execute(sa.select(STANDINGS.c.body)).scalars().all()
        try:
            return [MinerStanding.model_validate_json(body) for body in bodies]
        except ValidationError as error:
            raise ConfigError(
                f"the state file {self._path} holds a standing of another format: "
                f"{error.errors()[0]['msg']}; move it away to start afresh"
            ) from error

    def rules(self) -> Rules | None:
        """The parameters that the validator last started with; None before its first start."""
        with self._begin() as db:
            body = db.execute(sa.select(FACTS.c.value).where(FACTS.c.name == "rules")).scalar()
        return None if body is None else Rules.model_validate_json(body)

    def epochs(self) -> list[EpochRecord]:
        """The latest, in order."""
        with self._begin() as db:
            return epoch_rows.epochs(db)

    def epoch_totals(self) -> EpochTotals:
        """Over all epochs, those that are no longer kept included."""
        with self._begin() as db:
            return total_of(epoch_rows.epochs(db), epoch_rows.dropped_totals(db))

    def prompts(self) -> list[UserPrompt]:
        """In order of arrival."""
        query = sa.select(PROMPTS).order_by(PROMPTS.c.prompt_id)
        with self._begin() as db:
            return [UserPrompt(**dict(row)) for row in db.execute(query).mappings()]

    def open_prompts(self) -> list[UserPrompt]:
        """Those without an answer, in order of arrival."""
        query = sa.select(PROMPTS).where(PROMPTS.c.answer.is_(None)).order_by(PROMPTS.c.prompt_id)
        with self._begin() as db:
            return [UserPrompt(**dict(row)) for row in db.execute(query).mappings()]

    def identity(self, name: str) -> str:
        """Whose memory it is, by the word that its validator gave for `name`."""
        with self._begin() as db:
            return fact(db, name)

    def kept_windows(self, miner_hotkey: str) -> list[KeptWindow]:
        """The answers that a hotkey's evidence rests on, the latest window last."""
        with self._begin() as db:
            return kept_windows(db, miner_hotkey)

    def alarm_window(self, miner_hotkey: str, release_digest: str) -> AlarmWindow | None:
        """The answers that a hotkey's last alarm rests on; None if they are not there any more."""
        with self._begin() as db:
            return alarm_window(db, miner_hotkey, release_digest)

    def contradictions(self) -> list[OpinionRecord]:
        """Alarms that the second engine did not share, in order."""
        with self._begin() as db:
            return opinions(db, Verdict.CONTRADICTED)

    def revealed_secrets(self, periods: Collection[int]) -> dict[int, bytes]:
        """The secrets of those of `periods` that are over."""
        with self._begin() as db:
            master, current = bytes.fromhex(fact(db, "master_secret")), int(fact(db, "period"))
        return {period: period_secret(master, period) for period in periods if period < current}

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as db:
            yield db


def open_for_reading(path: Path) -> StateReader | None:
    """The state of a validator, running or not; None if there is none yet.

    Raises ConfigError for a file of another schema.
    """
    if not path.exists():
        return None
    reader = StateReader(path, _engine(f"file:{path}?mode=ro&uri=true"))
    try:
        with reader._begin() as db:
            version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
    except sa.exc.DBAPIError as error:
        raise ConfigError(f"cannot read the state file {path}: {error.orig}") from error
    if version == 0:
        return None
    _assert_version(path, version)
    return reader


class SqliteValidatorStore(StateReader):
    """The memory of one validator hotkey on one subnet."""

    def __init__(self, path: Path, identity: Mapping[str, str], new_secret: bytes) -> None:
        """Open or create the file, for its owner's eyes only.

        `identity` says whose memory it is (hotkey, subnet); a file of another one is refused.
        `new_secret` becomes the master secret if there is none yet. Raises ConfigError.
        """
        super().__init__(path, _engine(str(path)))
        self._counters = range(0)
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

    def save_rules(self, rules: Rules) -> None:
        """Leave word of the parameters in use."""
        with self._begin() as db:
            save_fact(db, "rules", rules.model_dump_json())

    def save_evidence_rules(self, rules: EvidenceRules, limits: KeptLimits) -> None:
        """What the evidence kept from now on rests on; to be said before the first audit."""
        with self._begin() as db:
            self._evidence = save_rules(db, rules), limits

    def reserve_counter(self) -> int:
        """A number that no request had before, across restarts.

        Reserved many at a time; a restart skips those that were left.
        """
        if not self._counters:
            with self._begin() as db:
                end = increment(db, "counter", COUNTERS_AT_ONCE)
            self._counters = range(end - COUNTERS_AT_ONCE, end)
        first, self._counters = self._counters[0], self._counters[1:]
        return first

    def period(self) -> int:
        """The period whose secret is in use, from 0."""
        return self._period

    def open_next_period(self) -> int:
        """Move on to the next period, and return it."""
        with self._begin() as db:
            self._period = increment(db, "period", 1)
        return self._period

    def save_answer(
        self,
        standing: MinerStanding,
        pending: PendingAudit | None = None,
        prompt: UserPrompt | None = None,
    ) -> None:
        """An exchange ended: the miner's new standing, with what it left behind."""
        with self._begin() as db:
            _save_standing(db, standing)
            if pending is not None:
                db.execute(PENDING.insert().values(**pending_row(pending)))
            if prompt is not None:
                row = fields(prompt)
                db.execute(
                    PROMPTS.update()
                    .where(PROMPTS.c.prompt_id == row.pop("prompt_id"))
                    .values(**row)
                )

    def pending_audits(self, answers_max: int) -> list[PendingAudit]:
        """The oldest answers that wait."""
        query = sa.select(PENDING).order_by(PENDING.c.sequence).limit(answers_max)
        with self._begin() as db:
            return [pending_of(dict(row)) for row in db.execute(query).mappings()]

    def pending_audits_count(self) -> int:
        """How many answers wait."""
        with self._begin() as db:
            return int(db.execute(sa.select(sa.func.count()).select_from(PENDING)).scalar_one())

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
        records: Sequence[AuditRecord],
        kept: Sequence[KeptAnswer] = (),
    ) -> None:
        """A batch was audited: standings, records, requests that wait no longer, evidence."""
        with self._begin() as db:
            for standing in standings:
                _save_standing(db, standing)
            db.execute(PENDING.delete().where(PENDING.c.request_id.in_(done)))
            if records:
                rows = [{**fields(record), "counts": counts_of(record)} for record in records]
                db.execute(RECORDS.insert(), rows)
                newest = sa.select(sa.func.max(RECORDS.c.sequence)).scalar_subquery()
                db.execute(RECORDS.delete().where(RECORDS.c.sequence <= newest - AUDIT_RECORDS_MAX))
            if kept:
                assert self._evidence is not None, "evidence without its rules"
                keep(db, kept, *self._evidence)

    def save_opinion(self, standing: MinerStanding, record: OpinionRecord) -> None:
        """A second opinion decided; the transcripts of a contradicted alarm go."""
        with self._begin() as db:
            _save_standing(db, standing)
            save_opinion(db, record)
            if record.verdict is Verdict.CONTRADICTED:
                drop_alarm_window(db, record.miner_hotkey)

    def save_epoch(self, record: EpochRecord, standings: Sequence[MinerStanding] = ()) -> None:
        """Insert, or replace the record of the same epoch block; with standings that it changed."""
        with self._begin() as db:
            epoch_rows.save_epoch(db, record, EPOCHS_MAX)
            for standing in standings:
                _save_standing(db, standing)

    def save_standings(self, standings: Sequence[MinerStanding]) -> None:
        """Replace the latest of their hotkeys and releases."""
        with self._begin() as db:
            for standing in standings:
                _save_standing(db, standing)

    def add_prompts(self, texts: Sequence[str], *, has_consent: bool = False) -> None:
        """Users' own prompts, to be answered once a miner has passed probation.

        A text that is there already is not asked again: a restart repeats its flags.
        """
        with self._begin() as db:
            known = set(db.execute(sa.select(PROMPTS.c.text)).scalars())
            new = [text for text in dict.fromkeys(texts) if text not in known]
            if new:
                db.execute(
                    PROMPTS.insert(), [{"text": text, "has_consent": has_consent} for text in new]
                )

    def _migrate(self, db: sa.Connection, identity: Mapping[str, str], new_secret: bytes) -> None:
        version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version != 0:
            _assert_version(self._path, version)
        META.create_all(db)
        db.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        facts = {
            **identity,
            "master_secret": new_secret.hex(),
            "counter": "0",
            "period": "0",
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


def _assert_version(path: Path, version: int) -> None:
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"the state file {path} has schema version {version}, this code wants "
            f"{SCHEMA_VERSION}; move it away to start afresh, or run the code that wrote it"
        )


def _engine(database: str) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{database}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS}
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        if "mode=ro" not in database:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _save_standing(db: sa.Connection, standing: MinerStanding) -> None:
    row = {
        "hotkey": standing.hotkey,
        "release_digest": standing.release_digest,
        "body": standing.model_dump_json(),
    }
    db.execute(
        insert(STANDINGS)
        .values(**row)
        .on_conflict_do_update(
            index_elements=["hotkey", "release_digest"], set_={"body": row["body"]}
        )
    )
