"""graded answers -> FIGURES: how good, how steady, and where a release breaks down.

A task is asked several times with the same prompt and different seeds, as different nonces give.
So the spread has two parts: between tasks, which is luck of the draw, and between repeats of one
task, which is the release's own unsteadiness.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

BAR: Final = 0.5
"""A release holds a tier, or a length, while its mean grade is at least this."""
REFUSAL_CHARACTERS: Final = 200
REFUSAL: Final = re.compile(
    r"\bi (?:can ?not|can't|won't|will not|must decline|am unable|am not able)\b"
    r"|\bi'm (?:sorry|unable|not able)\b|\bi am sorry\b|\bas an ai\b"
)


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer: to which task, and what it was worth."""

    task: int
    prompt_tokens: int
    output_tokens: int
    grade: float | None
    is_refusal: bool
    is_cut: bool
    """Whether it ran into its limit of tokens."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Figures(_Frozen):
    """Of one group of answers; shares and grades in [0, 1]."""

    answers: int
    prompt_tokens_max: int
    output_tokens_mean: float
    grade: float | None
    """Mean; None where quality is not measured."""
    grade_error: float | None
    """Standard error of the mean over tasks; None for fewer than two."""
    repeat_deviation: float | None
    """Standard deviation of the grade between repeats of one task, over all tasks: 0 is steady."""
    refusals: float
    cut_short: float


class TierCard(_Frozen):
    """One tier of a family."""

    tier: int
    tokens_max: int
    """Longest prompt and answer of the sampled tasks together."""
    figures: Figures | None
    """None where the tasks do not fit the model's context."""


class FamilyCard(_Frozen):
    """One family, easiest tier first."""

    name: str
    version: str
    tiers: tuple[TierCard, ...]
    holds_to_tier: int | None
    """The last tier up to which every grade reaches the bar; None if not even the first does."""
    fails_at_tier: int | None
    """The first tier below the bar; None if none was seen."""


class LengthCard(_Frozen):
    """The same easy question inside a prompt of about so many tokens."""

    tokens: int
    figures: Figures


class ModelCard(_Frozen):
    """What was measured of a release, and how."""

    model: str
    release_digest: str
    environment: str
    temperature_milli: int
    top_p_milli: int
    top_k: int
    seed: int
    tasks: int
    """Of each tier and length."""
    repeats: int
    bar: float
    families: tuple[FamilyCard, ...]
    lengths: tuple[LengthCard, ...]
    holds_to_tokens: int | None
    fails_at_tokens: int | None
    refusals: float
    """Share of all answers."""
    repeat_deviation: float
    """Over all tasks of graded families."""


def is_refusal(answer: str) -> bool:
    """Whether an answer is empty, or begins by declining in the usual English words."""
    start = answer.strip()[:REFUSAL_CHARACTERS].lower().replace("\u2019", "'")
    return not start or REFUSAL.search(start) is not None


def figures(answers: Sequence[Graded]) -> Figures:
    """The figures of a group; at least one answer."""
    assert answers
    by_task: dict[int, list[float]] = {}
    for one in answers:
        if one.grade is not None:
            by_task.setdefault(one.task, []).append(one.grade)
    grades = list(by_task.values())
    return Figures(
        answers=len(answers),
        prompt_tokens_max=max(one.prompt_tokens for one in answers),
        output_tokens_mean=round(_mean([float(one.output_tokens) for one in answers]), 1),
        grade=_rounded(_mean([_mean(task) for task in grades]) if grades else None),
        grade_error=_rounded(_standard_error([_mean(task) for task in grades])),
        repeat_deviation=_rounded(repeat_deviation(grades)),
        refusals=round(_mean([float(one.is_refusal) for one in answers]), 4),
        cut_short=round(_mean([float(one.is_cut) for one in answers]), 4),
    )


def repeat_deviation(grades: Sequence[Sequence[float]]) -> float | None:
    """Root of the mean unbiased variance within tasks; None if no task was asked twice.

    In [0, 1/sqrt(2)] for two repeats of grades in [0, 1].
    """
    repeated = [task for task in grades if len(task) > 1]
    return math.sqrt(_mean([_variance(task) for task in repeated])) if repeated else None


def boundary(steps: Sequence[tuple[int, float]], bar: float = BAR) -> tuple[int | None, int | None]:
    """(last step that holds, first that fails) of mean grades by tier or length, in rising order.

    A step after the first failure holds nothing, however good its grade.
    """
    holds: int | None = None
    for step, grade in steps:
        if grade < bar:
            return holds, step
        holds = step
    return holds, None


def family_card(name: str, version: str, tiers: Sequence[TierCard]) -> FamilyCard:
    """A family's tiers, with where it fails."""
    measured = [
        (one.tier, one.figures.grade)
        for one in tiers
        if one.figures and one.figures.grade is not None
    ]
    holds, fails = boundary(measured)
    return FamilyCard(
        name=name, version=version, tiers=tuple(tiers), holds_to_tier=holds, fails_at_tier=fails
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _standard_error(values: Sequence[float]) -> float | None:
    return math.sqrt(_variance(values) / len(values)) if len(values) > 1 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
