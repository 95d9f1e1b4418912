"""What a benchmark task is, and what a family of tasks must offer.

A validator sends `prompt` through the same dispatcher as a user's prompt and grades the text that
comes back. Everything needed to grade is inside the task, so a grader never sees the nonce.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from protocol.structure import Structure
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.program import Outcome, Program


@dataclass(frozen=True)
class Fact:
    """One checkable statement: what it is about, and the value that a right answer gives it."""

    name: str
    value: str


@dataclass(frozen=True)
class Task:
    """A prompt with everything that its grader needs.

    `max_tokens` leaves room for the longest reference answer of the family in tokens of any usual
    tokenizer. `reference` is one answer of many that score 1. `facts` are read by the family's own
    grader.
    """

    family: str
    tier: int
    prompt: str
    max_tokens: int
    reference: str
    facts: tuple[Fact, ...]
    structure: Structure | None = None
    """What the answer must look like, where a grammar can say so."""

    def values(self, name: str) -> tuple[str, ...]:
        """The values of every fact of that name, in order."""
        return tuple(fact.value for fact in self.facts if fact.name == name)

    def value(self, name: str) -> str:
        """The value of the only fact of that name."""
        (value,) = self.values(name)
        return value


class Family(Protocol):
    """A kind of task: how to make one, and how to grade an answer to it."""

    @property
    def name(self) -> str:
        """The name under which tasks and grades are recorded."""
        ...

    @property
    def version(self) -> str:
        """Changes with anything that changes a task or a grade: replays name it."""
        ...

    @property
    def tiers(self) -> tuple[int, ...]:
        """The tiers on offer, easiest first, from 1 to 9."""
        ...

    def generate(self, draws: Draws, tier: int) -> Task:
        """A task of that tier (1 is the easiest), the same for the same draws."""
        ...

    def grade(self, task: Task, answer: str) -> float | None:
        """How good the answer is, in [0, 1]; None if the family measures no quality.

        The reference scores 1, an empty or off-topic answer 0. The answer is untrusted text of at
        most `registry.ANSWER_CHARACTERS_MAX`: it is compared, never executed. Not asked for tasks
        that `ExecutedFamily` grades by their outcome.
        """
        ...


@runtime_checkable
class ExecutedFamily(Family, Protocol):
    """A family some of whose tiers are graded by what the answer does when it runs."""

    @property
    def tiers_executed(self) -> tuple[int, ...]:
        """The tiers that need a sandbox."""
        ...

    def program(self, task: Task, answer: str) -> Program | None:
        """What to run to grade the answer; None if nothing in it can run, which grades 0."""
        ...

    def grade_outcome(self, task: Task, outcome: Outcome) -> float:
        """How good the answer is, in [0, 1], by the outcome of its program."""
        ...
