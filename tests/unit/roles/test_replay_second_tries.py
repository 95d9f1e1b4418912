"""A second try is for those who fell short, with the same company, once: no friend gets another."""

import itertools
from dataclasses import replace

import pytest

from subnet.core.burst_plan import BurstPlan, after_begin, after_void
from subnet.core.checks import FailedError, Outcome
from subnet.core.cover import Cover
from subnet.core.records import Answered, Begun, InBurst, Measured, Voided, VoidWord
from subnet.core.replay import replay
from subnet.core.replay_begun import assert_planned
from tests.replay_support import (
    changed,
    of_burst,
    place_of,
    problem,
    records_of,
    restated,
    signed,
    verify,
)
from tests.validator_support import miner_hotkey


@pytest.fixture(scope="module")
def files(burst_files):
    return burst_files


@pytest.fixture(scope="module")
def told(files):
    """The file in which a second try begins, its place, and the burst whose second try it is."""
    for file in files:
        for at, record in enumerate(records_of(file)):
            if isinstance(record, Begun) and record.instead_of is not None:
                assert record.absent
                return file, at, record
    raise AssertionError("no second try")


def begins(files):
    return [
        (file, at, record)
        for file in files
        for at, record in enumerate(records_of(file))
        if isinstance(record, Begun) and record.period in file.secrets
    ]


def first_of(files, second):
    return next(one for _, _, one in begins(files) if one.burst == second.instead_of)


def seats(begun, pair):
    first, second = pair
    blocks = begun.blocks
    return dict.fromkeys(blocks[first], (second,)) | dict.fromkeys(blocks[second], (first,))


def without_bursts(file, *hotkeys):
    """The same with none of these hotkeys' answers told to be of a burst."""
    lines = [
        record.model_copy(update={"in_burst": None}).to_bytes()
        if isinstance(record, Answered) and record.miner_hotkey in hotkeys
        else record.to_bytes()
        for record in records_of(file)
    ]
    return restated(file, lines)


def test_an_honest_second_try_has_the_first_ones_company(files, told):
    _, _, second = told
    first = first_of(files, second)
    assert (second.cover, second.pair, second.group) == (first.cover, first.pair, first.group)
    rates = [one for file in files for one in records_of(file) if isinstance(one, Measured)]
    again = {one.miner_hotkey: one.result for one in rates if one.result.burst == second.burst}
    assert again.keys() == first.group.keys()
    assert second.instead_of == first.burst
    assert {one.met_ppm for one in again.values()} == {0}
    assert all(again[hotkey].rate_tps_milli == 0 for hotkey in second.absent)


def test_a_good_second_try_for_a_friend_whose_first_was_fine_is_seen(files):
    """It would take the place of a rate that is not as good."""
    found = begins(files)
    for (_, _, first), (file, at, later) in itertools.pairwise(found):
        if later.instead_of is None and first.instead_of is None and later.cover == first.cover:
            lie = {"instead_of": first.burst, "pair": first.pair, "group": first.group}
            words = f"no second try that burst {first.burst} asks for"
            assert words in problem(changed(file, at, **lie))
            return
    raise AssertionError("no two first tries of one cover")


def test_a_third_try_within_one_cover_is_seen(files, told):
    """All who fell in the second had theirs."""
    _, _, second = told
    file, at, _ = next(one for one in begins(files) if one[2].burst > second.burst)
    lie = {"instead_of": second.burst, "pair": second.pair, "group": second.group}
    words = f"no second try that burst {second.burst} asks for"
    assert words in problem(changed(file, at, **lie))


def test_a_first_pair_that_comes_twice_is_seen(files):
    """Else a friend's good pair could count more than once."""
    found = [one for one in begins(files) if one[2].instead_of is None]
    (_, _, first), (file, at, later) = next(
        (one, other) for one, other in itertools.pairwise(found) if one[2].cover == other[2].cover
    )
    lie = {"pair": first.pair, "group": seats(later, first.pair)}
    assert "had its turn" in problem(changed(file, at, **lie))


def test_another_pair_than_is_drawn_is_seen(files):
    for file, at, record in begins(files):
        plan = file.said.burst_plan
        is_first = record.instead_of is None and record.cover < record.burst
        others = [one for one in plan.left if one != record.pair]
        if is_first and others and plan.covers[-1].number == record.cover:
            lie = {"pair": others[0], "group": seats(record, others[0])}
            if "draws another pair" in problem(changed(file, at, **lie)):
                return
    raise AssertionError("no such lie was seen")


def test_a_second_try_that_does_not_come_is_seen(files, told):
    """For whom nobody likes."""
    file, at, second = told
    other = next(pair for pair in file.said.burst_plan.left if pair != second.pair)
    group = seats(second, other) | second.group
    lie = {"instead_of": None, "pair": other, "group": group, "absent": ()}
    assert f"{second.pair} of cover {second.cover} was due again" in problem(
        changed(file, at, **lie)
    )


