"""single values <-> FACTS: what a validator's store knows once, by name."""

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from subnet.edge.validator_schema import FACTS


def fact(db: sa.Connection, name: str) -> str:
    """A fact that is there."""
    return str(db.execute(sa.select(FACTS.c.value).where(FACTS.c.name == name)).scalar_one())


def save_fact(db: sa.Connection, name: str, value: str) -> None:
    """Insert or replace."""
    db.execute(
        insert(FACTS)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def increment(db: sa.Connection, name: str, step: int) -> int:
    """Add to a numeric fact; its new value."""
    higher = sa.cast(sa.cast(FACTS.c.value, sa.Integer) + step, sa.String)
    statement = FACTS.update().where(FACTS.c.name == name).values(value=higher)
    return int(db.execute(statement.returning(FACTS.c.value)).scalar_one())
