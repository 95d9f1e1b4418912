"""readings -> VERDICT: the detector's path over a run of answers, the same for all who replay it.

The validator takes one step an audit; whoever checks its evidence takes them all again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from subnet.core.verification.bounds import Reading
from subnet.core.verification.evidence import (
    EvidenceParams,
    EvidenceState,
    Readings,
    alarm,
    log_evidence,
    update,
    warn,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A detector after one answer."""

    state: EvidenceState
    log_evidence: float
    """The natural logarithm; -inf for none."""
    is_warned: bool
    is_alarmed: bool


def step(before: EvidenceState, found: Readings, params: EvidenceParams) -> Step:
    """One answer further."""
    state = update(before, found, params)
    evidence = log_evidence(state)
    return Step(
        state,
        evidence,
        is_warned=warn(evidence, params),
        is_alarmed=alarm(evidence, params),
    )


def replay(start: EvidenceState, found: Iterable[Readings], params: EvidenceParams) -> list[Step]:
    """The whole path, answer by answer; it does not start over at an alarm."""
    path: list[Step] = []
    for readings in found:
        path.append(step(path[-1].state if path else start, readings, params))
    return path


def quiet(seen: Reading) -> Reading:
    """The same as if nothing had accused: no truth gives less evidence."""
    return Reading((sum(seen.counts), *(0,) * (len(seen.counts) - 1)), seen.p0)
