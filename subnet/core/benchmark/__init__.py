"""Benchmark tasks without end: generated from nonces, graded without a judge.

validator: nonce -> `generate_task` -> prompt ... answer -> `grade` -> quality; where the answer is
code, `program_of` says what to run first and `grade` reads the outcome. Pure: the same nonce gives
the same task on every machine, so that everybody can recompute a validator's grades after its
secret is revealed.
"""

from subnet.core.benchmark.program import Outcome, Program
from subnet.core.benchmark.registry import (
    ANSWER_CHARACTERS_MAX,
    EASIEST_TIER,
    FAMILIES,
    GRADED_FAMILIES,
    SHIPPED_FAMILIES,
    DuplicateFamilyError,
    generate_task,
    grade,
    is_executed,
    program_of,
    register,
    unregister,
    versions,
)
from subnet.core.benchmark.task import ExecutedFamily, Fact, Family, Task

__all__ = [
    "ANSWER_CHARACTERS_MAX",
    "EASIEST_TIER",
    "FAMILIES",
    "GRADED_FAMILIES",
    "SHIPPED_FAMILIES",
    "DuplicateFamilyError",
    "ExecutedFamily",
    "Fact",
    "Family",
    "Outcome",
    "Program",
    "Task",
    "generate_task",
    "grade",
    "is_executed",
    "program_of",
    "register",
    "unregister",
    "versions",
]
