"""Committed chance: derived by everybody, known by nobody before, told apart by label."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.structure import Structure
from subnet.core.benchmark import generate_task
from subnet.core.benchmark.task import Task
from subnet.core.draws import (
    Anchor,
    DrawParams,
    SamplingChoice,
    _tasks,
    anchor_of,
    draw_gap_seconds,
    draw_sampling,
    draw_task,
    period_secret,
    request_id,
    request_nonce,
    secret_digest,
    user_priority,
)
from subnet.core.task_stream import TaskStream

MASTER = bytes(range(32))
PARAMS = DrawParams()
SAME = Task("open", 1, "Tell me about the river.", 96, "", ())
counters = st.integers(0, 2**40)


def test_a_secret_is_committed_one_period_before_and_revealed_two_after():
    anchors = [anchor_of(MASTER, period, b"p" * 32) for period in range(4)]
    used = period_secret(MASTER, 1)
    assert anchors[0].next_digest == secret_digest(used)
    assert anchors[3].revealed_secret == used
    assert anchors[1].revealed_secret is None


@given(st.integers(0, 2**60))
def test_an_anchor_survives_the_chain_in_at_most_128_bytes(period):
    anchor = anchor_of(MASTER, period, b"digest of all parameters.........")
    data = anchor.to_bytes()
    assert len(data) <= 128
    assert Anchor.from_bytes(data) == anchor


def test_foreign_bytes_are_no_anchor():
    with pytest.raises(ValueError, match="not an anchor"):
        Anchor.from_bytes(b"anything else")


@given(counters, counters)
def test_nothing_is_drawn_twice(one, other):
    secret = period_secret(MASTER, 0)
    same = one == other
    assert (request_nonce(secret, one) == request_nonce(secret, other)) is same
    assert (request_id(secret, one) == request_id(secret, other)) is same


@given(counters)
def test_the_wire_nonce_tells_nothing_about_the_task(counter):
    secret = period_secret(MASTER, 0)
    nonce = bytes.fromhex(request_nonce(secret, counter))
    task = draw_task(secret, counter, PARAMS)
    assert task == draw_task(secret, counter, PARAMS)
    assert generate_task(task.family, nonce, task.tier) != task


@given(counters)
def test_every_draw_is_inside_its_parameters(counter):
    secret = period_secret(MASTER, 3)
    sampling = draw_sampling(secret, counter, PARAMS)
    points = {(c.temperature_milli, c.top_p_milli, c.top_k) for c in PARAMS.sampling}
    assert (sampling.temperature_milli, sampling.top_p_milli, sampling.top_k) in points
    assert draw_gap_seconds(secret, counter.to_bytes(8, "little"), 2.0) > 0


def repeats(params, requests):
    """How many of the first tasks ask what one of the window before asked."""
    last, found = {}, 0
    for counter in range(requests):
        prompt = draw_task(b"s" * 32, counter, params).prompt
        found += counter - last.get(prompt, -(10**9)) <= 512
        last[prompt] = counter
    return found


def test_no_prompt_goes_out_twice_within_a_window():
    """At tier 1 two percent did by chance: more than users repeat each other."""
    assert repeats(DrawParams(window_requests=0), 4000) > 40
    assert repeats(DrawParams(), 4000) <= 2


@given(st.integers(0, 3000))
def test_a_task_is_derived_alike_whatever_was_derived_before(counter):
    one, other = b"1" * 32, b"1" * 32
    for before in range(0, counter, 97):
        draw_task(one, before, PARAMS)
    found = draw_task(one, counter, PARAMS)
    _tasks.cache_clear()
    assert draw_task(other, counter, PARAMS) == found


def test_a_family_that_has_fewer_prompts_than_its_share_of_a_window_still_asks():
    stream = TaskStream(lambda counter: "open", lambda counter, attempt: SAME, 100)
    assert stream.task(50) == SAME


def test_users_prompts_go_to_miners_in_proportion_to_their_weights():
    weights = {"slow": 100, "quick": 300, "quicker": 600}
    secret = period_secret(MASTER, 3)
    first = Counter(
        max(weights, key=lambda one: user_priority(secret, prompt, one, weights[one]))
        for prompt in range(6000)
    )
    for hotkey, weight in weights.items():
        assert abs(first[hotkey] / 6000 - weight / 1000) < 0.025, first


@given(counters, st.integers(1, 10**6))
def test_a_miner_that_falls_away_moves_only_its_own_prompts(prompt, weight):
    secret = period_secret(MASTER, 3)
    rank = {one: user_priority(secret, prompt, one, weight) for one in "abcd"}
    first = max(rank, key=rank.get)
    left = {one: value for one, value in rank.items() if one != "a"}
    assert first == "a" or max(left, key=left.get) == first


def test_gaps_have_the_mean_that_was_asked_for():
    secret = period_secret(MASTER, 3)
    gaps = [draw_gap_seconds(secret, counter.to_bytes(8, "little"), 2.0) for counter in range(4000)]
    assert 1.9 < sum(gaps) / len(gaps) < 2.1


def test_every_share_of_the_sampling_mix_is_drawn_as_often_as_it_says():
    params = DrawParams(
        sampling=(
            SamplingChoice(share=3, temperature_milli=1000, top_p_milli=950),
            SamplingChoice(share=1, temperature_milli=0, top_p_milli=1000),
        )
    )
    secret = period_secret(MASTER, 3)
    greedy = sum(
        draw_sampling(secret, counter, params).temperature_milli == 0 for counter in range(4000)
    )
    assert 900 < greedy < 1100


def test_as_many_structures_are_enforced_as_it_says():
    secret = period_secret(bytes(32), 1)
    params = DrawParams(structured_percent=30)
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    drawn = [draw_sampling(secret, counter, params, vote) for counter in range(4000)]
    bare = [draw_sampling(secret, counter, params) for counter in range(4000)]
    enforced = [one for one in drawn if one.structure is not None]
    assert {one.structure for one in enforced} == {vote}
    assert 0.27 < len(enforced) / 4000 < 0.33
    # Nothing else of a request tells whether its structure is enforced.
    assert [one.model_copy(update={"structure": None}) for one in drawn] == bare


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="unknown family astrology"):
        DrawParams(families=("astrology",))
