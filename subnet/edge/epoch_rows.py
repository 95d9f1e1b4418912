"""epochs <-> ROWS: the latest one by one, those before them as totals."""

import json
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from subnet.core.history import EpochRecord
from subnet.edge.epoch_history import EpochTotals, total_of
from subnet.edge.fact_rows import save_fact
from subnet.edge.validator_rows import epoch_of
from subnet.edge.validator_schema import EPOCHS, FACTS


def epochs(db: sa.Connection) -> list[EpochRecord]:
    """Those kept, in order."""
    bodies = db.execute(sa.select(EPOCHS.c.body).order_by(EPOCHS.c.epoch_block))
    return [epoch_of(json.loads(body)) for body in bodies.scalars()]


def dropped_totals(db: sa.Connection) -> EpochTotals:
    """Over the epochs that are no longer kept."""
    query = sa.select(FACTS.c.value).where(FACTS.c.name == "dropped_epochs")
    body = db.execute(query).scalar()
    return EpochTotals() if body is None else EpochTotals.model_validate_json(body)


def save_epoch(db: sa.Connection, record: EpochRecord, epochs_max: int) -> None:
    """Insert or replace; the oldest above `epochs_max` fold into the totals of the dropped ones."""
    row = {"epoch_block": record.epoch_block, "body": json.dumps(asdict(record))}
    db.execute(
        insert(EPOCHS)
        .values(**row)
        .on_conflict_do_update(index_elements=["epoch_block"], set_={"body": row["body"]})
    )
    kept = int(db.execute(sa.select(sa.func.count()).select_from(EPOCHS)).scalar_one())
    if kept <= epochs_max:
        return
    old = epochs(db)[: kept - epochs_max]
    save_fact(db, "dropped_epochs", total_of(old, dropped_totals(db)).model_dump_json())
    db.execute(EPOCHS.delete().where(EPOCHS.c.epoch_block <= old[-1].epoch_block))
