"""plan, secret, standings -> CHECKS of a burst that began: it was due, and its company with it."""

from subnet.core.burst_plan import Again, BurstPlan, again_of, passed_over
from subnet.core.capacity import ONE_BLOCK, CapacityParams
from subnet.core.checks import FailedError
from subnet.core.cover import (
    LATE_SECONDS_MAX,
    Cover,
    Turn,
    burst_starts_at,
    draw_cover,
    draw_pair,
    newcomers_max,
    pairs,
    turns_max,
)
from subnet.core.records import Begun
from subnet.core.replay_walk import BurstView

_MICROSECONDS = 1_000_000


def assert_planned(record: Begun, plan: BurstPlan) -> Again | None:
    """Cover and pair are due; what the burst repeats, if anything."""
    number, again = record.burst, again_of(plan, record)
    for one in passed_over(plan, record):
        if not one.wanted or any(record.loads(hotkey) for hotkey in one.wanted):
            raise FailedError(f"burst {number}: {one.pair} of cover {one.cover} was due again")
    if record.pair not in pairs(len(record.blocks)):
        raise FailedError(f"burst {number}: its cover has no such blocks")
    if again is None and record.instead_of is not None:
        words = f"it is no second try that burst {record.instead_of} asks for"
        raise FailedError(f"burst {number}: {words}")
    is_new = again is None and not plan.left
    if is_new and record.cover not in (ONE_BLOCK, number + 1):
        raise FailedError(f"burst {number}: cover {record.cover} was through")
    if not is_new and Cover(record.cover, record.blocks) not in plan.covers:
        raise FailedError(f"burst {number}: cover {record.cover} has other blocks")
    if again is None and plan.left:
        if record.cover != plan.covers[-1].number:
            raise FailedError(f"burst {number}: cover {record.cover} was through")
        if record.pair not in plan.left:
            raise FailedError(f"burst {number}: {record.pair} had its turn in this cover")
    return again


def assert_repeats(record: Begun, again: Again, view: BurstView) -> None:
    """A second try has the company of the first, and comes only if it is there for whom it is."""
    number = record.burst
    if record.group != again.group:
        words = f"others than burst {record.instead_of} had take part"
        raise FailedError(f"burst {number}: {words} in its second try")
    if stray := set(record.absent) - record.group.keys():
        raise FailedError(f"burst {number}: {min(stray)} is in it and is not")
    if again.wanted and not any(record.loads(hotkey) for hotkey in again.wanted):
        raise FailedError(f"burst {number}: nobody was there whom a second try is for")
    _assert_open(record, view)


def assert_group(record: Begun, view: BurstView, params: CapacityParams) -> None:
    """Each member met the other block, or both if it rides along for a reason."""
    number, blocks = record.burst, record.blocks
    first, second = record.pair
    both = tuple(dict.fromkeys(record.pair))
    known = {hotkey for block in blocks for hotkey in block}
    seats = dict.fromkeys(blocks[first], (second,)) | dict.fromkeys(blocks[second], (first,))
    riders = {hotkey for hotkey, beside in record.group.items() if beside != seats.get(hotkey)}
    if record.absent:
        raise FailedError(f"burst {number}: {record.absent[0]} is in it and is not")
    _assert_open(record, view)
    for hotkey, beside in record.group.items():
        if hotkey in riders and beside != both:
            raise FailedError(f"burst {number}: {hotkey} met other blocks")
    newcomers = record.group.keys() - known - view.shortfalls_ppm.keys()
    if uninvited := riders & known - view.shortfalls_ppm.keys():
        raise FailedError(f"burst {number}: nothing lets {min(uninvited)} ride along")
    if len(newcomers) > newcomers_max(params):
        raise FailedError(f"burst {number}: {len(newcomers)} newcomers ride along")


def assert_drawn(record: Begun, secret: bytes, view: BurstView, params: CapacityParams) -> None:
    """Instant and, for a cover that begins here, blocks are what the secret draws."""
    number = record.burst
    if record.turn >= record.turns or record.turns > turns_max(params):
        raise FailedError(f"burst {number}: there is no turn {record.turn} of {record.turns}")
    turn = Turn(record.turn, record.turns)
    starts_at = burst_starts_at(secret, number, turn, params)
    if abs(record.at_us / _MICROSECONDS - starts_at) > LATE_SECONDS_MAX:
        raise FailedError(f"burst {number} began at another instant than the secret draws")
    if record.cover not in (ONE_BLOCK, number + 1):
        return
    hotkeys = [hotkey for block in record.blocks for hotkey in block]
    drawn = draw_cover(secret, number + 1, hotkeys, view.shortfalls_ppm, params)
    if drawn != Cover(record.cover, record.blocks):
        raise FailedError(f"burst {number}: its cover has other blocks than the secret draws")


def assert_pair(record: Begun, secret: bytes, view: BurstView, plan: BurstPlan) -> None:
    """Which pair comes next follows from who met whom, and from the secret."""
    left = plan.left or pairs(len(record.blocks))
    cover = Cover(record.cover, record.blocks)
    if draw_pair(secret, record.burst, left, cover, view.met_ppm) != record.pair:
        raise FailedError(f"burst {record.burst}: the secret draws another pair")


def _assert_open(record: Begun, view: BurstView) -> None:
    for hotkey in record.group:
        if record.loads(hotkey) and hotkey in view.closed:
            raise FailedError(f"burst {record.burst}: the gate of {hotkey} was closed")
