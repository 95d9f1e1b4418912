"""What shipped strategies do, and what the simulator lets them see, give and pay."""

import math

import pytest

from subnet.config import load_settings
from subnet.sim.adversaries import (
    Buffer,
    LeakedFriend,
    PartTimer,
    Picky,
    RentsForProbes,
    SlowButAdequate,
)
from subnet.sim.client import _times_us
from subnet.sim.profiles import HONEST
from subnet.sim.result import result_of
from subnet.sim.strategy import HONESTLY, Move, Seen, Strategy
from subnet.sim.validators import Leaker
from tests.simulation_support import ROOT, laboratory, simulated

SETTINGS = load_settings(ROOT / "subnet.toml", environ={})


def seen(now_seconds=0.0, running=0, family="open"):
    return Seen(
        hotkey="miner",
        number=0,
        validator="validator",
        now_seconds=now_seconds,
        family=family,
        is_users=False,
        is_structured=False,
        temperature_milli=1000,
        top_p_milli=950,
        tokens_max=96,
        running=running,
        told_benchmark=None,
        chance=None,
    )


def latency_of(run, name):
    """Mean latency factors of a strategy's first hotkeys, at the first validator."""
    found = {one.hotkey: one.latency for one in run.validators[0].store.standings()}
    own = [found[one.hotkeys[0]] for one in run.fleet.named(name)]
    return [one.total / one.weight for one in own]


class Watching(Strategy):
    """Notes all that it sees."""

    name = LeakedFriend.name

    def __init__(self):
        self.seen = []

    def move(self, seen):
        self.seen.append(seen)
        return HONESTLY


def test_a_friend_is_told_by_the_leaker_alone_and_whoever_reads_knows_users():
    watching = Watching()
    run = simulated(watching, dishonest=[Leaker()], prompts_per_hour=60.0)
    leaker = next(one.hotkey for one in run.validators if one.strategy.is_leaking)
    told = [one for one in watching.seen if one.told_benchmark is not None]
    assert {one.validator for one in told} == {leaker}
    assert all(one.told_benchmark is not one.is_users for one in told)
    assert {one.is_users for one in told} == {True, False}
    assert all(one.family == "open" for one in watching.seen if one.is_users)


def test_tokens_that_are_held_leave_together_and_the_others_as_they_come():
    assert _times_us(0.1, 1.0, 0.5, 4, 0.0) == (1_100_000, 1_600_000, 2_100_000, 2_600_000)
    assert _times_us(0.1, 1.0, 0.5, 4, 1.8) == (1_900_000, 1_900_000, 2_100_000, 2_600_000)
    assert _times_us(0.1, 1.0, 0.5, 3, 9.0) == (9_100_000,) * 3


def test_a_buffer_is_marked_below_the_same_engine_that_streams():
    run = simulated(Buffer(), hours=2.0)
    (buffer,) = latency_of(run, Buffer.name)
    assert buffer < 0.98 * min(latency_of(run, HONEST))


def test_whole_answers_at_their_end_are_marked_lower_still():
    class AtOnce(Strategy):
        name = "at once"

        def move(self, seen):
            return Move(held_seconds=math.inf)

    run = simulated(AtOnce(), hours=1.0)
    (late,) = latency_of(run, "at once")
    assert 0.3 < late < 0.9 * min(latency_of(run, HONEST))


def test_whoever_refuses_half_pays_for_half_a_gpu():
    class Half(Strategy):
        name = "half"

        def move(self, seen):
            return Move(is_refused=seen.chance.random() < 0.5)

    run = simulated(Half(), hours=2.0)
    (half,), (honest, *_) = run.fleet.named("half"), run.fleet.named(HONEST)
    assert half.cost_usd() / honest.cost_usd() == pytest.approx(0.5, abs=0.1)


def test_nobody_is_at_home_when_a_part_timer_is_off():
    class Off(PartTimer):
        def move(self, seen):
            raise AssertionError("it was reached")

        def is_on(self, now_seconds):
            return False

    run = simulated(Off(), hours=1.0)
    (operator,) = run.fleet.named(PartTimer.name)
    assert sum(one.incomes_rao.get(operator.hotkeys[0], 0) for one in run.chain.outcomes) == 0


@pytest.mark.parametrize(
    ("control", "accused"), [(PartTimer, 1), (SlowButAdequate, 1), (Buffer, 0)]
)
def test_an_accused_control_counts_as_an_honest_miner_that_was_accused(control, accused):
    run = simulated(control(), hours=0.5)
    (operator,) = run.fleet.named(control.name)
    run.validators[0].store.accused.add(operator.hotkeys[0])
    assert result_of(run).quarantined_honest == accused


def test_a_slower_engine_is_compared_by_its_speed_too():
    run = simulated(SlowButAdequate(), hours=0.5)
    found = {one.name: one for one in result_of(run).strategies}
    slow, (gpu, *_) = laboratory().prices.named("RTX 4090"), laboratory().prices.gpu
    honest, control = found[HONEST], found[SlowButAdequate.name]
    share = control.income_rao / (honest.income_rao / honest.hotkeys)
    speed = slow.tokens_per_second_max / gpu.tokens_per_second_max
    assert control.income_per_speed_over_honest == pytest.approx(share / speed, rel=1e-4)
    assert honest.income_per_speed_over_honest == pytest.approx(1.0, rel=1e-4)


def test_the_picky_one_stays_just_below_what_is_still_rare():
    share = Picky.share / len(SETTINGS.draws.families)
    rare = SETTINGS.standing.back_pressure_share_rare
    assert 0.9 * rare < share < rare
    assert not Picky().move(seen(family="code")).is_refused


def test_a_rented_gpu_is_there_20_seconds_after_the_second_request_and_paid_for():
    cheat = RentsForProbes()
    assert cheat.move(seen(100.0)).pace == 2.0
    assert cheat.move(seen(100.0, running=1)).pace == 4.0
    assert cheat.move(seen(119.0, running=1)).pace == 4.0
    assert cheat.move(seen(121.0, running=1)) is HONESTLY
    assert cheat.move(seen(150.0)) is HONESTLY
    assert cheat.move(seen(152.0)).pace == 2.0
    assert cheat.gpus(1000.0) == pytest.approx(0.25 + 0.75 * 51 / 1000)
    assert cheat.gpus(2000.0) == 0.25
