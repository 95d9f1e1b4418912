"""What shape an answer must have: the text that a release's grammar backend compiles."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from protocol.message import WireMessage

STRUCTURE_CHARACTERS_MAX: Final = 16_384
PATTERN_CHARACTERS_MAX: Final = 512
"""Of a regex, and of all patterns in a schema together: at 1,800 an ambiguous one took 1.3 s to say
which token may follow, at 500 .04 s, and others minutes to compile."""
SCHEMA_DEPTH_MAX: Final = 16
"""Nested arrays and objects; compiling 200 levels took half a second."""
REPETITIONS_MAX: Final = 2000
"""Sum of all bounds on lengths and repetitions: a schema of 594 characters whose ten patterns each
repeat up to 9,000 times kept the compiler busy for 54 s."""
_COUNTED: Final = frozenset(
    f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items", "Properties")
)
_PATTERNS: Final = frozenset({"pattern", "patternProperties"})
_QUANTIFIER: Final = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")


class Structure(WireMessage):
    """A constraint on the answer's text, enforced by masking tokens while it is sampled.

    What the pinned backend makes of the text is what is promised and verified: of a JSON schema,
    that leaves out what the backend ignores, such as `not` and remote references.
    """

    kind: Literal["json_schema", "regex"]
    text: Annotated[str, Field(min_length=1, max_length=STRUCTURE_CHARACTERS_MAX)]
    """A JSON schema as JSON, whose objects come out in the schema's order with ", " and ": " as
    separators; or a regular expression that the whole answer matches."""

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        repetitions, patterns = _repetitions(self.text), len(self.text)
        if self.kind == "json_schema":
            try:
                schema = json.loads(self.text)
            except (ValueError, RecursionError) as error:
                raise ValueError("text is not JSON") from error
            if not isinstance(schema, dict):
                raise ValueError("a schema is a JSON object")
            nested = list(_levels(schema))
            if len(nested) > SCHEMA_DEPTH_MAX:
                raise ValueError(f"a schema nests at most {SCHEMA_DEPTH_MAX} levels deep")
            objects = [part for level in nested for part in level if isinstance(part, dict)]
            entries = [entry for part in objects for entry in part.items()]
            repetitions += sum(
                value
                for key, value in entries
                if key in _COUNTED and type(value) in (int, float) and value > 0
            )
            patterns = sum(len(str(text)) for key, text in entries if key in _PATTERNS)
        if patterns > PATTERN_CHARACTERS_MAX:
            raise ValueError(f"patterns have at most {PATTERN_CHARACTERS_MAX} characters in all")
        if repetitions > REPETITIONS_MAX:
            raise ValueError(f"lengths and repetitions add up to at most {REPETITIONS_MAX}")
        return self


def _repetitions(text: str) -> int:
    """Sum of the numbers in {n}, {n,} and {n,m}."""
    digits_max = len(str(REPETITIONS_MAX))
    return sum(
        int(number) if len(number.lstrip("0")) <= digits_max else REPETITIONS_MAX + 1
        for found in _QUANTIFIER.finditer(text)
        for number in found.groups()
        if number
    )


def _levels(schema: dict[str, Any]) -> Iterator[list[Any]]:
    """Arrays and objects by depth, down to one level below the limit."""
    level: list[Any] = [schema]
    for _ in range(SCHEMA_DEPTH_MAX + 1):
        if not level:
            return
        yield level
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
