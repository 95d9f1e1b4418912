"""exchange marks <-> ROWS: what is kept of every exchange, joined with what its audit found."""

import json
from typing import Final

import sqlalchemy as sa

from subnet.core.audit import Traffic
from subnet.core.gaming import ExchangeMark, Observation
from subnet.edge.validator_schema import MARKS, RECORDS

MARKS_MAX: Final = 50_000
"""Marks kept, about 400 bytes each."""
TRIM_EVERY: Final = 256


def save_mark(db: sa.Connection, mark: ExchangeMark) -> None:
    """Add one; the oldest go."""
    row = {name: getattr(mark, name) for name in mark.__dataclass_fields__}
    sequence = db.execute(MARKS.insert(), row).inserted_primary_key
    if sequence is not None and sequence[0] % TRIM_EVERY == 0:
        db.execute(MARKS.delete().where(MARKS.c.sequence <= sequence[0] - MARKS_MAX))


def observations(db: sa.Connection) -> list[Observation]:
    """All marks in order, with family, margins and grade where there was an audit."""
    query = (
        sa.select(MARKS, RECORDS.c.family, RECORDS.c.counts, RECORDS.c.grade)
        .select_from(MARKS.outerjoin(RECORDS, MARKS.c.request_id == RECORDS.c.request_id))
        .order_by(MARKS.c.sequence)
    )
    return [_observation(row) for row in db.execute(query).mappings()]


def _observation(row: sa.RowMapping) -> Observation:
    kept = {name: row[name] for name in ExchangeMark.__dataclass_fields__}
    counts = None if row["counts"] is None else json.loads(row["counts"])
    return Observation(
        mark=ExchangeMark(**{**kept, "traffic": Traffic(kept["traffic"])}),
        family=row["family"] or "",
        is_loud=None if counts is None else sum(counts[1:]) > 0,
        grade=row["grade"],
    )
