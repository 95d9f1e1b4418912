"""failure, company -> BLAME: whose fault it is that there is no answer.

A miner pays for its own silence alone. When most of the others cannot be reached at the same
moment, the way there is broken; when our own loop wakes up late, we are; when we had asked for more
than a miner offers, its refusal is no fault at all. The witnesses are drawn, one for each owner,
from miners that have proven themselves: to pass its own failure off as the network's, an owner
needs most of the others to fail with it.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from subnet.core.audit import PPM, Ppm
from subnet.core.benchmark.draws import Draws


class FaultParams(BaseModel):
    """When a fault is not the miner's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outage_witnesses: Annotated[int, Field(ge=1, le=256)] = 15
    """Owners whose miners are looked at after a miner stalled."""
    outage_witnesses_min: Annotated[int, Field(ge=2, le=256)] = 3
    """With fewer the fault is the miner's."""
    outage_ppm: Annotated[Ppm, Field(ge=500_000)] = 666_667
    """Share of the witnesses that must be out of reach too."""
    outage_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """For how long a look at them, or a late loop, speaks for other faults."""
    lag_seconds_max: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """By how much our own loop may wake up late before what it timed is held against nobody."""


def draw_witnesses(
    secret: bytes, counter: int, owner_of: Mapping[str, str], params: FaultParams
) -> list[str]:
    """Hotkeys to look at after request `counter` stalled, each of another owner.

    `owner_of` holds the owner of each hotkey that has proven itself and can be asked.
    """
    draws = Draws(b"assay/witness/1", secret, counter.to_bytes(8, "little"))
    one_each: dict[str, str] = {}
    for hotkey in draws.sample(sorted(owner_of), len(owner_of)):
        one_each.setdefault(owner_of[hotkey], hotkey)
    return list(one_each.values())[: params.outage_witnesses]


def is_outage(out_of_reach: int, witnesses: int, params: FaultParams) -> bool:
    """Whether so many of the witnesses fail that the network does."""
    return (
        witnesses >= params.outage_witnesses_min
        and out_of_reach * PPM >= params.outage_ppm * witnesses
    )


def is_over_asked(others_in_flight: int, declared: int) -> bool:
    """Whether a miner that says it is full already had from us all that it offers one caller.

    That is three quarters of what it declared: it keeps the rest for callers with less.
    """
    return 4 * others_in_flight >= 3 * declared
