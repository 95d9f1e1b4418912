"""questions -> CANARY -> self-test: answers of which the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from subnet.core.verification.claim import Claim

CANARY_TOKENS: Final = 24
"""Of each honest answer."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Answers of which the truth is known."""

    honest: tuple[Claim, ...]
    tampered: tuple[Claim, ...]


def canary_of(honest: Sequence[Claim]) -> Canary:
    """`honest` were sampled by the engine itself; tampered are the same under other seeds."""
    shift = len(honest)
    tampered = tuple(replace(claim, seed=claim.seed + shift) for claim in honest)
    return Canary(tuple(honest), tampered)
