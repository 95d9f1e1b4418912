"""Family `arithmetic`: sums, small word problems, and one symbolic step.

Graded by the last number (or term in x) of the answer, so a worked solution is as welcome as a
bare result.
"""

import re

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.words import NAMES, REQUESTS, THINGS, remark

TERM = re.compile(r"(?<![\w.])-?\d+x?(?![\w])")
ANSWERS = (
    "The answer is {}.",
    "That makes {}.",
    "It is {}.",
    "I get {}.",
    "The result is {}.",
    "We find {}.",
    "This gives {}.",
    "Simply {}.",
)
OPERAND_MAX = {1: 9, 2: 99}


class Arithmetic:
    """Tier 1: one step on numbers up to 9. Tier 2: one step on numbers up to 99, and products."""

    name = "arithmetic"
    version = "1"
    tiers = (1, 2)

    def generate(self, draws: Draws, tier: int) -> Task:
        question, result = _question(draws, OPERAND_MAX[tier], products=tier > 1)
        answer = draws.favoured(ANSWERS).format(result)
        return Task(
            family=self.name,
            tier=tier,
            prompt=f"{question} {draws.choice(REQUESTS)}",
            max_tokens=64,
            reference=f"{answer} {remark(draws)}",
            facts=(Fact("result", result),),
        )

    def grade(self, task: Task, answer: str) -> float:
        terms = TERM.findall(answer)
        return float(bool(terms) and terms[-1] == task.value("result"))


def _question(draws: Draws, operand_max: int, *, products: bool) -> tuple[str, str]:
    a, b = draws.between(1, operand_max), draws.between(1, operand_max)
    low, high = min(a, b), max(a, b)
    if high == 2 * low:
        high += 1  # Else the difference is the last number of the question: an echo would score.
    who, thing = draws.choice(NAMES), draws.choice(THINGS)
    if products and draws.chance(1, 3):
        return f"What is {a + 1} times {b}?", str((a + 1) * b)
    shape = draws.below(6)
    if shape == 0:
        return f"What is {a} + {b}?", str(a + b)
    if shape == 1:
        return f"What is {high} - {low}?", str(high - low)
    if shape == 2:
        return f"{who} has {a} {thing}s and finds {b} more. How many now?", str(a + b)
    if shape == 3:
        return f"{who} has {high} {thing}s and loses {low}. How many are left?", str(high - low)
    if shape == 4:
        return f"Solve x + {low} = {high}.", str(high - low)
    return f"Simplify {a}x + {b}x.", f"{a + b}x"
