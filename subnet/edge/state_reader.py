"""state file -> READER -> status pages, replays: what others read while a validator writes."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError

from subnet.config import ConfigError, first_problem
from subnet.core.checks import EpochFile
from subnet.core.draws import REVEALED_AFTER, period_secret
from subnet.core.echoes import PeriodStart
from subnet.core.gaming import Observation
from subnet.core.history import EpochRecord, UserPrompt
from subnet.core.rules import RuleParams
from subnet.core.second_opinion import AlarmWindow, OpinionRecord, Verdict
from subnet.core.standing import MinerStanding
from subnet.core.statement import SignedStatement
from subnet.edge import epoch_rows, ledger_rows, mark_rows, period_rows, prompt_rows
from subnet.edge.epoch_history import EpochTotals, total_of
from subnet.edge.fact_rows import fact
from subnet.edge.kept_rows import KeptWindow, alarm_window, kept_windows
from subnet.edge.ledger_rows import Closed
from subnet.edge.opinion_rows import opinions
from subnet.edge.validator_schema import FACTS, STANDINGS

SCHEMA_VERSION: Final = 7
NEVER_US: Final = 2**62
BUSY_TIMEOUT_SECONDS: Final = 10.0


class InUse(BaseModel):
    """What a reader needs to score standings exactly as their validator does."""

    model_config = ConfigDict(frozen=True)

    rules: RuleParams
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
                f"{first_problem(error)}; move it away to start afresh"
            ) from error

    def in_use(self) -> InUse | None:
        """What the validator last started with; None before its first start."""
        with self._begin() as db:
            body = db.execute(sa.select(FACTS.c.value).where(FACTS.c.name == "in_use")).scalar()
        return None if body is None else InUse.model_validate_json(body)

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
        with self._begin() as db:
            return prompt_rows.prompts(db)

    def open_prompts(self) -> list[UserPrompt]:
        """Those without an answer, in order of arrival."""
        with self._begin() as db:
            return prompt_rows.prompts(db, only_open=True)

    def observations(self) -> list[Observation]:
        """What is kept of the latest exchanges, in order."""
        with self._begin() as db:
            return mark_rows.observations(db)

    def period_start(self, period: int) -> PeriodStart | None:
        """What was fixed of a period; None if nothing was."""
        with self._begin() as db:
            return period_rows.period_start(db, period)

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

    def statements_head(self) -> bytes | None:
        """The head over all statements; None before the first."""
        with self._begin() as db:
            return ledger_rows.statements_head(db)

    def last_statement(self) -> SignedStatement | None:
        """What the validator last signed."""
        with self._begin() as db:
            return ledger_rows.last_statement(db)

    def closed_epochs(self, at_us_max: int = NEVER_US) -> list[int]:
        """The epoch blocks whose statements are kept, in order; those closed by then."""
        with self._begin() as db:
            return ledger_rows.closed_epochs(db, at_us_max)

    def last_closed(self, at_us_max: int = NEVER_US) -> Closed | None:
        """What the latest epoch ended with, of those closed by then."""
        with self._begin() as db:
            return ledger_rows.last_closed(db, at_us_max)

    def epoch_file(self, epoch_block: int) -> EpochFile | None:
        """A statement with all that it rests on; None if that is not there any more."""
        with self._begin() as db:
            master = bytes.fromhex(fact(db, "master_secret"))
            return ledger_rows.epoch_file(
                db, epoch_block, lambda period: period_secret(master, period)
            )

    def revealed_secrets(self, periods: Collection[int]) -> dict[int, bytes]:
        """The secrets of those of `periods` that are over."""
        with self._begin() as db:
            master, current = bytes.fromhex(fact(db, "master_secret")), int(fact(db, "period"))
        return {
            period: period_secret(master, period)
            for period in periods
            if period <= current - REVEALED_AFTER
        }

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as db:
            yield db


def open_for_reading(path: Path) -> StateReader | None:
    """The state of a validator, running or not; None if there is none yet.

    Raises ConfigError for a file of another schema, and for what is no state file.
    """
    if not path.exists():
        return None
    if path.is_dir():
        raise ConfigError(f"cannot read the state file {path}: it is a folder")
    reader = StateReader(path, open_engine(f"file:{path}?mode=ro&uri=true"))
    with damage_named(path), reader._begin() as db:
        version = int(db.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version == 0:
        return None
    assert_version(path, version)
    return reader


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Inside, a file that is no database, damaged or locked raises ConfigError."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise ConfigError(f"cannot read the state file {path}: {error.orig}") from error


def assert_version(path: Path, version: int) -> None:
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"the state file {path} has schema version {version}, this code wants "
            f"{SCHEMA_VERSION}; move it away to start afresh, or run the code that wrote it"
        )


def open_engine(database: str) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{database}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS}
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        if "mode=ro" not in database:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine
