"""Family `extraction`: turn text into a JSON object that obeys a schema.

The schema has a free `note`, whose text is not graded: it carries the entropy that an object of
copied values lacks.
"""

import json
from collections.abc import Sequence
from typing import Any

from protocol.structure import Structure
from subnet.core.benchmark import orders
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
    """Tier 1: three fields from one sentence. Tier 2: four fields, with a second person beside.

    Tiers 3 to 5: see `orders`; a nested object whose values are corrected and added up.
    """

    name = "extraction"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in FIELDS:
            return self._order(draws, tier)
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
        if task.tier not in FIELDS:
            return _grade_leaves(task, found)
        right = sum(_matches(fact, found) for fact in task.facts)
        extra = len(found.keys() - {fact.name for fact in task.facts} - {"note"})
        violations = extra + (not isinstance(found.get("note"), str))
        return max(0, right - violations) / len(task.facts)

    def _order(self, draws: Draws, tier: int) -> Task:
        whom, text, order = orders.mail(draws, tier)
        answer = order.as_object()
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                f"Extract {whom} as JSON by this schema; sort the items by product, count pieces, "
                f"give the total to pay, and write a short free note:\n"
                f"{json.dumps(orders.schema())}\n{text}"
            ),
            max_tokens=512,
            reference=json.dumps(answer | {"note": remark(draws)}),
            facts=tuple(Fact(path, value) for path, value in _leaves(answer).items()),
            structure=Structure(kind="json_schema", text=json.dumps(orders.schema())),
        )


def _grade_leaves(task: Task, found: dict[str, Any]) -> float:
    """Leaves of the tree that are right, less those that are none of the schema's."""
    note = found.pop("note", None)
    leaves = _leaves(found)
    wanted = {fact.name: fact.value for fact in task.facts}
    right = sum(leaves.get(path) == value for path, value in wanted.items())
    violations = len(leaves.keys() - wanted.keys()) + (not isinstance(note, str))
    return max(0, right - violations) / len(wanted)


def _leaves(tree: dict[str, Any]) -> dict[str, str]:
    """Path -> JSON text of everything that is no filled object or array, without recursion."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = list(tree.items())
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [(f"{path}.{key}", one) for key, one in value.items()]
        elif isinstance(value, list) and value:
            waiting += [(f"{path}.{at}", one) for at, one in enumerate(value)]
        else:
            found[path] = json.dumps(value)
    return found


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
