"""The laws of capacity: sharing an engine never pays, and a bad moment costs little."""

import functools
import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.audit import PPM
from subnet.core.capacity import (
    RATES_KEPT,
    BurstResult,
    Capacity,
    CapacityParams,
    after_burst,
    credit_ppm,
    has_met_everybody,
    paid_tps_milli,
    proven_tps_milli,
    rate_tps_milli,
    tokens_inside,
    users_max,
)
from subnet.core.cover import (
    suspects_of,
    tried_again_for,
)
from subnet.core.faults import is_over_asked
from tests.capacity_support import ENGINE_TPS_MILLI, Probed, names

PARAMS = CapacityParams()
SECRET = bytes(range(32))
rates = st.integers(0, 10**7)
histories = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), rates), max_size=40)


def lived(history):
    capacity = Capacity()
    for burst, (cover, block, rate) in enumerate(sorted(history, key=lambda one: one[0])):
        result = BurstResult(
            cover=cover, burst=burst, beside=(block,), met_ppm=PPM // 3 + 1, rate_tps_milli=rate
        )
        capacity = after_burst(capacity, result, PARAMS)
    return capacity


def subnet_with(siblings, hotkeys, group_size, seed, noise=0.0, **more):
    """`siblings` hotkeys on one engine among `hotkeys`, all others with one of their own."""
    shared = [f"sibling-{number}" for number in range(siblings)]
    own = names(hotkeys - siblings)
    engine_of = dict.fromkeys(shared, "shared") | {hotkey: hotkey for hotkey in own}
    params = CapacityParams(group_size=group_size)
    return Probed(engine_of, params, seed=seed, noise=noise, **more), shared, own


@pytest.mark.parametrize("siblings", [2, 3, 5, 8])
@pytest.mark.parametrize(("hotkeys", "group_size"), [(12, 64), (48, 16), (128, 32)])
@pytest.mark.parametrize("seed", range(3))
def test_hotkeys_on_one_engine_prove_together_at_most_that_engine(
    siblings, hotkeys, group_size, seed
):
    probed, shared, own = subnet_with(siblings, hotkeys, group_size, seed)
    for cover in range(12):
        probed.cover()
        if cover >= 1:
            assert probed.paid(*shared) <= ENGINE_TPS_MILLI, cover
            assert {probed.paid(hotkey) for hotkey in own} == {ENGINE_TPS_MILLI}


@pytest.mark.parametrize("siblings", [2, 3, 5, 8])
def test_sharing_an_engine_pays_no_more_over_time_than_being_honest_with_it(siblings):
    """With the noise of real rates, from the first burst on."""
    ratios = []
    for seed in range(4):
        probed, shared, own = subnet_with(siblings, 128, 32, seed, noise=0.03)
        for _ in range(6):
            probed.cover()
        honest = statistics.mean(probed.income[hotkey] for hotkey in own)
        ratios.append(sum(probed.income[hotkey] for hotkey in shared) / honest)
    assert statistics.mean(ratios) < 1.05, ratios


def test_identical_honest_miners_are_paid_alike():
    probed, _, own = subnet_with(0, 128, 32, 1, noise=0.03)
    for _ in range(4):
        probed.cover()
    paid = [probed.paid(hotkey) for hotkey in own]
    assert statistics.pstdev(paid) / statistics.mean(paid) < 0.03
    assert statistics.mean(paid) > 0.93 * ENGINE_TPS_MILLI


TURNS = st.integers(1, 48).flatmap(
    lambda hotkeys: st.lists(
        st.lists(st.integers(0, 9), min_size=hotkeys, max_size=hotkeys),
        min_size=RATES_KEPT,
        max_size=3 * RATES_KEPT,
    )
)


def paid_in_turns(bursts):
    """What hotkeys of one engine are paid together after each burst; `bursts` holds the parts of
    it that each got."""
    known = [Capacity() for _ in bursts[0]]
    for number, parts in enumerate(bursts):
        whole = max(1, sum(parts))
        for at, part in enumerate(parts):
            result = BurstResult(
                cover=0,
                burst=number,
                beside=(0,),
                met_ppm=PPM,
                rate_tps_milli=ENGINE_TPS_MILLI * part // whole,
            )
            known[at] = after_burst(known[at], result, PARAMS)
        yield sum(paid_tps_milli(one, PARAMS) for one in known)


@given(TURNS)
def test_one_engine_is_paid_once_however_it_is_split_and_in_whatever_turns(bursts):
    assert max(paid_in_turns(bursts)) <= ENGINE_TPS_MILLI


@pytest.mark.parametrize("hotkeys", [2, 11, 12, 13, 24, 36, 48])
@pytest.mark.parametrize("away", [1, 2, 5])
def test_one_engine_is_paid_once_when_some_stay_out_of_each_burst_in_turn(hotkeys, away):
    """What the rest give then is more than their part, and forgiven to none."""
    bursts = [[1] * hotkeys for _ in range(3 * hotkeys)]
    for number, parts in enumerate(bursts):
        for step in range(min(away, hotkeys - 1)):
            parts[(number * away + step) % hotkeys] = 0
    paid = list(paid_in_turns(bursts))
    assert ENGINE_TPS_MILLI * 0.99 < paid[-1] <= ENGINE_TPS_MILLI


