"""periods <-> ROWS: where each period's draws begin, and which users' prompts it may ask again."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from subnet.core.echoes import EchoPool, PeriodStart
from subnet.edge.validator_schema import PERIODS

STORED_PERIODS_MAX: Final = 64
"""The file keeps the latest: more than it keeps statements, and more than a statement names, which
`cover.PERIODS_MAX` bounds."""


def period_start(db: sa.Connection, period: int) -> PeriodStart | None:
    """What was fixed of a period; None if nothing was."""
    row = db.execute(sa.select(PERIODS).where(PERIODS.c.period == period)).first()
    if row is None:
        return None
    pool = EchoPool() if row.pool is None else EchoPool.model_validate_json(row.pool)
    return PeriodStart(row.first_counter, pool)


def save_first_counter(db: sa.Connection, period: int, first_counter: int) -> None:
    """A period begins; the oldest go."""
    _save(db, period, {"first_counter": first_counter})
    db.execute(PERIODS.delete().where(PERIODS.c.period <= period - STORED_PERIODS_MAX))


def save_pool(db: sa.Connection, period: int, pool: EchoPool) -> None:
    """A statement fixes what a period may ask again."""
    _save(db, period, {"pool": pool.model_dump_json()})


def _save(db: sa.Connection, period: int, values: dict[str, Any]) -> None:
    db.execute(
        insert(PERIODS)
        .values(period=period, **values)
        .on_conflict_do_update(index_elements=["period"], set_=values)
    )
