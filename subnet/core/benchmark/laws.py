"""What holds for every family: checked of plug-ins when they are loaded, and of ours by the tests.

    assert broken_law(MyFamily()) is None

is the shortest test of a family of your own; docs/benchmark.md has the page.
"""

import re
from typing import Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import ExecutedFamily, Family, Task

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
TIER_MAX: Final = 9
TASKS_TRIED: Final = 4
OFF_TOPIC: Final = ("", " \n", "I like trains.", "{}", "``", ":")


def broken_law(family: Family) -> str | None:
    """The first law that a family breaks, as half a sentence; None if it keeps all.

    Whatever the family itself raises comes through.
    """
    if not (isinstance(family.name, str) and NAME.fullmatch(family.name)):
        return "its name is not lower-case letters, digits, - and _, at most 32"
    if not (isinstance(family.version, str) and family.version):
        return "its version is no text"
    tiers = list(family.tiers)
    if not tiers or tiers != sorted({tier for tier in tiers if 1 <= tier <= TIER_MAX}):
        return f"its tiers {tiers} do not rise within 1 to {TIER_MAX}"
    for tier in tiers:
        for number in range(TASKS_TRIED):
            broken = _broken_by_task(family, tier, bytes([number]))
            if broken is not None:
                return f"in tier {tier} {broken}"
    return None


def _broken_by_task(family: Family, tier: int, nonce: bytes) -> str | None:
    task = family.generate(Draws(b"law", nonce), tier)
    again = family.generate(Draws(b"law", nonce), tier)
    if not isinstance(task, Task) or (task.family, task.tier) != (family.name, tier):
        return "a task does not carry the family's name and the tier"
    if task != again:
        return "the same draws give different tasks"
    if not (task.prompt and task.reference and task.max_tokens > 0):
        return "a task has no prompt, no reference or no room for an answer"
    if isinstance(family, ExecutedFamily) and tier in family.tiers_executed:
        return _broken_by_program(family, task)
    if family.grade(task, task.reference) not in (1.0, None):
        return "the reference does not score 1"
    off_topic = [*OFF_TOPIC, "x" * 1000, "(" * 1000]
    if any(family.grade(task, answer) not in (0.0, None) for answer in off_topic):
        return "an empty or off-topic answer does not score 0"
    return None


def _broken_by_program(family: ExecutedFamily, task: Task) -> str | None:
    if family.program(task, task.reference) is None:
        return "nothing in the reference can be run"
    if any(family.program(task, answer) is not None for answer in OFF_TOPIC):
        return "something in an empty or off-topic answer is run"
    return None
