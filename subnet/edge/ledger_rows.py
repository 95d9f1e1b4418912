"""records, statements <-> ROWS: the open records one by one, those of past epochs as one blob each.

An epoch's records shrink tenfold when deflated together, and nobody reads one of them alone.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from subnet.core.audit import Traffic
from subnet.core.checks import EpochFile
from subnet.core.records import ENDINGS, RECORD, Record
from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding
from subnet.core.statement import EpochStatement, OpenRecords, SignedStatement, TurnRef, Unaudited
from subnet.edge.fact_rows import fact
from subnet.edge.validator_schema import LEDGER, PENDING, STATEMENTS


def append(db: sa.Connection, records: Sequence[Record]) -> None:
    """Add records, in order."""
    if records:
        rows = [
            {
                "counter": record.counter if isinstance(record, ENDINGS) else None,
                "body": record.to_bytes(),
            }
            for record in records
        ]
        db.execute(LEDGER.insert(), rows)


def open_records(
    db: sa.Connection, next_counter: int, open_turns: Sequence[TurnRef]
) -> OpenRecords:
    """All since the last statement; `open_turns` are due and without an ending."""
    lines = db.execute(sa.select(LEDGER.c.body).order_by(LEDGER.c.sequence)).scalars()
    pending = sa.select(PENDING.c.counter, PENDING.c.traffic).order_by(PENDING.c.sequence)
    waiting = tuple(
        Unaudited(counter=row.counter, traffic=Traffic(row.traffic)) for row in db.execute(pending)
    )
    return OpenRecords(tuple(lines), next_counter, tuple(open_turns), waiting)


def last_statement(db: sa.Connection) -> SignedStatement | None:
    """The latest."""
    query = sa.select(STATEMENTS.c.body).order_by(STATEMENTS.c.sequence.desc()).limit(1)
    body = db.execute(query).scalar()
    return None if body is None else SignedStatement.model_validate_json(body)


def close(
    db: sa.Connection,
    signed: SignedStatement,
    rules: RuleParams,
    standings: Sequence[MinerStanding],
    epochs_max: int,
) -> None:
    """Move the records that the statement counts out of the open ones."""
    count = signed.statement.records
    query = sa.select(LEDGER).order_by(LEDGER.c.sequence).limit(count)
    rows = db.execute(query).all()
    assert len(rows) == count, "records are only ever added"
    if rows:
        db.execute(LEDGER.delete().where(LEDGER.c.sequence <= rows[-1].sequence))
    db.execute(
        STATEMENTS.insert().values(
            epoch_block=signed.statement.epoch_block,
            at_us=signed.statement.at_us,
            body=signed.model_dump_json(),
            rules=rules.model_dump_json(),
            standings=_deflated([one.model_dump_json().encode() for one in standings]),
            records=_deflated([row.body for row in rows]),
        )
    )
    kept = sa.select(STATEMENTS.c.sequence).order_by(STATEMENTS.c.sequence.desc())
    oldest = db.execute(kept.offset(epochs_max).limit(1)).scalar()
    if oldest is not None:
        db.execute(STATEMENTS.delete().where(STATEMENTS.c.sequence <= oldest))


def closed_epochs(db: sa.Connection, at_us_max: int) -> list[int]:
    """The epoch blocks whose statements are kept and were closed by `at_us_max`, in order."""
    query = sa.select(STATEMENTS.c.epoch_block).order_by(STATEMENTS.c.sequence)
    query = query.where(STATEMENTS.c.at_us <= at_us_max)
    return list(db.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Closed:
    """What one epoch ended with."""

    statement: EpochStatement
    rules: RuleParams
    standings: tuple[MinerStanding, ...]


def last_closed(db: sa.Connection, at_us_max: int) -> Closed | None:
    """The latest epoch that was closed by `at_us_max`."""
    query = sa.select(STATEMENTS).where(STATEMENTS.c.at_us <= at_us_max)
    row = db.execute(query.order_by(STATEMENTS.c.sequence.desc()).limit(1)).first()
    if row is None:
        return None
    signed = SignedStatement.model_validate_json(row.body)
    rules = RuleParams.model_validate_json(row.rules)
    return Closed(signed.statement, rules, tuple(_standings(row.standings)))


def epoch_file(
    db: sa.Connection, epoch_block: int, secret_of: Callable[[int], bytes]
) -> EpochFile | None:
    """One of them, to be handed out; None if it, or the one that it follows, is not there.

    `secret_of` gives the secrets of periods that are over.
    """
    query = sa.select(STATEMENTS).where(STATEMENTS.c.epoch_block == epoch_block)
    row = db.execute(query.order_by(STATEMENTS.c.sequence.desc())).first()
    if row is None:
        return None
    signed = SignedStatement.model_validate_json(row.body)
    earlier = STATEMENTS.c.sequence < row.sequence
    latest = STATEMENTS.c.sequence.desc()
    last = db.execute(sa.select(STATEMENTS).where(earlier).order_by(latest).limit(1)).first()
    if (last is None) is not (signed.statement.previous is None):
        return None
    lines = tuple(_inflated(row.records))
    periods = {record.period for line in lines if isinstance(record := _parsed(line), ENDINGS)}
    period = int(fact(db, "period"))
    return EpochFile(
        signed=signed,
        previous=None if last is None else SignedStatement.model_validate_json(last.body),
        rules=RuleParams.model_validate_json(row.rules),
        before=() if last is None else tuple(_standings(last.standings)),
        lines=lines,
        secrets={one: secret_of(one) for one in sorted(periods) if one < period},
    )


def _parsed(line: bytes) -> Record:
    return RECORD.validate_json(line)


def _standings(blob: bytes) -> list[MinerStanding]:
    return [MinerStanding.model_validate_json(line) for line in _inflated(blob)]


def lost_turns(db: sa.Connection) -> list[TurnRef]:
    """Due requests that a process left without an ending; of its own period, as far as is known."""
    before = last_statement(db)
    period, end = int(fact(db, "period")), int(fact(db, "counter"))
    due = {} if before is None else {one.counter: one for one in before.statement.in_flight}
    first = 0 if before is None else before.statement.next_counter
    due |= {counter: TurnRef(period=period, counter=counter) for counter in range(first, end)}
    ended = db.execute(sa.select(LEDGER.c.counter).where(LEDGER.c.counter.is_not(None))).scalars()
    for counter in ended:
        due.pop(counter, None)
    return [due[counter] for counter in sorted(due)]


def _deflated(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"".join(line + b"\n" for line in lines))


def _inflated(blob: bytes) -> list[bytes]:
    return zlib.decompress(blob).splitlines()
