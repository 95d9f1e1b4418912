"""The families by name, and the two functions that the rest of the subnet calls.

A nonce is used for one task only; the family and tier are part of the stream's key, so one nonce
cannot be aimed at an easier family.
"""

from collections.abc import Mapping
from types import MappingProxyType

from subnet.core.benchmark.arithmetic import Arithmetic
from subnet.core.benchmark.code import Code
from subnet.core.benchmark.contract import Contract
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.extraction import Extraction
from subnet.core.benchmark.governance import Governance
from subnet.core.benchmark.instructions import Instructions
from subnet.core.benchmark.open_text import OpenText
from subnet.core.benchmark.retrieval import Retrieval
from subnet.core.benchmark.task import Family, Task
from subnet.core.benchmark.transaction import Transaction

STREAM = b"assay.benchmark.v1"
EASIEST_TIER = 1

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
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ALL})
GRADED_FAMILIES: tuple[str, ...] = tuple(name for name in FAMILIES if name != "open")


def generate_task(family: str, nonce: bytes, tier: int = EASIEST_TIER) -> Task:
    """The task of that family and tier that the nonce stands for.

    Raises KeyError for an unknown family; a tier that the family lacks is a caller's mistake.
    """
    kind = FAMILIES[family]
    assert tier in kind.tiers
    return kind.generate(Draws(STREAM, family.encode(), bytes([tier]), nonce), tier)


def grade(task: Task, answer: str) -> float | None:
    """The answer's grade in [0, 1], or None for a family that measures no quality."""
    return FAMILIES[task.family].grade(task, answer)