def test_two_bad_bursts_in_a_row_cost_what_two_bursts_pay():
    """In a subnet of one block, where no burst is tried again."""
    bursts = [[1, 0] if number in (12, 13) else [1, 1] for number in range(40)]
    known, lost = Capacity(), []
    for number, parts in enumerate(bursts):
        result = BurstResult(
            cover=0, burst=number, beside=(0,), met_ppm=PPM, rate_tps_milli=1000 * parts[1]
        )
        known = after_burst(known, result, PARAMS)
        lost.append(1000 - paid_tps_milli(known, PARAMS))
    assert max(lost) <= 1000 * 2 / RATES_KEPT + 1
    assert sum(lost) == pytest.approx(2000, abs=20)


@pytest.mark.parametrize("missed", range(28, 56))
def test_one_bad_burst_costs_little_wherever_in_a_cover_it_falls(missed):
    probed, _, _ = subnet_with(
        0, 128, 32, 1, is_up=lambda hotkey, burst: not (hotkey == "miner-5" and burst == missed)
    )
    for _ in range(4):
        probed.cover()
    assert probed.paid("miner-5") == ENGINE_TPS_MILLI
    lost = probed.income["miner-6"] - probed.income["miner-5"]
    assert lost <= 2 * ENGINE_TPS_MILLI


def test_hotkeys_that_fall_in_every_cover_do_not_use_up_the_second_tries_of_others():
    """Twenty of them ask for more second tries than there are."""
    crashers = {f"miner-{number}" for number in range(20)}

    def is_up(hotkey, burst):
        if hotkey in crashers:
            return burst % 2 == 0
        return not (hotkey == "miner-77" and burst == 200)

    probed, _, _ = subnet_with(0, 128, 32, 1, is_up=is_up)
    while probed.bursts < 260:
        probed.cover()
    lost = probed.income["miner-78"] - probed.income["miner-77"]
    assert lost <= 2 * ENGINE_TPS_MILLI


def test_each_hotkey_has_one_second_try_a_cover_and_half_are_for_those_that_had_none_lately():
    asks = functools.partial(tried_again_for, left=14, blocks=8)
    assert asks({"a"}, {}, 9) == {"a"}
    assert asks({"a"}, {"a": 9}, 9) == set()
    assert asks({"a", "b"}, {"a": 9}, 9) == {"b"}
    for left in range(8):
        few = functools.partial(tried_again_for, left=left, blocks=8)
        assert few({"a"}, {"a": 4}, 9) == set()
        assert few({"a", "b"}, {"a": 4}, 9) == ({"a", "b"} if left else set())
        assert few({"a"}, {"a": 3}, 9) == ({"a"} if left else set())
    assert tried_again_for({"a"}, {"a": 4}, 9, 8, 8) == {"a"}


def test_late_results_count_in_their_own_cover():
    """Audits of an earlier cover's last bursts may end after those of the next one's first."""
    told = [(5, 7, 100), (6, 20, 1000), (5, 8, 1000), (6, 21, 1000)]

    def lived_in(order):
        capacity = Capacity()
        for at in order:
            cover, burst, rate = told[at]
            result = BurstResult(
                cover=cover, burst=burst, beside=(burst,), met_ppm=1, rate_tps_milli=rate
            )
            capacity = after_burst(capacity, result, PARAMS)
        return capacity

    for order in itertools.permutations(range(4)):
        found = lived_in(order)
        assert [one.cover for one in found.covers] == [5, 6]
        assert paid_tps_milli(found.model_copy(update={"met_ppm": PPM}), PARAMS) == 100


def test_what_is_older_than_all_that_counts_moves_nothing():
    known = lived([(2, 0, 700), (3, 0, 800)])
    late = BurstResult(cover=1, burst=-1, beside=(0,), met_ppm=PPM, rate_tps_milli=1)
    assert after_burst(known, late, PARAMS) == known


def test_two_halves_of_covers_are_not_one_whole():
    """Whoever restarts begins a new cover, in which others share a block."""
    half = PPM // 2
    known = Capacity()
    for cover in (1, 2, 3):
        result = BurstResult(
            cover=cover, burst=cover, beside=(0,), met_ppm=half, rate_tps_milli=1000
        )
        known = after_burst(known, result, PARAMS)
        assert known.met_ppm == half
    result = BurstResult(cover=3, burst=4, beside=(1,), met_ppm=half, rate_tps_milli=1000)
    assert after_burst(known, result, PARAMS).met_ppm == PPM


