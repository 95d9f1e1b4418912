"""Family `code`: say what a line prints, fill the gap in a one-line function, or write a function.

Answers to the first two are compared as text or as syntax trees. A function is graded by the share
of hidden calls that it answers rightly when a sandbox runs it; here it is only cut out of the text.
"""

import ast
import re

from subnet.core.benchmark import machine
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.functions import pipeline
from subnet.core.benchmark.program import (
    SOURCE_CHARACTERS_MAX,
    Outcome,
    Program,
    is_result,
)
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.words import REQUESTS, THINGS, remark

QUOTED = re.compile(r"`([^`\n]*)`")
OUTPUT_ANSWERS = (
    "It prints `{}`.",
    "The output is `{}`.",
    "You will see `{}`.",
    "Python prints `{}`.",
    "We get `{}`.",
    "The result is `{}`.",
)
GAP_ANSWERS = (
    "The gap is `{}`.",
    "Write `{}`.",
    "Use `{}`.",
    "It should be `{}`.",
    "Fill in `{}`.",
    "We need `{}`.",
)
FENCED = re.compile(r"```[^\n`]*\n([^`]*)```")
PIPELINES_TIER = 4
EXPRESSION_CHARACTERS_MAX = 80


class Code:
    """Tier 1: one operation. Tier 2: a loop over a short list, by a comprehension.

    Tiers 3 and 4: see `functions`, two and five steps over a list. Tier 5: see `machine`.
    """

    name = "code"
    version = "1"
    tiers = (1, 2, 3, 4, 5)
    tiers_executed = (3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier in self.tiers_executed:
            return self._function(draws, tier)
        if draws.chance(2, 3):
            line, value = _line(draws, tier)
            question = f"What does this print? Put it in backticks.\n{line}\n"
            answers, fact = OUTPUT_ANSWERS, Fact("output", value)
        else:
            line, value = _gap(draws, tier)
            question = f"Fill the gap. Put it in backticks.\n{line}\n"
            answers, fact = GAP_ANSWERS, Fact("expression", value)
        return Task(
            family=self.name,
            tier=tier,
            prompt=f"{question}{draws.choice(REQUESTS)}",
            max_tokens=64,
            reference=f"{draws.favoured(answers).format(value)} {remark(draws)}",
            facts=(fact,),
        )

    def grade(self, task: Task, answer: str) -> float:
        quoted = {text.strip() for text in QUOTED.findall(answer)}
        if len(quoted) != 1:
            return 0.0
        (found,) = quoted
        (fact,) = task.facts
        if fact.name == "output":
            return float(found == fact.value)
        return float(_same_expression(found, fact.value))

    def program(self, task: Task, answer: str) -> Program | None:
        name = task.value("function")
        blocks = [block for block in FENCED.findall(answer) if f"def {name}(" in block]
        whole = [answer] if "```" not in answer and f"def {name}(" in answer else []
        found = blocks or whole
        # The last one, as a draft may come before it.
        if not found or len(found[-1]) > SOURCE_CHARACTERS_MAX:
            return None
        return Program(found[-1], name, task.values("call"))

    def grade_outcome(self, task: Task, outcome: Outcome) -> float:
        expected = task.values("expected")
        return sum(map(is_result, outcome.results, expected)) / len(expected)

    def _function(self, draws: Draws, tier: int) -> Task:
        job = machine.interpreter(draws) if tier > PIPELINES_TIER else pipeline(draws, tier)
        example, *hidden = zip(job.calls, job.expected, strict=True)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                f"{job.says} For example, {job.name}({example[0][1:-1]}) returns {example[1]}. "
                "Put the function into one block between lines of ```, use the standard library "
                "only, and add a short remark after it."
            ),
            max_tokens=1024,
            reference=f"```python\n{job.source}```\n{remark(draws)}",
            facts=(
                Fact("function", job.name),
                *(Fact("call", call) for call, _ in hidden),
                *(Fact("expected", result) for _, result in hidden),
            ),
        )


def _line(draws: Draws, tier: int) -> tuple[str, str]:
    a, b, c = draws.sample(range(1, 10), 3)
    if tier > 1:
        items, step = [draws.between(1, 20) for _ in range(4)], draws.between(2, 5)
        return (
            f"print(sum(n * {step} for n in {items} if n > {a}))",
            str(sum(n * step for n in items if n > a)),
        )
    first, second = draws.sample(THINGS, 2)
    shape = draws.below(6)
    if shape == 0:
        at = draws.below(3)
        return f"print([{a}, {b}, {c}][{at}])", str((a, b, c)[at])
    if shape == 1:
        return f"print(max({a}, {b}))", str(max(a, b))
    if shape == 2:
        return f"print(min({a}, {b}))", str(min(a, b))
    if shape == 3:
        return f"print({a} > {b})", str(a > b)
    if shape == 4:
        at = draws.below(2)
        return f'print(["{first}", "{second}"][{at}])', (first, second)[at]
    return f"print({a} + {b})", str(a + b)


def _gap(draws: Draws, tier: int) -> tuple[str, str]:
    a = draws.between(1, 9)
    if tier > 1:
        b = draws.between(2, 9)
        return f"def multiply_by_{a}_then_add_{b}(n): return ___", f"n * {a} + {b}"
    verb, sign = draws.choice((("add", "+"), ("subtract", "-"), ("multiply_by", "*")))
    return f"def {verb}_{a}(n): return ___", f"n {sign} {a}"


def _same_expression(found: str, expected: str) -> bool:
    """Equal up to white space, brackets, and the order of + and *."""
    if len(found) > EXPRESSION_CHARACTERS_MAX:
        return False
    try:
        tree = ast.parse(found, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return _canonical(tree.body) == _canonical(ast.parse(expected, mode="eval").body)


def _canonical(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        sides = [_canonical(node.left), _canonical(node.right)]
        if isinstance(node.op, ast.Add | ast.Mult):
            sides.sort()
        return f"({sides[0]} {type(node.op).__name__} {sides[1]})"
    return ast.dump(node)
