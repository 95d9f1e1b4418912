"""The virtual loop: what else waits changes neither an instant nor the order within it."""

import asyncio

from subnet.sim.loop import run_virtual

SLEEPERS = 9


async def woken(looks):
    """(name, instant) of sleepers of one length, beside so many short looks at something else."""
    found = []

    async def sleep(name):
        for _ in range(3):
            await asyncio.sleep(0.7)
            found.append((name, asyncio.get_running_loop().time()))

    async def look():
        for _ in range(looks):
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for name in range(SLEEPERS):
            group.create_task(sleep(name))
        group.create_task(look())
    return found


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set():
    found = run_virtual(woken(0))
    assert [name for name, _ in found] == list(range(SLEEPERS)) * 3


def test_who_else_wakes_changes_nothing():
    assert run_virtual(woken(40)) == run_virtual(woken(0))
