"""shipped attacks -> POWER -> BARS: a release whose cheats stay unseen is not admitted.

A bound on false accusation alone is met by a table that never accuses anybody.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

PROBATION_RESPONSES: Final = 20
"""What never earns in full (`scoring.probation_answers`): who replaces all answers ends in it."""
EPOCH_RESPONSES: Final = 2000
"""About what one epoch audits of one miner at default rates: what a slow cheat may earn."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttackPower(_Frozen):
    """How soon one attack was caught, in audited answers; None where too few runs were."""

    attack: str
    detected: Annotated[float, Field(ge=0, le=1)]
    """Share of the runs."""
    median_responses: int | None
    p95_responses: int | None


class PowerReport(_Frozen):
    """How a table was tried on the shipped attacks, with prompts that it was not fitted on."""

    seed: int
    questions: int
    """Different ones that each attack answered."""
    runs: int
    responses_max: int
    """A run that lasts longer counts as not detected."""
    benchmark: tuple[AttackPower, ...]
    organic: tuple[AttackPower, ...]


class PowerBar(_Frozen):
    """The slowest that an attack may be caught in 95 % of its runs."""

    attack: str
    p95_responses_max: int


def _bars(responses_max: int, *attacks: str) -> tuple[PowerBar, ...]:
    return tuple(PowerBar(attack=one, p95_responses_max=responses_max) for one in attacks)


POWER_BARS: Final = (
    *_bars(
        PROBATION_RESPONSES,
        "smaller model",
        "replay",
        "precomputed",
        "copied",
        "relay with a foreign permit",
        "context truncated",
        "cut off",
        "wrong counts",
    ),
    *_bars(
        EPOCH_RESPONSES,
        "earlier checkpoint",
        "forged log-probabilities",
        "int4 weights",
        "temperature +.2",
        "temperature -.2",
        "top_k 5",
        "system prompt changed",
        "loose speculation .05",
        "smaller model, one token",
        "smaller model in 5 %",
    ),
)
"""What replaces all of an answer, and what shaves some of its cost. The rest is reported, not
asked for: whether it shows depends on how far a release lies from its weaker relatives."""


def shortfalls(
    found: Iterable[AttackPower], bars: Sequence[PowerBar] = POWER_BARS
) -> tuple[str, ...]:
    """One line for each bar that is missed; an attack that was not played misses its bar."""
    by_name = {one.attack: one for one in found}
    lines: list[str] = []
    for bar in bars:
        one = by_name.get(bar.attack)
        if one is None:
            lines.append(f"{bar.attack}: not played")
        elif one.p95_responses is None:
            lines.append(
                f"{bar.attack}: caught in {one.detected:.0%} of the runs, the bar is 95 % within "
                f"{bar.p95_responses_max} answers"
            )
        elif one.p95_responses > bar.p95_responses_max:
            lines.append(
                f"{bar.attack}: 95 % caught within {one.p95_responses} answers, the bar is "
                f"{bar.p95_responses_max}"
            )
    return tuple(lines)
