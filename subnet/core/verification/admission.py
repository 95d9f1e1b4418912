"""table -> ADMISSION -> refusals: why a calibration may not be used, in plain lines.

Both sides of the bargain are tried on what the table was not fitted on: honest answers must raise
no alarm, and the shipped attacks must raise one in time.
"""

from typing import Final

from subnet.core.verification.calibration import CalibrationTable, HeldOut
from subnet.core.verification.power import shortfalls

ROUNDING: Final = 1e-9
"""A bet that no bucket pays has a factor of exactly 1, but for the last bits."""


def refused(table: CalibrationTable) -> tuple[str, ...]:
    """One line for each reason; none for a table that may be used.

    What was not measured refuses too: benchmarks, users' prompts and power all have to be tried.
    """
    users = None if table.users is None else table.users.held_out
    lines = [*_of_honest("benchmarks", table.held_out), *_of_honest("hostile prompts", users)]
    if table.drawn is not None:
        lines += _of_honest("what validators draw", table.drawn.held_out)
    if table.users is not None and table.users.repeated_alarms:
        lines.append(f"{table.users.repeated_alarms} hostile prompts convict if asked repeatedly")
    if table.power is None:
        return (*lines, "no attack was played against it")
    for kind, found in (("", table.power.benchmark), ("of users, ", table.power.organic)):
        lines += [f"{kind}{line}" for line in shortfalls(found)]
    return tuple(lines)


def _of_honest(kind: str, found: HeldOut | None) -> list[str]:
    if found is None:
        return [f"no honest answers to {kind} were held out"]
    lines = []
    if found.alarms:
        lines.append(f"honest answers to {kind} raised {found.alarms} alarms")
    if found.mean_factor_max > 1 + ROUNDING:
        lines.append(f"honest answers to {kind} pay a bet: mean factor {found.mean_factor_max:.3f}")
    return lines
