"""an epoch's file -> CHECKS: what a replay looks at, and what each look comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding
from subnet.core.statement import SignedStatement

Verify = Callable[[bytes, str, str], bool]
"""Message, signature, hotkey -> whether the hotkey signed it."""


class Outcome(StrEnum):
    """What one check came to."""

    HELD = "HELD"
    FAILED = "FAILED"
    OPEN = "OPEN"
    """It needs what is not revealed yet, or not in the file."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that anybody can check."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class EpochFile:
    """One epoch as a validator hands it out."""

    signed: SignedStatement
    previous: SignedStatement | None
    rules: RuleParams
    before: tuple[MinerStanding, ...]
    """The standings that the previous statement commits to."""
    lines: tuple[bytes, ...]
    """The records as they are kept, in order."""
    secrets: Mapping[int, bytes]
    """Those revealed, by period."""


class FailedError(Exception):
    """A check failed; the message says at what."""


class OpenError(Exception):
    """A check cannot be made; the message says for want of what."""
