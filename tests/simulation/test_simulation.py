"""A whole subnet in one process: real roles, measured answers, nobody who knows who cheats."""

import dataclasses
import os
import subprocess
import sys

import pytest

from subnet.sim.adversaries import (
    BuildThenMilk,
    Copy,
    SharedEngine,
    SlowPeer,
    WeakerModel,
    Whitewash,
)
from subnet.sim.profiles import HONEST
from subnet.sim.result import result_of, upper95
from subnet.sim.strategy import Move, Strategy
from subnet.sim.trials import GoodPeer
from subnet.sim.validators import Liar, WeightCopier
from subnet.sim.watchers import WatchesItself
from tests.simulation_support import ROOT, laboratory, ratios, run_of, settings, simulated

PROGRAM = (
    "from tests.simulation_support import run_of, settings;"
    "from subnet.sim.adversaries import Whitewash;"
    "rules = settings(capacity={'is_measured': True});"
    "print(run_of(Whitewash(), rules=rules, bursts_per_day=48, seed=3, hours=1.0).digest)"
)


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_another_seed_gives_other_bytes():
    assert run_of(hours=1.0, seed=1).digest != run_of(hours=1.0, seed=2).digest


def test_a_cheat_that_can_be_seen_earns_less_per_cost_than_an_honest_miner():
    found = ratios(run_of(WeakerModel(), Copy()))
    assert found["weaker model"] < 0.5
    assert found["copy"] < 0.5


def test_without_the_verifier_the_same_cheats_win():
    found = ratios(
        run_of(WeakerModel(), Copy(), rules=settings(scoring={"integrity_check": False}))
    )
    assert found["weaker model"] > 1.5
    assert found["copy"] > 10


def test_only_measured_answers_decide_who_is_caught():
    lab = laboratory()
    pools = {**lab.profiles.pools, "smaller model": lab.profiles.pools[HONEST]}
    harmless = dataclasses.replace(lab, profiles=dataclasses.replace(lab.profiles, pools=pools))
    assert ratios(run_of(WeakerModel(), lab=harmless))["weaker model"] > 1.5


def test_honest_miners_are_never_quarantined_and_earn_alike():
    found = run_of(hours=3.0, load=120.0)
    assert found.quarantined_honest == 0
    assert found.honest_cv < 0.05


def test_a_fresh_hotkey_is_paid_for_and_caught_again():
    run = simulated(Whitewash(), hours=2.5, chain={"immunity_epochs": 1})
    (washer,) = run.fleet.named("whitewash")
    assert len(washer.hotkeys) > 2
    assert all(run.chain.spent_rao[key] > 0 for key in washer.hotkeys)
    assert ratios(result_of(run))["whitewash"] < 0.5


def test_what_was_built_up_is_lost_soon_after_the_milking_starts():
    milker = BuildThenMilk()
    milker.honest_seconds = 3600.0
    run = simulated(milker, hours=2.5)
    (operator,) = run.fleet.named(milker.name)
    paid = [one.incomes_rao.get(operator.hotkeys[0], 0) for one in run.chain.outcomes]
    assert max(paid[:7]) > 0
    assert paid[-1] == 0


def test_whoever_stays_below_the_alarm_gains_little():
    assert ratios(run_of(WatchesItself(), hours=2.0))["watches itself"] < 1.1


def test_one_engine_behind_several_hotkeys_is_paid_once():
    rules = settings(capacity={"is_measured": True})
    gains = []
    for changes in ({"rules": rules, "bursts_per_day": 24}, {}):
        run = simulated(SharedEngine(), hours=2.0, miners=10, **changes)
        last = run.chain.outcomes[-1].incomes_rao
        (shared,) = run.fleet.named(SharedEngine.name)
        honest = [last[one.hotkeys[0]] for one in run.fleet.named(HONEST)]
        gains.append(sum(last[key] for key in shared.hotkeys) * len(honest) / sum(honest))
    proven, believed = gains
    assert proven < 1.1
    assert believed > 3


