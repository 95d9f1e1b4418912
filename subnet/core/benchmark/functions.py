"""Tiers 3 and 4 of `code`: a function made of random steps over a list of integers.

Each step is a sentence for the prompt, a line for the reference, and the same thing in our own
Python, from which the expected results come: nothing that anybody wrote runs here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.program import canonical

STEPS: Final = {3: 2, 4: 5}
CALLS: Final = 10
LIST_MIN, LIST_MAX = 6, 12
INPUTS_TRIED: Final = 200


@dataclass(frozen=True)
class Step:
    """What to do with `items`, a list of integers, in words, as a line, and as a function."""

    says: str
    line: str
    apply: Callable[[list[int]], list[int]]


@dataclass(frozen=True)
class Job:
    """A function to write: its text, a right one, and calls with their results as JSON."""

    name: str
    says: str
    source: str
    calls: tuple[str, ...]
    expected: tuple[str, ...]


def pipeline(draws: Draws, tier: int) -> Job:
    """A function of that tier; all its calls have results of their own."""
    calls: dict[str, str] = {}
    while len(calls) < CALLS:  # Some steps leave too little of each other's work.
        makers = draws.sample(MAKERS, STEPS[tier])
        steps = [make(draws.between(2, 7), draws.between(2, 9)) for make in makers]
        calls = _calls(draws, steps)
    says = " ".join(f"{number}. {step.says}" for number, step in enumerate(steps, 1))
    body = "".join(f"    {step.line}\n" for step in steps)
    return Job(
        name="transform",
        says=(
            "Write a Python function transform(items) that takes a list of integers, does this in "
            f"order, and returns the resulting list: {says}"
        ),
        source=f"def transform(items):\n{body}    return items\n",
        calls=tuple(calls),
        expected=tuple(calls.values()),
    )


def _calls(draws: Draws, steps: Sequence[Step]) -> dict[str, str]:
    """Arguments -> result, both as JSON: up to CALLS with results that all differ."""
    calls: dict[str, str] = {}
    for _ in range(INPUTS_TRIED):
        items = [draws.between(-30, 60) for _ in range(draws.between(LIST_MIN, LIST_MAX))]
        result = items
        for step in steps:
            result = step.apply(result)
        expected = canonical(result)
        # An empty result is one that many a wrong function gives.
        if result and result != items and expected not in calls.values():
            calls[canonical([items])] = expected
        if len(calls) == CALLS:
            break
    return calls


def _keep(a: int, b: int) -> Step:
    return Step(
        f"Keep only numbers that are greater than {b} or divisible by {a}.",
        f"items = [n for n in items if n > {b} or n % {a} == 0]",
        lambda items: [n for n in items if n > b or n % a == 0],
    )


def _scale(a: int, b: int) -> Step:
    return Step(
        f"Replace every number n by {a} * n - {b}.",
        f"items = [{a} * n - {b} for n in items]",
        lambda items: [a * n - b for n in items],
    )


def _bend(a: int, b: int) -> Step:
    return Step(
        f"Multiply negative numbers by -{a} and add {b} to all others.",
        f"items = [-{a} * n if n < 0 else n + {b} for n in items]",
        lambda items: [-a * n if n < 0 else n + b for n in items],
    )


def _sums(a: int, b: int) -> Step:
    return Step(
        f"Replace the list by its running sums, each taken modulo {a * b + 40} (never negative).",
        f"items = [sum(items[:i + 1]) % {a * b + 40} for i in range(len(items))]",
        lambda items: [total % (a * b + 40) for total in accumulate(items)],
    )


def _gaps(a: int, b: int) -> Step:
    return Step(
        f"Replace the list by the differences of neighbours, each plus {a * b}: item 2 minus item "
        "1, item 3 minus item 2, and so on.",
        f"items = [y - x + {a * b} for x, y in zip(items, items[1:])]",
        lambda items: [y - x + a * b for x, y in pairwise(items)],
    )


def _sorted(a: int, b: int) -> Step:
    return Step(
        f"Sort by the remainder modulo {a + 2} (never negative), equal remainders by size, largest "
        "first.",
        f"items = sorted(items, key=lambda n: (n % {a + 2}, -n))",
        lambda items: sorted(items, key=lambda n: (n % (a + 2), -n)),
    )


def _turn(a: int, b: int) -> Step:
    return Step(
        f"Move the first {a} numbers to the end, in their order; a shorter list stays as it is.",
        f"items = items[{a}:] + items[:{a}]",
        lambda items: items[a:] + items[:a],
    )


def _unique(a: int, b: int) -> Step:
    return Step(
        f"Of numbers with the same remainder modulo {b + 4} (never negative) keep the first only.",
        f"items = [n for i, n in enumerate(items) "
        f"if n % {b + 4} not in [m % {b + 4} for m in items[:i]]]",
        lambda items: [
            n for i, n in enumerate(items) if n % (b + 4) not in [m % (b + 4) for m in items[:i]]
        ],
    )


def _blocks(a: int, b: int) -> Step:
    return Step(
        f"Reverse each block of {a} consecutive numbers; the last block may be shorter.",
        f"items = [n for i in range(0, len(items), {a}) for n in items[i:i + {a}][::-1]]",
        lambda items: [n for i in range(0, len(items), a) for n in items[i : i + a][::-1]],
    )


MAKERS: Final = (_keep, _scale, _bend, _sums, _gaps, _sorted, _turn, _unique, _blocks)