def test_a_second_try_stands_instead_of_the_first():
    first = BurstResult(cover=1, burst=1, beside=(4,), met_ppm=0, rate_tps_milli=0)
    other = BurstResult(cover=1, burst=2, beside=(5,), met_ppm=0, rate_tps_milli=1000)
    again = BurstResult(cover=1, burst=3, beside=(4, 1), met_ppm=0, rate_tps_milli=900)
    known = Capacity()
    for result, proven in ((first, 0), (other, 0), (again, 900)):
        known = after_burst(known, result, PARAMS)
        assert proven_tps_milli(known) == proven
    assert known.covers[-1].beside == {1: {3: 900}, 4: {3: 900}, 5: {2: 1000}}


def test_one_bad_moment_costs_an_honest_miner_little():
    """Down for a whole burst, in a subnet that is probed in blocks."""

    def is_up(hotkey, burst):
        return not (hotkey == "miner-5" and 100 <= burst < 104)

    probed, _, _ = subnet_with(0, 128, 32, 1, is_up=is_up)
    for _ in range(8):
        probed.cover()
    assert probed.income["miner-5"] > 0.9 * probed.income["miner-6"]
    assert probed.paid("miner-5") == ENGINE_TPS_MILLI


def test_a_miner_that_fails_beside_one_block_each_time_is_paid_by_that():
    """Whoever leaves the engine to a sibling when both are asked gains nothing by being constant
    elsewhere."""

    def in_turns(hotkey, present):
        if present == 1:
            return ENGINE_TPS_MILLI
        return ENGINE_TPS_MILLI if hotkey == "sibling-0" else 0

    probed, shared, _ = subnet_with(2, 128, 32, 2, sharing=in_turns)
    for _ in range(5):
        probed.cover()
    assert probed.paid(*shared) <= ENGINE_TPS_MILLI


@given(histories, st.integers(1, 3), st.integers(0, 3), rates, rates)
def test_a_faster_burst_never_proves_less(history, cover, block, one, other):
    low, high = sorted((one, other))
    proven = [
        proven_tps_milli(lived([*history, (cover, block, rate)])) or 0 for rate in (low, high)
    ]
    assert proven[0] <= proven[1]


@given(histories)
def test_nothing_is_paid_beyond_what_some_burst_showed(history):
    paid = paid_tps_milli(lived(history), PARAMS)
    assert 0 <= paid <= max([0, *(rate for *_, rate in history)])


@given(histories, rates)
def test_two_on_one_engine_prove_at_most_its_rate_however_they_split_it(history, engine):
    """In bursts that have both."""
    mine = [(cover, block, min(rate, engine)) for cover, block, rate in history]
    other = [(cover, block, engine - rate) for cover, block, rate in mine]
    found = [proven_tps_milli(lived(one)) or 0 for one in (mine, other)]
    assert sum(found) <= engine


def test_who_was_in_no_burst_is_paid_nothing():
    assert paid_tps_milli(Capacity(), PARAMS) == 0
    assert proven_tps_milli(Capacity()) is None
    assert not has_met_everybody(Capacity(), PARAMS)


def test_where_capacity_is_not_measured_all_count_alike():
    off = CapacityParams(is_measured=False)
    assert paid_tps_milli(Capacity(), off) == paid_tps_milli(lived([(1, 1, 7)]), off) == 1000
    assert has_met_everybody(Capacity(), off)


def test_a_rate_that_depends_on_company_is_remembered_for_a_while():
    capacity = lived([(1, 0, 1000), (1, 1, 500)])
    assert capacity.shortfall_ppm == PPM // 2
    for cover in range(2, 20):
        result = BurstResult(cover=cover, burst=9, beside=(0,), met_ppm=0, rate_tps_milli=500)
        before, capacity = capacity, after_burst(capacity, result, PARAMS)
        assert capacity.shortfall_ppm <= before.shortfall_ppm
        assert (cover < 6) <= bool(suspects_of({"a": capacity}, PARAMS.shortfall_tolerated_ppm))
    assert suspects_of({"a": capacity}, PARAMS.shortfall_tolerated_ppm) == {}


@given(st.lists(st.integers(0, 10**8), max_size=50), st.integers(0, 10**8), st.integers(0, PPM))
def test_only_what_arrives_inside_the_window_counts(times, sent_us, latency_ppm):
    window = range(10**7, 5 * 10**7)
    inside = sum(10**7 <= sent_us + time < 5 * 10**7 for time in times)
    assert tokens_inside(times, sent_us, window) == inside
    assert credit_ppm(inside, latency_ppm) == inside * latency_ppm


def test_a_rate_is_tokens_over_the_window():
    assert rate_tps_milli(400 * PPM, range(0, 40 * 10**6)) == 10_000


@given(st.integers(1, 65_535))
def test_a_burst_asks_for_no_more_than_a_miner_offers_one_caller(declared):
    users = users_max(declared, PARAMS)
    assert users == min(PARAMS.concurrency_max, math.ceil(3 * declared / 4))
    assert not any(is_over_asked(others, declared) for others in range(users))


def test_the_range_of_durations_must_rise():
    with pytest.raises(ValueError, match="must not lie above"):
        CapacityParams(duration_seconds_min=50, duration_seconds_max=40)
