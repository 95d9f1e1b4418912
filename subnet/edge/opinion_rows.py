"""second opinions <-> ROWS: how often a validator's two engines agreed, and when they did not."""

from typing import Final

import sqlalchemy as sa
from pydantic import TypeAdapter

from subnet.core.second_opinion import OpinionRecord, Verdict
from subnet.edge.validator_schema import OPINIONS

OPINIONS_MAX: Final = 10_000
"""Kept; older ones are dropped."""
_RECORD: Final = TypeAdapter(OpinionRecord)


def save_opinion(db: sa.Connection, record: OpinionRecord) -> None:
    """Append."""
    body = _RECORD.dump_json(record).decode()
    db.execute(OPINIONS.insert().values(verdict=record.verdict, body=body))
    newest = sa.select(sa.func.max(OPINIONS.c.sequence)).scalar_subquery()
    db.execute(OPINIONS.delete().where(OPINIONS.c.sequence <= newest - OPINIONS_MAX))


def opinions(db: sa.Connection, verdict: Verdict) -> list[OpinionRecord]:
    """Those kept with this verdict, in order."""
    query = sa.select(OPINIONS.c.body).where(OPINIONS.c.verdict == verdict)
    rows = db.execute(query.order_by(OPINIONS.c.sequence)).scalars()
    return [_RECORD.validate_json(body) for body in rows]
