"""What shape an answer must have: the schema that a release's grammar backend compiles."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from protocol.message import WireMessage

STRUCTURE_CHARACTERS_MAX: Final = 16_384
SCHEMA_DEPTH_MAX: Final = 16
"""Nested arrays and objects; compiling 200 levels took half a second."""
SCHEMA_NODES_MAX: Final = 256
"""Objects in the schema, `properties` and the like included; 1,200 properties took 4.5 s."""
LENGTHS_MAX: Final = 2000
"""Sum of all bounds on lengths; 90 strings of up to 900 characters took 8 s."""
_LENGTHS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_KEYWORDS: Final = _LENGTHS | {
    *(
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "definitions",
    ),
    *("description", "enum", "examples", "items", "maximum", "minimum", "properties", "required"),
    *("title", "type"),
}
"""Left out: what the backend ignores (`not`, `if`), and what makes it slow. A regular expression of
37 characters that nests repetitions took seconds a token, and counts of properties take n^4."""
_SCHEMAS_BY_NAME: Final = frozenset({"$defs", "definitions", "properties"})
_VALUES: Final = frozenset({"const", "default", "enum", "examples", "required"})


class Structure(WireMessage):
    """A constraint on the answer's text, enforced by masking tokens while it is sampled."""

    kind: Literal["json_schema"]
    text: Annotated[str, Field(min_length=1, max_length=STRUCTURE_CHARACTERS_MAX)]
    """A JSON schema as JSON. Objects come out in its order, with ", " and ": " as separators, and
    hold no property that it does not name unless `additionalProperties` says so."""

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        try:
            schema = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise ValueError("text is not JSON") from error
        if not isinstance(schema, dict):
            raise ValueError("a schema is a JSON object")
        levels = list(_levels(schema))
        if len(levels) > SCHEMA_DEPTH_MAX:
            raise ValueError(f"a schema nests at most {SCHEMA_DEPTH_MAX} levels deep")
        if sum(isinstance(part, dict) for level in levels for part in level) > SCHEMA_NODES_MAX:
            raise ValueError(f"a schema holds at most {SCHEMA_NODES_MAX} objects")
        lengths = 0
        for one in _schemas(schema):
            unknown = sorted(one.keys() - _KEYWORDS)
            if unknown:
                raise ValueError(f"keyword {unknown[0][:60]} is not verified")
            for key in _LENGTHS & one.keys():
                if type(one[key]) is not int or not 0 <= one[key] <= LENGTHS_MAX:
                    raise ValueError(f"{key} is an integer from 0 to {LENGTHS_MAX}")
                lengths += one[key]
        if lengths > LENGTHS_MAX:
            raise ValueError(f"lengths add up to at most {LENGTHS_MAX}")
        return self


def _levels(schema: dict[str, Any]) -> Iterator[list[Any]]:
    """Arrays and objects by depth, down to one level below the limit."""
    level: list[Any] = [schema]
    for _ in range(SCHEMA_DEPTH_MAX + 1):
        if not level:
            return
        yield level
        level = [inner for outer in level for inner in _inner(outer)]


def _inner(outer: dict[str, Any] | list[Any]) -> list[Any]:
    values = outer.values() if isinstance(outer, dict) else outer
    return [value for value in values if isinstance(value, dict | list)]


def _schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema and all schemas in it; names of properties and plain values are none."""
    yield schema
    for key, value in schema.items():
        if key in _VALUES:
            continue
        inner: list[Any] = value if isinstance(value, list) else [value]
        if key in _SCHEMAS_BY_NAME and isinstance(value, dict):
            inner = list(value.values())
        for one in inner:
            if isinstance(one, dict):
                yield from _schemas(one)
