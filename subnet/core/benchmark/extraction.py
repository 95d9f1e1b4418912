"""Family `extraction`: turn a sentence into a JSON object that obeys a schema.

The schema has a free `note`, whose text is not graded: it carries the entropy that an object of
copied values lacks.
"""

import json
from collections.abc import Sequence
from typing import Any

from protocol.structure import Structure
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.words import CITIES, JOBS, person, remark

SENTENCES = (
    "{name}, aged {age}, works as a {job} in {city}.",
    "In {city} lives {name}, a {job} of {age} years.",
    "The {job} {name} is {age} and lives in {city}.",
    "{name} moved to {city} at the age of {age} and became a {job}.",
)
INTEGERS = frozenset({"age"})
FIELDS = {1: ("name", "age", "city"), 2: ("name", "age", "city", "job")}


class Extraction:
    """Tier 1: three fields from one sentence. Tier 2: four fields, with a second person beside."""

    name = "extraction"
    version = "1"
    tiers = (1, 2)

    def generate(self, draws: Draws, tier: int) -> Task:
        record = _record(draws)
        fields = draws.sample(FIELDS[tier], len(FIELDS[tier]))
        text = draws.choice(SENTENCES).format(**record)
        if tier > 1:
            text += " " + draws.choice(SENTENCES).format(**_record(draws))
        schema = ", ".join(f'"{field}": {_json_type(field)}' for field in fields)
        whom = "" if tier == 1 else f" about {record['name']}"
        answer = {
            field: int(record[field]) if field in INTEGERS else record[field] for field in fields
        }
        return Task(
            family=self.name,
            tier=tier,
            prompt=f'Extract JSON{whom}: {{{schema}, "note": string}}\n{text}',
            max_tokens=96,
            reference=json.dumps(answer | {"note": remark(draws)}),
            facts=tuple(Fact(field, record[field]) for field in fields),
            structure=_structure((*fields, "note")),
        )

    def grade(self, task: Task, answer: str) -> float:
        found = _parse_object(answer)
        if found is None:
            return 0.0
        right = sum(_matches(fact, found) for fact in task.facts)
        extra = len(found.keys() - {fact.name for fact in task.facts} - {"note"})
        violations = extra + (not isinstance(found.get("note"), str))
        return max(0, right - violations) / len(task.facts)


def _structure(fields: Sequence[str]) -> Structure:
    """Of an object with these fields, in this order."""
    types = {field: {"type": _json_type(field)} for field in fields}
    schema = {"type": "object", "properties": types, "required": list(fields)}
    return Structure(kind="json_schema", text=json.dumps(schema))


def _json_type(field: str) -> str:
    return "integer" if field in INTEGERS else "string"


def _record(draws: Draws) -> dict[str, str]:
    return {
        "name": person(draws),
        "age": str(draws.between(20, 79)),
        "job": draws.choice(JOBS),
        "city": draws.choice(CITIES),
    }


def _parse_object(answer: str) -> dict[str, Any] | None:
    try:
        found = json.loads(answer, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _matches(fact: Fact, found: dict[str, Any]) -> bool:
    value = found.get(fact.name)
    if fact.name in INTEGERS:
        return type(value) is int and str(value) == fact.value
    return value == fact.value
