"""How graders read an untrusted answer: numbers, addresses, words, labelled lines.

Every pattern is linear in the text, since a miner chooses the text.
"""

import re
from collections.abc import Mapping

from subnet.core.benchmark.task import Task

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+\b")
WORD = re.compile(r"[A-Za-z]+")


def numbers(text: str) -> tuple[str, ...]:
    """The numbers written in digits, in order; digits inside an address or a name are none."""
    return tuple(NUMBER.findall(text))


def words(text: str) -> tuple[str, ...]:
    """The words in lower case, in order."""
    return tuple(word.lower() for word in WORD.findall(text))


def grounded_marks(text: str) -> frozenset[str]:
    """What must come from the input if it stands in a summary: numbers and addresses."""
    addresses = (address.lower() for address in ADDRESS.findall(text))
    return frozenset(numbers(text)) | frozenset(addresses)


def labelled_lines(text: str) -> Mapping[str, tuple[str, ...]]:
    """Lines of the form `Label: value`, as lower-case label -> the values it was given."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        label, colon, value = line.partition(":")
        if colon:
            key = label.strip().lower()
            found[key] = (*found.get(key, ()), _normal(value))
    return found


def grade_labelled(task: Task, answer: str) -> float:
    """Facts covered, less numbers and addresses invented, over the facts asked for.

    A fact is covered when its label occurs once with exactly its value: so swapping payer and
    payee, or giving both candidates, covers nothing. A number or address found
    neither in the prompt nor in a fact costs as much as a fact, wherever it stands.
    """
    found = labelled_lines(answer)
    covered = sum(found.get(fact.name.lower(), ()) == (_normal(fact.value),) for fact in task.facts)
    grounded = grounded_marks(task.prompt).union(*(grounded_marks(f.value) for f in task.facts))
    invented = len(grounded_marks(answer) - grounded)
    return max(0, covered - invented) / len(task.facts)


def _normal(value: str) -> str:
    return " ".join(value.split()).rstrip(".").lower()
