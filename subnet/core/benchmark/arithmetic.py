"""Family `arithmetic`: sums, small word problems, and symbolic steps.

Graded by the last number (or term in x) of the answer, from tier 3 on by its line `Answer: ...`:
so a worked solution is as welcome as a bare result.
"""

import re
from fractions import Fraction

from subnet.core.benchmark import algebra
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import final_answer
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
EXACT = re.compile(r"-?\d{1,60}(?:/\d{1,60})?")
OPERAND_MAX = {1: 9, 2: 99}


class Arithmetic:
    """Tier 1: one step on numbers up to 9. Tier 2: one step on numbers up to 99, and products.

    Tiers 3 to 5: see `algebra`; from an expression in brackets to determinants.
    """

    name = "arithmetic"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in OPERAND_MAX:
            return self._exact(draws, tier)
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
        if task.tier not in OPERAND_MAX:
            found = final_answer(answer)
            return float(found is not None and _is_equal(found, task.value("result")))
        terms = TERM.findall(answer)
        return float(bool(terms) and terms[-1] == task.value("result"))

    def _exact(self, draws: Draws, tier: int) -> Task:
        question, result = algebra.question(draws, tier)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                f"{question} Begin with a short remark and end with the line `Answer: ` and the "
                "result, an integer or a fraction such as -7/3."
            ),
            max_tokens=1024,
            reference=f"{remark(draws)}\nAnswer: {result}",
            facts=(Fact("result", str(result)),),
        )


def _is_equal(found: str, result: str) -> bool:
    if EXACT.fullmatch(found) is None:
        return False
    _, _, below = found.partition("/")
    return not (below and int(below) == 0) and Fraction(found) == Fraction(result)


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
