"""Which bursts come next: each pair once, again if nothing was proven, twice for who fell short."""

import pytest

from subnet.core.burst_plan import (
    BurstPlan,
    after_begin,
    after_rates,
    after_void,
    next_again,
    passed_over,
    result_of,
)
from subnet.core.capacity import CapacityParams
from subnet.core.cover import pairs, retries_max
from subnet.core.records import Begun
from tests.validator_support import miner_hotkey

PARAMS = CapacityParams(group_size=2)
A, B, C, D = map(miner_hotkey, range(4))
BLOCKS = tuple((one,) for one in (A, B, C, D))


def begun(burst, pair, *, cover=1, blocks=BLOCKS, instead_of=None, absent=()):
    first, second = pair
    group = dict.fromkeys(blocks[first], (second,))
    group |= dict.fromkeys(blocks[second], (first,))
    return Begun.model_construct(
        at_us=0,
        period=1,
        burst=burst,
        turn=0,
        turns=1,
        cover=cover,
        blocks=blocks,
        pair=pair,
        instead_of=instead_of,
        group=group,
        absent=absent,
    )


def after(*steps, plan=None):
    """A plan after bursts that began, each with who fell in it; None if it was void."""
    plan = plan or BurstPlan()
    for one, fallen in steps:
        plan = after_begin(plan, one, PARAMS)
        plan = after_void(plan, one) if fallen is None else after_rates(plan, one, fallen)
    return plan


def test_each_pair_of_a_cover_comes_once_and_then_another_cover():
    plan = BurstPlan()
    for number, pair in enumerate(pairs(4)):
        assert plan.left == () or pair in plan.left
        plan = after((begun(number, pair), ()), plan=plan)
        assert plan.drawn == 1 and pair not in plan.left
    assert plan.left == ()
    plan = after((begun(7, (0, 1), cover=8), ()), plan=plan)
    assert (plan.drawn, len(plan.left), plan.retries) == (2, 5, retries_max(4))
    assert [one.number for one in plan.covers] == [1, 8]


def test_who_falls_short_has_a_second_try_once_per_cover():
    plan = after((begun(0, (0, 1)), [A]))
    (again,) = plan.again
    assert (again.pair, again.instead_of, again.wanted) == ((0, 1), 0, (A,))
    assert again.group == begun(0, (0, 1)).group
    assert plan.retries == retries_max(4) - 1
    second = begun(1, (0, 1), instead_of=0)
    assert after((second, [A]), plan=plan).again == ()
    (other,) = after((second, (A, B)), plan=plan).again
    assert (other.instead_of, other.wanted) == (1, (B,))


def test_a_second_try_waits_until_somebody_is_there_whom_it_is_for():
    plan = after((begun(0, (0, 1)), [A]), (begun(1, (0, 2)), [C]))
    first, latest = plan.again
    assert next_again(plan, {A, B, C, D}) == latest
    assert next_again(plan, {A, B}) == first
    assert next_again(plan, {B, D}) is None
    assert passed_over(plan, begun(2, (0, 1), instead_of=0)) == (latest,)
    assert passed_over(plan, begun(2, (2, 3))) == (first, latest)


def test_who_is_not_there_for_its_second_try_may_have_another():
    plan = after((begun(0, (0, 1)), (A, B)))
    plan = after((begun(1, (0, 1), instead_of=0, absent=(B,)), (A, B)), plan=plan)
    (again,) = plan.again
    assert again.wanted == (B,)


def test_a_void_burst_comes_again_at_once_whoever_is_there():
    plan = after((begun(0, (0, 1)), None))
    again = next_again(plan, set())
    assert (again.pair, again.instead_of, again.group) == ((0, 1), None, {})
    assert after((begun(1, (0, 1)), ()), plan=plan).again == ()
    assert plan.retries == retries_max(4)


def test_a_void_second_try_comes_again_with_the_same_company():
    plan = after((begun(0, (0, 1)), [A]), (begun(1, (0, 1), instead_of=0), None))
    again = next_again(plan, set())
    assert (again.instead_of, again.group) == (0, begun(0, (0, 1)).group)


@pytest.mark.parametrize("fallen", [None, [A]])
def test_nothing_of_a_cover_that_counts_no_more_comes_again(fallen):
    plan = after((begun(0, (0, 1)), fallen), plan=BurstPlan())
    old = begun(1, (0, 2))
    plan = plan.model_copy(update={"left": ()})
    for cover in range(2, 2 + PARAMS.covers_kept):
        plan = after_begin(plan, begun(cover, (0, 1), cover=cover), PARAMS)
        plan = plan.model_copy(update={"left": ()})
    assert plan.again == ()
    assert after_void(plan, old) == plan == after_rates(plan, old, [C])


def test_a_single_block_meets_again_anyway():
    one = begun(0, (0, 0), cover=0, blocks=((A, B),))
    assert after((one, [A])).again == after((one, None)).again == ()


def test_a_second_try_is_no_further_share_of_the_cover():
    first, second = begun(0, (0, 1)), begun(1, (0, 1), instead_of=0)
    assert result_of(first, A, 5).met_ppm > 0 == result_of(second, A, 5).met_ppm
    assert result_of(second, A, 5).beside == (1,)
