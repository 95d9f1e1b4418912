"""evidence -> alarm -> HOLD -> second opinion -> GATE: from a suspicion to a verdict.

An alarm rests on one engine's numbers, and an engine can be wrong in ways that its canaries, which
it makes itself, cannot show. So an alarm only holds new pay; the gate closes on what a second
engine finds in the same transcripts, or after one epoch without any answer of it.
"""

from pydantic import BaseModel, ConfigDict

from subnet.core.audit import Traffic

ALARM = "ALARM"
"""The one reason of a closed gate that rests on numerics; every other is an exact check."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateClosure(_Frozen):
    """Why a miner's gate closed."""

    reason: str
    """`ALARM`, or the stable word of the exact check that failed."""
    detail: str
    at_ns: int
    clean_answers: int = 0
    """Audited answers since then without a warning."""


class Hold(_Frozen):
    """An alarm on which the second opinion is still open."""

    traffic: Traffic
    """Whose detector alarmed."""
    detail: str
    at_ns: int
    withheld_ppm: int | None = None
    """The score that one epoch's weights went without; None before any did. Never more than one."""


def on_alarm(
    closure: GateClosure | None, hold: Hold | None, alarm: Hold, *, has_second_opinion: bool
) -> tuple[GateClosure | None, Hold | None]:
    """Closure and hold after an alarm.

    Beside an open question or behind a closed gate another alarm changes nothing: if it replaced
    the question, whoever cheats faster than the second engine loads would never be judged. Without
    a second engine the alarm is the verdict.
    """
    if closure is not None or hold is not None:
        return closure, hold
    if has_second_opinion:
        return None, alarm
    return GateClosure(reason=ALARM, detail=alarm.detail, at_ns=alarm.at_ns), None


def closure_after_audit(closure: GateClosure | None, *, is_warned: bool) -> GateClosure | None:
    """The way back: one clean answer further, or at its start again."""
    if closure is None:
        return None
    return closure.model_copy(
        update={"clean_answers": 0 if is_warned else closure.clean_answers + 1}
    )
