"""A loop restarts after the world's failures, ends all by our own, and never ends silently."""

import asyncio
import itertools

import pytest

from subnet.ports import ChainError
from subnet.roles.supervisor import LoopEndedError, Supervisor
from subnet.sim.loop import run_virtual


class Loop:
    """Does what its script says: an exception to raise, or None to return."""

    def __init__(self, *script, runs_for=0.0):
        self.script = list(script)
        self.runs_for = runs_for
        self.started_at = []

    async def run(self):
        self.started_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.runs_for)
        step = self.script.pop(0)
        if step is not None:
            raise step


def kept(loop, until_done=True):
    supervisor = Supervisor(1.0, 8.0)
    keep = supervisor.keep_until_done if until_done else supervisor.keep
    run_virtual(keep("test", loop.run))
    return supervisor


def test_a_failure_of_the_world_restarts_the_loop_and_is_counted():
    loop = Loop(ChainError("gone"), ChainError("gone"), None)
    assert kept(loop).restarts["test"] == 2
    assert len(loop.started_at) == 3


def test_pauses_double_up_to_their_limit():
    loop = Loop(*[ChainError("gone")] * 6, None)
    kept(loop)
    times = loop.started_at
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [1, 2, 4, 8, 8, 8]


def test_a_loop_that_ran_well_for_a_while_restarts_quickly_again():
    loop = Loop(*[ChainError("gone")] * 4, None, runs_for=100.0)
    kept(loop)
    times = loop.started_at
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [101] * 4


@pytest.mark.parametrize("defect", [ValueError("ours"), AssertionError("ours"), KeyError("ours")])
def test_our_own_defect_is_never_restarted(defect):
    loop = Loop(defect, None)
    with pytest.raises(type(defect)):
        kept(loop)
    assert len(loop.started_at) == 1


def test_a_loop_that_must_run_for_ever_may_not_return():
    with pytest.raises(LoopEndedError, match="the test loop returned"):
        kept(Loop(None), until_done=False)


def test_a_defect_in_one_loop_ends_its_siblings():
    async def main():
        supervisor = Supervisor(1.0, 8.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.keep("well", asyncio.Event().wait))
            group.create_task(supervisor.keep("broken", Loop(ValueError("ours")).run))

    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(main())
    assert caught.group_contains(ValueError, match="ours")
