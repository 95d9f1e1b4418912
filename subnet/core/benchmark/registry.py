"""The families by name, and the functions that the rest of the subnet calls.

A nonce is used for one task only; the family and tier are part of the stream's key, so one nonce
cannot be aimed at an easier family. Plug-ins are added once, by `register`, before any settings
are read; nothing here looks for them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from subnet.core.benchmark.arithmetic import Arithmetic
from subnet.core.benchmark.code import Code
from subnet.core.benchmark.contract import Contract
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.extraction import Extraction
from subnet.core.benchmark.governance import Governance
from subnet.core.benchmark.instructions import Instructions
from subnet.core.benchmark.open_text import OpenText
from subnet.core.benchmark.program import Outcome, Program
from subnet.core.benchmark.retrieval import Retrieval
from subnet.core.benchmark.task import ExecutedFamily, Family, Task
from subnet.core.benchmark.transaction import Transaction

STREAM = b"assay.benchmark.v1"
EASIEST_TIER = 1
ANSWER_CHARACTERS_MAX: Final = 32_768
"""A longer answer is not read and grades 0: a grader's time is bounded by it."""

_ALL: tuple[Family, ...] = (
    Arithmetic(),
    Extraction(),
    Retrieval(),
    Instructions(),
    Code(),
    Contract(),
    Governance(),
    Transaction(),
    OpenText(),
)
_known: dict[str, Family] = {family.name: family for family in _ALL}
_executed_known: dict[str, ExecutedFamily] = {
    family.name: family for family in _ALL if isinstance(family, ExecutedFamily)
}
FAMILIES: Mapping[str, Family] = MappingProxyType(_known)
SHIPPED_FAMILIES: tuple[str, ...] = tuple(_known)
GRADED_FAMILIES: tuple[str, ...] = tuple(name for name in FAMILIES if name != "open")


class DuplicateFamilyError(ValueError):
    """A family of that name is there already."""


def register(family: Family) -> None:
    """Add a plug-in's family. Raises DuplicateFamilyError, also for one that is shipped."""
    if family.name in _known:
        raise DuplicateFamilyError(f"there is a family {family.name} already")
    _known[family.name] = family
    if isinstance(family, ExecutedFamily):
        _executed_known[family.name] = family


def unregister(name: str) -> None:
    """Take a plug-in's family away again."""
    assert name not in SHIPPED_FAMILIES
    del _known[name]
    _executed_known.pop(name, None)


def versions(families: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(name, version) of families, in their order: what a replay needs besides the secret.

    Raises KeyError for an unknown family.
    """
    return tuple((name, FAMILIES[name].version) for name in families)


def generate_task(family: str, nonce: bytes, tier: int = EASIEST_TIER) -> Task:
    """The task of that family and tier that the nonce stands for.

    Raises KeyError for an unknown family; a tier that the family lacks is a caller's mistake.
    """
    kind = FAMILIES[family]
    assert tier in kind.tiers
    return kind.generate(Draws(STREAM, family.encode(), bytes([tier]), nonce), tier)


def is_executed(family: str, tier: int) -> bool:
    """Whether answers of that family and tier are graded by running them."""
    return _executed(family, tier) is not None


def program_of(task: Task, answer: str) -> Program | None:
    """What must run before `grade` can be asked; None if the text alone decides."""
    kind = _executed(task.family, task.tier)
    if kind is None or len(answer) > ANSWER_CHARACTERS_MAX:
        return None
    return kind.program(task, answer)


def grade(task: Task, answer: str, outcome: Outcome | None = None) -> float | None:
    """The answer's grade in [0, 1], or None for a family that measures no quality.

    `outcome` is what came of `program_of`, where that is a program. The prompt repeated word for
    word is no part of an answer.
    """
    executed = _executed(task.family, task.tier)
    if executed is not None:
        assert outcome is not None or program_of(task, answer) is None
        return 0.0 if outcome is None else executed.grade_outcome(task, outcome)
    if len(answer) > ANSWER_CHARACTERS_MAX:
        answer = ""
    return FAMILIES[task.family].grade(
        task, answer.replace(task.prompt, " ") if task.prompt else answer
    )


def _executed(family: str, tier: int) -> ExecutedFamily | None:
    """The family, if answers of that tier are run."""
    kind = _executed_known.get(family)
    return kind if kind is not None and tier in kind.tiers_executed else None
