"""users' prompts <-> ROWS: what users asked, and what they were answered."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from protocol.structure import Structure
from subnet.core.history import UserPrompt
from subnet.edge.validator_rows import fields
from subnet.edge.validator_schema import PROMPTS

_ALL: Final = sa.select(PROMPTS).order_by(PROMPTS.c.prompt_id)
_OPEN: Final = _ALL.where(PROMPTS.c.answer.is_(None))


def prompts(db: sa.Connection, *, only_open: bool = False) -> list[UserPrompt]:
    """In order of arrival."""
    return [_prompt_of(row) for row in db.execute(_OPEN if only_open else _ALL).mappings()]


def add_prompts(
    db: sa.Connection, texts: Sequence[str], *, has_consent: bool, structure: Structure | None
) -> None:
    """Those that are not there yet with the same structure."""
    shape = _text(structure)
    query = sa.select(PROMPTS.c.text).where(PROMPTS.c.structure.is_not_distinct_from(shape))
    known = set(db.execute(query).scalars())
    new = [text for text in dict.fromkeys(texts) if text not in known]
    rows = [{"text": text, "has_consent": has_consent, "structure": shape} for text in new]
    if rows:
        db.execute(PROMPTS.insert(), rows)


def save_prompt(db: sa.Connection, prompt: UserPrompt) -> None:
    """Replace the one with this id."""
    row = fields(prompt) | {"structure": _text(prompt.structure)}
    db.execute(PROMPTS.update().where(PROMPTS.c.prompt_id == row.pop("prompt_id")).values(**row))


def _prompt_of(row: Mapping[Any, Any]) -> UserPrompt:
    text = row["structure"]
    structure = None if text is None else Structure.model_validate_json(text)
    return UserPrompt(**{**row, "structure": structure})


def _text(structure: Structure | None) -> str | None:
    return None if structure is None else structure.model_dump_json()