def paid_for_one_wide_engine(concurrency_max):
    """What four hotkeys on it are paid, over an honest one with such an engine."""
    rules = settings(capacity={"is_measured": True, "concurrency_max": concurrency_max})
    lab = laboratory()
    wide = dataclasses.replace(lab, prices=lab.prices.wider(5))
    run = simulated(SharedEngine(), hours=2.0, miners=8, rules=rules, bursts_per_day=24, lab=wide)
    last = run.chain.outcomes[-1].incomes_rao
    (shared,) = run.fleet.named(SharedEngine.name)
    honest = [last[one.hotkeys[0]] for one in run.fleet.named(HONEST)]
    return sum(last[key] for key in shared.hotkeys) * len(honest) / sum(honest)


def test_an_engine_that_serves_many_at_once_is_paid_once_as_well():
    """The load follows what a miner declares; below that it would fill each hotkey's part only."""
    shipped = settings().capacity.concurrency_max
    assert paid_for_one_wide_engine(shipped) < 1.1
    assert paid_for_one_wide_engine(8) > 2


def test_the_shipped_gpus_declare_what_they_serve_within_the_bars():
    bar = settings().scoring.token_seconds_max
    for gpu in laboratory().prices.gpu:
        assert gpu.concurrent_requests_max == int(gpu.tokens_per_second_max * bar / 0.75)


def test_a_slow_peer_does_not_change_the_scores_of_others():
    scores = []
    for peer in (SlowPeer(), GoodPeer()):
        run = simulated(peer, hours=2.0)
        others = [one.hotkeys[0] for one in run.fleet.named(HONEST)]
        (found, *_) = [one.store.epochs()[-1].scores_ppm for one in run.validators]
        scores.append(sum(found[key] for key in others) / len(others))
    assert scores[0] == pytest.approx(scores[1], rel=0.03)


def test_all_emission_but_roundings_is_paid():
    run = simulated(WeakerModel())
    for outcome in run.chain.outcomes:
        paid = sum(outcome.incomes_rao.values()) + sum(outcome.dividends_rao.values())
        minted = run.options.chain.tempo_blocks * run.options.chain.emission_rao_per_block
        assert minted * 0.999 < paid <= minted


def test_a_weight_copier_earns_no_more_than_an_honest_validator_under_commit_reveal():
    found = run_of(dishonest=[WeightCopier()], validators=3, hours=2.5, load=60.0)
    (copier,) = [one for one in found.validators if one.name == WeightCopier.name]
    assert copier.dividends_per_stake_over_honest is not None
    assert copier.dividends_per_stake_over_honest <= 1.0


def test_a_liar_with_30_percent_of_the_stake_moves_no_income_to_its_friends():
    found = run_of(WeakerModel(), dishonest=[Liar()], validators=4, hours=2.0)
    assert ratios(found)["weaker model"] < 0.5


def test_losses_on_the_wire_show_as_faults_of_all_alike():
    quiet, noisy = (
        simulated(hours=1.0, network={"loss": loss, "crash_hours": 1e6, "partition_hours": 1e6})
        for loss in (1e-9, 0.2)
    )
    assert sum(one.client.faults.total() for one in quiet.validators) == 0
    assert sum(one.client.faults.total() for one in noisy.validators) > 50


def test_crashes_and_partitions_come_and_go():
    run = simulated(
        hours=2.0,
        network={"loss": 0.0, "crash_hours": 2.0, "crash_minutes": 5.0, "partition_hours": 1.0},
    )
    faults = sum(one.client.faults.total() for one in run.validators)
    requests = sum(one.store.requests.total() for one in run.validators)
    assert 0 < faults < requests / 3


def test_the_cost_of_several_hotkeys_on_one_engine_is_one_gpu():
    class Three(Strategy):
        name, hotkeys = "three", 3

    class Half(Strategy):
        name = "half"

        def move(self, seen):
            return Move("smaller model")

    run = simulated(Three(), Half(), hours=1.0)
    hours = run.options.epochs * run.options.epoch_seconds / 3600
    (three,), (half,) = run.fleet.named("three"), run.fleet.named("half")
    price = laboratory().prices.gpu[0].usd_per_hour
    assert three.cost_usd() == pytest.approx(price * hours)
    assert half.cost_usd() == pytest.approx(price * hours / 2)


def test_the_upper_bound_is_students():
    assert upper95([1.0]) is None
    assert upper95([1.0, 1.0, 1.0]) == 1.0
    assert upper95([0.0, 2.0]) == pytest.approx(1 + 6.314)
