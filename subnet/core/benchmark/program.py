"""What must be run to grade an answer, and what came of it: a function, its calls, their results.

The right results are in neither: they stay with the grader, so that nothing that runs can know
them. All that untrusted code can do is to answer the calls, which is what was asked of it.
"""

import json
from dataclasses import dataclass
from typing import Final

WALL_SECONDS_MAX: Final = 4.0
CPU_SECONDS_MAX: Final = 3
CALL_SECONDS_MAX: Final = 0.5
"""A call that takes longer fails, and the next one is tried."""
MEMORY_BYTES_MAX: Final = 256 * 2**20
OUTPUT_BYTES_MAX: Final = 64 * 2**10
"""Of all results together; more is cut off there."""
SCRATCH_BYTES_MAX: Final = 2**20
"""Of all files together."""
SOURCE_CHARACTERS_MAX: Final = 16_000


@dataclass(frozen=True)
class Program:
    """Python source that defines `function`, and the calls to make: JSON arrays of arguments."""

    source: str
    function: str
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The JSON text that each call returned, in order; None for one that failed or took too long.

    Untrusted: whatever ran could have written any text in any place.
    """

    results: tuple[str | None, ...]


def is_result(found: str | None, expected: str) -> bool:
    """Whether a call returned the expected JSON value. Types count: 1, 1.0 and true differ."""
    if found is None:
        return False
    try:
        return canonical(json.loads(found)) == expected
    except (ValueError, RecursionError):
        return False


def canonical(value: object) -> str:
    """The one JSON text of a value. Raises ValueError for NaN, RecursionError if it is too deep."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
