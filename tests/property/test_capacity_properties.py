"""The laws of capacity: sharing an engine never pays, meeting everybody takes a stated time."""

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.audit import PPM
from subnet.core.capacity import (
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
    Turn,
    arrivals_seconds,
    burst_seconds,
    burst_starts_at,
    cover_seconds_max,
    draw_cover,
    group_of,
    interval_seconds,
    met_ppm,
    pairs,
    retries_max,
    suspects_of,
    turn_of,
)
from subnet.core.faults import is_over_asked
from tests.capacity_support import ENGINE_TPS_MILLI, Probed

PARAMS = CapacityParams()
SECRET = bytes(range(32))
rates = st.integers(0, 10**7)
histories = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), rates), max_size=40)


def names(count):
    return [f"miner-{number}" for number in range(count)]


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


@given(st.integers(1, 300), st.integers(2, 40), st.integers(0, 2**64 - 1))
def test_one_cover_brings_every_pair_of_hotkeys_together(hotkeys, group_size, number):
    params = CapacityParams(group_size=group_size)
    cover = draw_cover(SECRET, number, names(hotkeys), {}, params)
    met = set()
    for pair in pairs(len(cover.blocks)):
        group = group_of(cover, pair, (), (), params)
        assert len(group) <= group_size
        met |= set(itertools.combinations(sorted(group), 2)) if hotkeys < 60 else set()
    assert sorted(itertools.chain(*cover.blocks)) == sorted(names(hotkeys))
    if hotkeys < 60:
        assert met == set(itertools.combinations(sorted(names(hotkeys)), 2))
    bursts = len(pairs(len(cover.blocks))) + retries_max(len(cover.blocks))
    assert bursts * interval_seconds(params) == pytest.approx(cover_seconds_max(hotkeys, params))


def test_the_stated_time_to_meet_everybody():
    assert cover_seconds_max(256, PARAMS) == 14 * 3600
    assert cover_seconds_max(64, PARAMS) == 1200


@given(st.integers(1, 100), st.integers(6, 40))
def test_a_cover_is_a_whole_for_every_member_and_rider(hotkeys, group_size):
    params = CapacityParams(group_size=group_size)
    cover = draw_cover(SECRET, 1, names(hotkeys), {}, params)
    met = dict.fromkeys([*names(hotkeys), "rider"], 0)
    for pair in pairs(len(cover.blocks)):
        group = group_of(cover, pair, (), ["rider"], params)
        for hotkey, beside in group.items():
            met[hotkey] += met_ppm(cover, beside)
    assert min(met.values()) >= PPM


@given(st.integers(0, 10**6))
def test_a_cover_cannot_be_told_without_the_secret(number):
    hotkeys = names(100)
    one = draw_cover(SECRET, number, hotkeys, {}, PARAMS)
    assert one == draw_cover(SECRET, number, reversed(hotkeys), {}, PARAMS)
    assert one != draw_cover(bytes(32), number, hotkeys, {}, PARAMS)


def test_hotkeys_that_depend_on_company_share_a_block_and_every_burst():
    params = CapacityParams(group_size=16)
    suspects = {"miner-3": 600_000, "miner-50": 500_000, "miner-77": 400_000}
    cover = draw_cover(SECRET, 9, names(100), suspects, params)
    assert set(suspects) <= set(cover.blocks[0])
    for pair in pairs(len(cover.blocks)):
        group = group_of(cover, pair, suspects, (), params)
        assert set(suspects) <= set(group)
        assert group["miner-3"] == pair


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_no_two_validators_probe_at_the_same_time(burst, count):
    validators = names(count)
    longest = 150.0
    spans = []
    for own in validators:
        turn = turn_of(own, validators, longest, PARAMS)
        start = burst_starts_at(own.encode(), burst, turn, longest, PARAMS)
        assert burst <= start / interval_seconds(PARAMS)
        assert start + longest <= (burst + 1) * interval_seconds(PARAMS) + 1e-3
        spans.append((turn.number, start))
    spans.sort()
    for (turn, start), (other, later) in itertools.pairwise(spans):
        assert turn == other or start + longest <= later + 1e-3
    assert len({turn for turn, _ in spans}) == min(count, 8)


def test_a_validator_that_the_chain_does_not_list_yet_takes_the_first_turn():
    assert turn_of("unknown", [], 150.0, PARAMS) == Turn(0, 1)


@given(st.integers(0, 10**9))
def test_a_burst_lasts_anything_in_its_range_and_its_users_come_in_the_ramp(burst):
    seconds = burst_seconds(SECRET, burst, PARAMS)
    assert PARAMS.duration_seconds_min <= seconds <= PARAMS.duration_seconds_max
    arrivals = arrivals_seconds(SECRET, burst, "miner", 8, seconds / 4)
    assert arrivals == sorted(arrivals) and len(arrivals) == 8
    assert arrivals[0] >= 0 and arrivals[-1] <= seconds / 4


def test_users_come_ever_faster():
    arrivals = [
        time for burst in range(400) for time in arrivals_seconds(SECRET, burst, "m", 8, 1.0)
    ]
    assert statistics.mean(arrivals) == pytest.approx(2 / 3, abs=0.02)


@given(histories, st.integers(1, 3), st.integers(0, 3), rates, rates)
def test_a_faster_burst_never_proves_less(history, cover, block, one, other):
    low, high = sorted((one, other))
    proven = [
        proven_tps_milli(lived([*history, (cover, block, rate)])) or 0 for rate in (low, high)
    ]
    assert proven[0] <= proven[1]


@given(histories)
def test_nothing_is_paid_beyond_what_some_burst_showed_or_the_audition(history):
    paid = paid_tps_milli(lived(history), PARAMS)
    assert 0 <= paid <= max([PARAMS.audition_tps_milli, *(rate for *_, rate in history)])


@given(histories, rates)
def test_two_on_one_engine_prove_at_most_its_rate_however_they_split_it(history, engine):
    """In bursts that have both: four of them forgive each one bad moment, and two still count."""
    mine = [(cover, block, min(rate, engine)) for cover, block, rate in history]
    other = [(cover, block, engine - rate) for cover, block, rate in mine]
    found = [proven_tps_milli(lived(one)) or 0 for one in (mine, other)]
    assert sum(found) <= engine


def test_who_was_in_no_burst_is_paid_the_audition_alone():
    assert paid_tps_milli(Capacity(), PARAMS) == PARAMS.audition_tps_milli
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
    assert 1 <= users <= max(1, 3 * declared / 4)
    assert not any(is_over_asked(others, declared) for others in range(users))


def test_the_range_of_durations_must_rise():
    with pytest.raises(ValueError, match="must not lie above"):
        CapacityParams(duration_seconds_min=50, duration_seconds_max=40)
