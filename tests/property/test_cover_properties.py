"""The laws of covers: everybody meets in a stated time, at instants that the secret draws."""

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.audit import PPM
from subnet.core.capacity import CapacityParams
from subnet.core.cover import (
    Turn,
    arrivals_seconds,
    burst_at,
    burst_before,
    burst_from,
    burst_seconds,
    burst_seconds_max,
    burst_starts_at,
    bursts_between,
    counted_window,
    cover_seconds_max,
    draw_cover,
    draw_pair,
    group_of,
    interval_seconds,
    met_ppm,
    pairs,
    ramp_seconds,
    retries_max,
    turn_of,
)
from tests.capacity_support import names

PARAMS = CapacityParams()
SECRET = bytes(range(32))


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


@given(st.integers(3, 9), st.integers(0, 10**6))
def test_all_blocks_of_a_first_cover_are_met_at_the_same_pace(blocks, number):
    params = CapacityParams(group_size=4)
    cover = draw_cover(SECRET, number, names(2 * blocks), {}, params)
    left, met = pairs(blocks), dict.fromkeys(cover.hotkeys, 0)
    while left:
        pair = draw_pair(SECRET, number, left, cover, met)
        left.remove(pair)
        for block in pair:
            met |= {one: met[one] + met_ppm(cover, (0,)) for one in cover.blocks[block]}
        spread = (max(met.values()) - min(met.values())) / met_ppm(cover, (0,))
        assert round(spread) <= 2


def test_once_all_have_met_the_secret_alone_draws_the_pairs():
    params = CapacityParams(group_size=4)
    cover = draw_cover(SECRET, 1, names(16), {}, params)
    met = dict.fromkeys(cover.hotkeys, PPM)
    first = [draw_pair(SECRET, burst, pairs(8), cover, met) for burst in range(400)]
    assert len(set(first)) == 28
    newcomer = cover.blocks[5][0]
    drawn = [draw_pair(SECRET, burst, pairs(8), cover, met | {newcomer: 0}) for burst in range(400)]
    assert {other for pair in drawn for other in pair if 5 in pair} == set(range(8))
    assert all(5 in pair for pair in drawn)


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
    longest = burst_seconds_max(PARAMS)
    burst = burst_from(burst, PARAMS)
    spans = []
    for own in validators:
        turn = turn_of(own, validators, PARAMS)
        start = burst_starts_at(own.encode(), burst, turn, PARAMS)
        assert burst <= start
        assert start + longest <= burst + interval_seconds(PARAMS) + 1e-3
        spans.append((turn.number, start))
    spans.sort()
    for (turn, start), (other, later) in itertools.pairwise(spans):
        assert turn == other or start + longest <= later + 1e-3
    assert len({turn for turn, _ in spans}) == min(count, 8)


def test_a_validator_that_the_chain_does_not_list_yet_takes_the_first_turn():
    assert turn_of("unknown", [], PARAMS) == Turn(0, 1)


per_day = st.integers(1, 86_400)


@given(per_day, st.integers(0, 10**7))
def test_intervals_are_numbered_without_a_gap(bursts_per_day, index):
    params = CapacityParams(bursts_per_day=bursts_per_day)
    interval = interval_seconds(params)
    number = burst_at((index + 0.5) * interval, params)
    assert number == int(index * 86_400 / bursts_per_day + 1e-9)
    later = burst_at((index + 1.5) * interval, params)
    assert burst_from(number + 1, params) == later
    assert burst_before(later, params) == burst_from(number, params) == number
    assert bursts_between(number, later, params) == 2
    assert bursts_between(number + 1, later - 1, params) == 0
    start = burst_starts_at(SECRET, number, Turn(0, 1), params)
    assert index * interval - 1e-3 <= start <= (index + 1) * interval


@given(per_day, per_day, st.floats(0, 2e9))
def test_burst_numbers_rise_whatever_becomes_of_their_frequency(before, after, now):
    """Or a validator that probes less often from now on would wait for years, or prove nothing."""
    old, new = (CapacityParams(bursts_per_day=count) for count in (before, after))
    last = burst_at(now, old)
    upcoming = burst_from(last + 1, new)
    assert last < upcoming <= now + interval_seconds(new)


@given(st.integers(0, 10**9))
def test_a_burst_lasts_anything_in_its_range_and_its_users_come_in_the_ramp(burst):
    seconds = burst_seconds(SECRET, burst, PARAMS)
    assert PARAMS.duration_seconds_min <= seconds <= PARAMS.duration_seconds_max
    arrivals = arrivals_seconds(SECRET, burst, "miner", 8, PARAMS)
    assert arrivals == sorted(arrivals) and len(arrivals) == 8
    assert arrivals[0] >= 0 and arrivals[-1] <= ramp_seconds(PARAMS)


def test_what_counts_is_over_before_a_gpu_that_was_rented_for_it_is_up():
    window = counted_window(7_000_000, PARAMS)
    assert window == range(7_000_000, 27_000_000)
    shortest = PARAMS.model_copy(update={"duration_seconds_max": PARAMS.duration_seconds_min})
    assert counted_window(7_000_000, shortest) == window, "whatever length was drawn"


def test_users_come_ever_faster():
    arrivals = [
        time for burst in range(400) for time in arrivals_seconds(SECRET, burst, "m", 8, PARAMS)
    ]
    assert statistics.mean(arrivals) == pytest.approx(ramp_seconds(PARAMS) * 2 / 3, rel=0.03)
