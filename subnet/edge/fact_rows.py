"""single values <-> FACTS: what a validator's store knows once, by name."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from subnet.edge.validator_schema import FACTS

_READ: Final = sa.select(FACTS.c.value).where(FACTS.c.name == sa.bindparam("name"))
_INCREMENT: Final = (
    FACTS.update()
    .where(FACTS.c.name == sa.bindparam("fact"))
    .values(value=sa.cast(sa.cast(FACTS.c.value, sa.Integer) + sa.bindparam("step"), sa.String))
    .returning(FACTS.c.value)
)


def fact(db: sa.Connection, name: str) -> str:
    """A fact that is there."""
    return str(db.execute(_READ, {"name": name}).scalar_one())


def save_fact(db: sa.Connection, name: str, value: str) -> None:
    """Insert or replace."""
    db.execute(
        insert(FACTS)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def increment(db: sa.Connection, name: str, step: int) -> int:
    """Add to a numeric fact; its new value."""
    return int(db.execute(_INCREMENT, {"fact": name, "step": step}).scalar_one())
