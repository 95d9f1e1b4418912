"""Benchmark tasks without end: generated from nonces, graded without a judge.

validator: nonce -> `generate_task` -> prompt ... answer -> `grade` -> quality. Pure: the same nonce
gives the same task on every machine, so that everybody can recompute a validator's grades after its
secret is revealed.
"""

from subnet.core.benchmark.registry import (
    EASIEST_TIER,
    FAMILIES,
    GRADED_FAMILIES,
    generate_task,
    grade,
)
from subnet.core.benchmark.task import Fact, Family, Task

__all__ = [
    "EASIEST_TIER",
    "FAMILIES",
    "GRADED_FAMILIES",
    "Fact",
    "Family",
    "Task",
    "generate_task",
    "grade",
]
