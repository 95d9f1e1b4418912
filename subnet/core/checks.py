"""an epoch's file -> CHECKS: what a replay looks at, and what each look comes to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from subnet.core.echoes import EchoPool
from subnet.core.records import Record, Started
from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding
from subnet.core.statement import EpochStatement, SignedStatement

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
    rules: RuleParams | None
    """In use when the epoch began; None before the first statement."""
    before: tuple[MinerStanding, ...]
    """The standings that the previous statement commits to."""
    lines: tuple[bytes, ...]
    """The records as they are kept, in order."""
    secrets: Mapping[int, bytes]
    """Those revealed, by period."""
    pools: Mapping[int, EchoPool]
    """Of all periods that the records are of, of this one and of the next."""
    head_before: bytes | None = None
    """The head over all statements before this one; None for the first."""
    later: tuple[str, ...] = ()
    """Digests of the statements that followed this one when the file was written."""

    @property
    def said(self) -> EpochStatement:
        """The statement."""
        return self.signed.statement

    @property
    def said_before(self) -> EpochStatement | None:
        """The statement before."""
        return None if self.previous is None else self.previous.statement


@dataclass(frozen=True, slots=True)
class Segment:
    """Records between two starts of the validator's process: one set of rules, one release."""

    rules: RuleParams
    release_digest: str
    records: Sequence[Record]


class FailedError(Exception):
    """A check failed; the message says at what."""


class OpenError(Exception):
    """A check cannot be made; the message says for want of what."""


def segments_of(file: EpochFile, records: Sequence[Record]) -> list[Segment]:
    """The records by the process that made them. Raises FailedError."""
    before = file.said_before
    rules = file.rules
    release = None if before is None else before.release_digest
    found: list[Segment] = []
    part: list[Record] = []
    for record in (*records, None):
        if record is None or isinstance(record, Started):
            if rules is not None and release is not None:
                found.append(Segment(rules, release, part))
            elif part:
                raise FailedError("records stand before the first start of a process")
            part = []
        if isinstance(record, Started):
            rules, release = record.rules, record.release_digest
        if record is not None:
            part.append(record)
    if not found:
        raise FailedError("no process was ever started")
    return found
