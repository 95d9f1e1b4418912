"""bursts that began and ended -> PLAN: which burst comes next, and which gets a second try.

A cover brings each pair of its blocks once. A burst that proved nothing comes again. One in which
somebody fell short has a second try with the same hotkeys, which counts instead of it. The prober
and a replay fold the same plan; it ends with the process that made it.
"""

from collections.abc import Iterable, Set
from typing import Annotated

from pydantic import Field

from protocol.message import WireMessage
from protocol.units import Hotkey
from subnet.core.capacity import BurstResult, CapacityParams
from subnet.core.cover import (
    COVERS_REMEMBERED,
    Cover,
    Pair,
    met_ppm,
    pairs,
    retries_max,
    tried_again_for,
)
from subnet.core.records import Begun

Count = Annotated[int, Field(ge=0)]


class Again(WireMessage):
    """A burst that comes again."""

    cover: Count
    pair: Pair
    instead_of: Count | None
    """Its first try, which counts until the second; None if it was void."""
    group: dict[Hotkey, tuple[Count, ...]]
    """Who takes part in a second try, with the blocks that each meets; empty for a first one."""
    wanted: tuple[Hotkey, ...]
    """It waits until one of these is there, if there are any; in order."""


class BurstPlan(WireMessage):
    """What a validator's next bursts follow from, besides its secret and who is there."""

    covers: tuple[Cover, ...] = ()
    """Those that still count, the latest last."""
    left: tuple[Pair, ...] = ()
    """Pairs of the latest that did not come yet."""
    again: tuple[Again, ...] = ()
    """The latest comes first."""
    retries: Count = 0
    """How many more bursts may have a second try until the next cover."""
    drawn: Count = 0
    """Covers."""
    asked: dict[Hotkey, Count] = Field(default_factory=dict)
    """For whose sake a burst was last tried again: how many covers were drawn by then."""


def next_again(plan: BurstPlan, present: Set[str]) -> Again | None:
    """The latest burst that comes again and need not wait any longer."""
    ready = (one for one in plan.again if not one.wanted or not present.isdisjoint(one.wanted))
    return next(reversed([*ready]), None)


def again_of(plan: BurstPlan, begun: Begun) -> Again | None:
    """What a burst that began is the repetition of."""
    told = begun.cover, begun.pair, begun.instead_of
    found = (one for one in plan.again if (one.cover, one.pair, one.instead_of) == told)
    return next(found, None)


def passed_over(plan: BurstPlan, begun: Begun) -> tuple[Again, ...]:
    """What would have come before a burst that began, had somebody been there whom it is for."""
    again = again_of(plan, begun)
    return plan.again if again is None else plan.again[plan.again.index(again) + 1 :]


def after_begin(plan: BurstPlan, begun: Begun, params: CapacityParams) -> BurstPlan:
    """The plan once a burst began. One that repeats none begins a cover if no pair is left."""
    again = again_of(plan, begun)
    if again is not None:
        missed = [hotkey for hotkey in again.wanted if hotkey in begun.absent]
        return plan.model_copy(
            update={
                "again": tuple(one for one in plan.again if one != again),
                "asked": plan.asked | dict.fromkeys(missed, plan.drawn - 1),
            }
        )
    if not plan.left:
        plan = _with_cover(plan, Cover(begun.cover, begun.blocks), params)
    return plan.model_copy(update={"left": tuple(one for one in plan.left if one != begun.pair)})


def after_rates(plan: BurstPlan, begun: Begun, fallen: Iterable[str]) -> BurstPlan:
    """The plan once a burst's rates are told, in which `fallen` gave less than they can."""
    if not _may_repeat(plan, begun):
        return plan
    blocks = len(begun.blocks)
    wanted = tried_again_for(fallen, plan.asked, plan.drawn, plan.retries, blocks)
    if not wanted:
        return plan
    again = Again(
        cover=begun.cover,
        pair=begun.pair,
        instead_of=begun.burst,
        group=begun.group,
        wanted=tuple(sorted(wanted)),
    )
    return plan.model_copy(
        update={
            "again": (*plan.again, again),
            "retries": plan.retries - 1,
            "asked": plan.asked | dict.fromkeys(wanted, plan.drawn),
        }
    )


def after_void(plan: BurstPlan, begun: Begun) -> BurstPlan:
    """The plan once a burst that began proved nothing, though its process runs on."""
    if not _may_repeat(plan, begun):
        return plan
    again = Again(
        cover=begun.cover,
        pair=begun.pair,
        instead_of=begun.instead_of,
        group={} if begun.instead_of is None else begun.group,
        wanted=(),
    )
    return plan.model_copy(update={"again": (*plan.again, again)})


def result_of(begun: Begun, hotkey: str, rate_tps_milli: int) -> BurstResult:
    """What a burst showed of one of its group. A second try is no further share of the cover."""
    beside, is_first = begun.group[hotkey], begun.instead_of is None
    share = met_ppm(Cover(begun.cover, begun.blocks), beside) if is_first else 0
    return BurstResult(
        cover=begun.cover,
        burst=begun.burst,
        beside=beside,
        met_ppm=share,
        rate_tps_milli=rate_tps_milli,
    )


def _with_cover(plan: BurstPlan, cover: Cover, params: CapacityParams) -> BurstPlan:
    covers, drawn = (*plan.covers, cover)[-params.covers_kept :], plan.drawn + 1
    numbers = {one.number for one in covers}
    return BurstPlan(
        covers=covers,
        left=tuple(pairs(len(cover.blocks))),
        again=tuple(one for one in plan.again if one.cover in numbers),
        retries=retries_max(len(cover.blocks)),
        drawn=drawn,
        asked={one: at for one, at in plan.asked.items() if drawn - at < COVERS_REMEMBERED},
    )


def _may_repeat(plan: BurstPlan, begun: Begun) -> bool:
    """Whether its cover counts; a single block's hotkeys meet again in the next burst anyway."""
    return len(begun.blocks) > 1 and begun.cover in {one.number for one in plan.covers}
