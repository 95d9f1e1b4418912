"""How graders read an untrusted answer: numbers, addresses, words, labelled lines, final answers.

Every pattern is linear in the text, since a miner chooses the text.
"""

import re
from collections.abc import Mapping

from subnet.core.benchmark.task import Fact, Task

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+\b")
QUANTITY = re.compile(r"-?\d[\d.]*( .+)")
LABEL_EDGES = " \t*_`#-"
VALUE_EDGES = " \t*_`"
VALUE_ENDS = VALUE_EDGES + "."
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
    """Lines of the form `Label: value`, as lower-case label -> the values it was given.

    Bullets and marks of emphasis around either are no part of it.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        label, colon, value = line.partition(":")
        if colon:
            key = label.strip(LABEL_EDGES).lower()
            found.setdefault(key, []).append(_normal(value.strip(VALUE_EDGES).rstrip(VALUE_ENDS)))
    return {key: tuple(values) for key, values in found.items()}


def final_answer(text: str) -> str | None:
    """The value of the line `Answer: value`, in lower case; None if none or two differ."""
    found = set(labelled_lines(text).get("answer", ()))
    return found.pop() if len(found) == 1 else None


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


def summary_task(
    family: str, tier: int, asks: str, text: str, facts: tuple[Fact, ...], note: str
) -> Task:
    """A task for `grade_labelled` about a long text; `asks` is what to do, without a full stop.

    The prompt shows how a quantity is written, as it is compared letter by letter.
    """
    shown = (
        f"{fact.name} (n{unit.group(1)})" if (unit := QUANTITY.fullmatch(fact.value)) else fact.name
        for fact in facts
    )
    lines = "".join(f"{fact.name}: {fact.value}\n" for fact in facts)
    return Task(
        family=family,
        tier=tier,
        prompt=(
            f"{asks} as lines {', '.join(shown)}, Note. Write these lines only, and no number into "
            f"the note.\n{text}"
        ),
        max_tokens=512,
        reference=f"{lines}Note: {note}",
        facts=facts,
    )


def _normal(value: str) -> str:
    return " ".join(value.split()).rstrip(".").lower()
