"""records, statements <-> ROWS: open records one by one, those of past epochs as one blob each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from subnet.core.audit import Traffic
from subnet.core.checks import EpochFile
from subnet.core.draws import REVEALED_AFTER
from subnet.core.packed import Packed, unpacked
from subnet.core.records import (
    ENDINGS,
    RECORD,
    Audited,
    Begun,
    Measured,
    PassedOver,
    Record,
    Voided,
    next_burst_after,
)
from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding
from subnet.core.statement import (
    EpochStatement,
    OpenRecords,
    SignedStatement,
    TurnRef,
    Unaudited,
    head_after,
)
from subnet.edge import period_rows
from subnet.edge.fact_rows import fact, save_fact
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
    _note_bursts(db, records)


def next_burst(db: sa.Connection) -> int | None:
    """All intervals below it were due for a burst; None before the first."""
    value = fact(db, "next_burst")
    return int(value) if value else None


def _note_bursts(db: sa.Connection, records: Sequence[Record]) -> None:
    """Keep account of the intervals, and of the bursts that began and have no end yet."""
    noted = [one for one in records if isinstance(one, Begun | Voided | Measured)]
    if not noted:
        return
    upcoming, open_ones = next_burst(db), open_bursts(db)
    for record in noted:
        if isinstance(record, Begun):
            open_ones.add(record.burst)
        elif isinstance(record, Measured):
            open_ones.discard(record.result.burst)
        else:
            open_ones = {one for one in open_ones if not record.first <= one <= record.last}
    upcoming = next_burst_after(noted, upcoming)
    save_fact(db, "next_burst", "" if upcoming is None else str(upcoming))
    save_fact(db, "open_bursts", json.dumps(sorted(open_ones)))


def open_bursts(db: sa.Connection) -> set[int]:
    """Those that began and have no end yet."""
    return set(json.loads(fact(db, "open_bursts")))


def open_records(
    db: sa.Connection, next_counter: int, open_turns: Sequence[TurnRef]
) -> OpenRecords:
    """All since the last statement; `open_turns` are due and without an ending."""
    rows = db.execute(sa.select(LEDGER.c.sequence, LEDGER.c.body).order_by(LEDGER.c.sequence)).all()
    columns = (
        PENDING.c.counter,
        PENDING.c.period,
        PENDING.c.miner_hotkey,
        PENDING.c.traffic,
        PENDING.c.response_digest,
        PENDING.c.share_ppm,
    )
    waiting = tuple(
        Unaudited(**{**row, "traffic": Traffic(row["traffic"])})
        for row in db.execute(sa.select(*columns).order_by(PENDING.c.sequence)).mappings()
    )
    return OpenRecords(
        lines=tuple(row.body for row in rows),
        last_sequence=rows[-1].sequence if rows else 0,
        next_counter=next_counter,
        in_flight=tuple(open_turns),
        waiting=waiting,
        next_burst=next_burst(db),
    )


def last_statement(db: sa.Connection) -> SignedStatement | None:
    """The latest."""
    query = sa.select(STATEMENTS.c.body).order_by(STATEMENTS.c.sequence.desc()).limit(1)
    body = db.execute(query).scalar()
    return None if body is None else SignedStatement.model_validate_json(body)


def close(
    db: sa.Connection, signed: SignedStatement, rules: RuleParams, packed: Packed, epochs_max: int
) -> None:
    """Move the records that the statement counts out of the open ones."""
    db.execute(LEDGER.delete().where(LEDGER.c.sequence <= packed.last_sequence))
    db.execute(
        STATEMENTS.insert().values(
            epoch_block=signed.statement.epoch_block,
            at_us=signed.statement.at_us,
            body=signed.model_dump_json(),
            rules=rules.model_dump_json(),
            head=head_after(statements_head(db), signed.statement.digest()),
            standings=packed.standings,
            records=packed.records,
        )
    )
    kept = sa.select(STATEMENTS.c.sequence).order_by(STATEMENTS.c.sequence.desc())
    oldest = db.execute(kept.offset(epochs_max).limit(1)).scalar()
    if oldest is not None:
        db.execute(STATEMENTS.delete().where(STATEMENTS.c.sequence <= oldest))


def statements_head(db: sa.Connection) -> bytes | None:
    """The head over all statements; None before the first."""
    query = sa.select(STATEMENTS.c.head).order_by(STATEMENTS.c.sequence.desc()).limit(1)
    return db.execute(query).scalar()


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
    lines = tuple(unpacked(row.records))
    periods = _periods(lines)
    said = signed.statement
    later = sa.select(STATEMENTS.c.body).where(STATEMENTS.c.sequence > row.sequence)
    followed = db.execute(later.order_by(STATEMENTS.c.sequence)).scalars()
    revealed = int(fact(db, "period")) - REVEALED_AFTER
    return EpochFile(
        signed=signed,
        previous=None if last is None else SignedStatement.model_validate_json(last.body),
        rules=None if last is None else RuleParams.model_validate_json(last.rules),
        before=() if last is None else tuple(_standings(last.standings)),
        lines=lines,
        secrets={one: secret_of(one) for one in sorted(periods) if one <= revealed},
        pools={
            one: start.pool
            for one in sorted(periods | {said.period, said.period + 1})
            if (start := period_rows.period_start(db, one)) is not None
        },
        head_before=None if last is None else last.head,
        later=tuple(
            SignedStatement.model_validate_json(body).statement.digest() for body in followed
        ),
    )


def _periods(lines: Sequence[bytes]) -> set[int]:
    """Those whose secrets a replay of these records asks for."""
    found: set[int] = set()
    for record in map(RECORD.validate_json, lines):
        if isinstance(record, ENDINGS):
            found.add(record.period)
        elif isinstance(record, Audited | PassedOver):
            found.add(record.draw.period)
        elif isinstance(record, Begun | Measured):
            found.add(record.period)
    return found


def _standings(blob: bytes) -> list[MinerStanding]:
    return [MinerStanding.model_validate_json(line) for line in unpacked(blob)]


def lost_turns(db: sa.Connection) -> list[TurnRef]:
    """Due requests that a process left without an ending."""
    before = last_statement(db)
    period, end = int(fact(db, "period")), int(fact(db, "counter"))
    start = period_rows.period_start(db, period)
    begun = 0 if start is None or start.first_counter is None else start.first_counter
    due: dict[int, TurnRef] = {}
    if before is not None:
        due |= {one.counter: one for one in before.statement.in_flight}
    first = 0 if before is None else before.statement.next_counter
    due |= {
        counter: TurnRef(period=period - (counter < begun), counter=counter)
        for counter in range(first, end)
    }
    ended = db.execute(sa.select(LEDGER.c.counter).where(LEDGER.c.counter.is_not(None))).scalars()
    for counter in ended:
        due.pop(counter, None)
    return [due[counter] for counter in sorted(due)]