def test_a_second_try_that_waits_though_its_hotkey_is_there_is_seen(files, told):
    file, at, second = told
    aside = {one for block in second.blocks for one in block} - second.group.keys()
    (other, *_) = [
        pair
        for pair in file.said.burst_plan.left
        if seats(second, pair).keys() <= aside and pair != second.pair
    ]
    lie = {"instead_of": None, "pair": other, "group": seats(second, other), "absent": ()}
    hidden = without_bursts(replace(changed(file, at, **lie), secrets={}), *second.group)
    assert "second try" not in problem(hidden), "those whom it is for answered nothing then"
    wanted = file.said_before.burst_plan.again[-1].wanted[0]
    lines = [
        record.model_copy(update={"miner_hotkey": wanted}).to_bytes()
        if getattr(record, "miner_hotkey", None) == miner_hotkey(1)
        else record.to_bytes()
        for record in records_of(hidden)
    ]
    assert f"the second try of {wanted} was due" in problem(restated(hidden, lines))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: {"group": dict([*one.group.items()][1:])}, "others than burst"),
        (lambda one: {"group": one.group | {outsider(one): one.pair}}, "others than burst"),
        (lambda one: {"group": one.group | {next(iter(one.group)): (99,)}}, "others than burst"),
        (lambda one: {"absent": (*one.absent, outsider(one))}, "is in it and is not"),
        (lambda one: {"absent": tuple(one.group)}, "nobody was there"),
        (lambda one: {"absent": ()}, "gate of"),
        (lambda one: {"instead_of": one.instead_of - 1}, "was due again"),
        (lambda one: {"instead_of": None}, "was due again"),
        (lambda one: {"cover": one.cover - 1}, "was due again"),
    ],
)
def test_another_company_than_the_first_trys_is_seen(told, change, words):
    file, at, second = told
    assert words in problem(changed(file, at, **change(second)))


def outsider(begun):
    return next(one for block in begun.blocks for one in block if one not in begun.group)


def test_a_friends_rival_on_one_engine_that_is_called_absent_is_seen(files, told):
    """It was asked just before and just after."""
    file, at, second = told
    for hotkey in second.group.keys() - {*second.absent}:
        lie = changed(file, at, absent=(*second.absent, hotkey))
        if "was left out" in problem(without_bursts(lie, hotkey)):
            return
    raise AssertionError("no such lie was seen")


def test_an_answer_of_whom_a_burst_calls_absent_is_seen(told):
    file, _, second = told
    at = place_of(file, Answered, lambda one: of_burst(second.burst, Answered)(one))
    told_of = InBurst(burst=second.burst, tokens=0)
    lie = changed(file, at, in_burst=told_of, miner_hotkey=second.absent[0])
    assert "never began" in problem(lie)


def test_a_first_try_calls_nobody_absent(files):
    file, at, first = next(one for one in begins(files) if one[2].instead_of is None)
    hotkey = next(iter(first.group))
    assert "is in it and is not" in problem(changed(file, at, absent=(hotkey,)))


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: {"again": ()},
        lambda plan: {"again": (*plan.again, *plan.again)},
        lambda plan: {"retries": plan.retries + 1},
        lambda plan: {"asked": {}},
        lambda plan: {"drawn": plan.drawn + 6},
        lambda plan: {"left": plan.left[1:]},
        lambda plan: {"covers": ()},
    ],
)
def test_another_plan_than_the_records_lead_to_is_seen(files, change):
    """The hidden second try, and the budget that another one would need."""
    file = next(one for one in files if one.said.burst_plan.again and one.said.burst_plan.left)
    plan = file.said.burst_plan
    lie = signed(file, burst_plan=plan.model_copy(update=change(plan)))
    assert "other bursts come next" in problem(lie)


def test_a_bad_burst_that_is_called_void_comes_again(files):
    """That our machine was overloaded is the validator's word. It saves nobody from the pair."""
    for file in files[1:]:
        began = [one for one in records_of(file) if isinstance(one, Begun)]
        open_ones = [one.begun for one in file.said.open_bursts]
        if began and open_ones == began[-1:] and len(began[-1].blocks) > 1:
            begun, at_us = began[-1], file.said.at_us
            void = Voided(at_us=at_us, first=begun.burst, last=begun.burst, word=VoidWord.VERIFIER)
            lie = restated(file, [*file.lines, void.to_bytes()])
            lie = signed(lie, open_bursts=())
            assert "other bursts come next" in problem(lie)
            plan = after_void(file.said.burst_plan, begun)
            assert plan.again[-1].pair == begun.pair
            lie = signed(lie, burst_plan=plan)
            assert all(one.outcome is not Outcome.FAILED for one in replay(lie, verify))
            return
    raise AssertionError("no burst outlives its epoch")


def test_a_plan_ends_with_its_process(files):
    """A restart is told, and begins a cover."""
    before, file = next(
        (one, other)
        for one, other in itertools.pairwise(files)
        if one.said.burst_plan.left and other.said.epoch_block > one.said.epoch_block + 100
    )
    begun = next(one for one in records_of(file) if isinstance(one, Begun))
    assert begun.cover == begun.burst + 1
    assert begun.cover not in {one.number for one in before.said.burst_plan.covers}
    assert file.said.burst_plan.drawn == 1
    plan = after_begin(before.said.burst_plan, begun, file.rules.capacity)
    assert "other bursts come next" in problem(signed(file, burst_plan=plan))


def test_a_first_try_is_of_the_cover_in_use(files):
    file, at, begun = next(one for one in begins(files) if one[2].cover == one[2].burst + 1)
    assert "was through" in problem(changed(file, at, cover=begun.burst + 2))
    covers = (Cover(1, begun.blocks), Cover(9, begun.blocks))
    plan = BurstPlan(covers=covers, left=(begun.pair,))
    assert_planned(begun.model_copy(update={"cover": 9}), plan)
    with pytest.raises(FailedError, match="was through"):
        assert_planned(begun.model_copy(update={"cover": 1}), plan)
