"""A search ends with worse prompts than it began with, and none is on both sides of the split."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from subnet.edge.release_files import load_release_files
from subnet.lab.hostile import Kind, NumericNoise, bred, excess, kinds, search
from subnet.lab.traffic import (
    DRAWN_BAND,
    HELD_OUT_EVERY,
    HOSTILE_PERCENT,
    TEMPERATURES_MILLI,
    TOP_PS_MILLI,
    band_cycle,
    is_held_out,
    with_hostile,
)
from subnet.lab.transcripts import ENGINES
from subnet.ports import EngineRequest

TINY = Path(__file__).parents[3] / "assets" / "tiny"
VOCABULARY = 100

rows = arrays.arrays(np.float64, (3, 5), elements=st.floats(-8, 8))
errors = arrays.arrays(np.float64, (3, 5), elements=st.floats(-1, 1))


@given(rows, errors, st.floats(0.1, 2), st.floats(0, 0.5))
def test_the_expected_rate_falls_with_the_bar_and_is_never_negative(fine, error, warmth, bar):
    found = excess(fine, fine + error, warmth, bar)
    assert (found >= 0).all()
    assert (excess(fine, fine + error, warmth, bar + 0.1) <= found + 1e-12).all()


@given(rows, st.floats(-5, 5), st.floats(0.1, 2))
def test_an_error_that_all_logits_share_changes_nothing(fine, shift, warmth):
    assert excess(fine, fine + shift, warmth, 0.0) == pytest.approx(0, abs=1e-9)


def test_it_tells_how_often_rounding_changes_a_seeded_choice():
    dice = np.random.default_rng(4)
    fine = dice.normal(0, 1, 20)
    coarse = fine + dice.normal(0, 0.1, 20)
    noise = dice.gumbel(size=(400_000, 20))
    chosen = (coarse + noise).argmax(axis=1)
    scores = fine + noise
    margin = scores.max(axis=1) - scores[np.arange(len(chosen)), chosen]
    for bar in (0.0, 0.05, 0.1):
        predicted = excess(fine[None], coarse[None], 1.0, bar)[0]
        assert (margin > bar).mean() == pytest.approx(predicted, rel=0.1)


def evenness(prompts):
    return np.array([np.mean(np.array(prompt) % 2 == 0) for prompt in prompts])


@given(st.integers(0, 1000))
def test_a_search_ends_worse_than_it_began_and_repeats(seed):
    kind = Kind("random", lambda dice: dice.integers(0, VOCABULARY, 12), 6)
    found, scores = search(kind, evenness, VOCABULARY, 15, np.random.default_rng(seed))
    again, _ = search(kind, evenness, VOCABULARY, 15, np.random.default_rng(seed))
    assert found == again
    assert (np.diff(scores) <= 0).all() and np.array_equal(scores, evenness(found))
    dice = np.random.default_rng(seed)
    first = evenness([kind.make(dice) for _ in range(24)])
    assert scores.mean() >= np.sort(first)[-6:].mean()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
def test_a_child_is_as_long_as_its_parent_and_of_the_vocabulary(own, other, seed):
    dice = np.random.default_rng(seed)
    parent = dice.integers(0, VOCABULARY, own)
    child = bred(parent, dice.integers(0, VOCABULARY, other), VOCABULARY, dice)
    assert len(child) == own and 0 <= child.min() <= child.max() < VOCABULARY


@given(st.integers(1, 300), st.integers(0, 1000))
def test_every_kind_fits_the_context_and_one_kind_fills_it(room, seed):
    families = kinds(VOCABULARY, np.arange(5), [(7,) * 40], room, 16)
    lengths = [len(kind.make(np.random.default_rng(seed))) for kind in families]
    assert min(lengths) >= 1 and max(lengths) == room


@pytest.fixture(scope="module")
def noise():
    torch.set_num_threads(1)
    return NumericNoise(load_release_files(str(TINY)), 1000)


def test_glitch_tokens_are_ids_of_the_vocabulary_and_few(noise):
    found = noise.glitch_tokens()
    assert len(set(found.tolist())) == len(found) == 102
    assert 0 <= found.min() <= found.max() < 2048


def test_on_the_release_a_short_search_doubles_what_rounding_does(noise):
    kind = Kind("random", lambda dice: dice.integers(0, 2048, 12), 6)
    dice = np.random.default_rng(2)
    usual = noise.of([tuple(kind.make(dice).tolist()) for _ in range(24)]).mean()
    found, scores = search(kind, noise.of, 2048, 4, np.random.default_rng(3))
    assert scores.mean() > 2 * usual > 0
    assert len(set(found)) > 1


def requests(count):
    bands = band_cycle()
    return [
        EngineRequest(f"{n:032x}", (n % 50,) * 3, *bands[n % len(bands)], 50, 64, n)
        for n in range(count)
    ]


def test_every_engine_serves_every_band_and_half_is_what_validators_draw():
    bands = band_cycle()
    wanted = {(t, p) for t in TEMPERATURES_MILLI for p in (TOP_PS_MILLI if t else (1000,))}
    assert set(bands) == wanted
    assert abs(bands.count(DRAWN_BAND) - len(bands) / 2) <= 0.5
    whole = bands * len(ENGINES)
    for place in range(len(ENGINES)):
        assert set(whole[place :: len(ENGINES)]) == wanted


def test_hostile_prompts_take_their_share_and_none_is_on_both_sides_of_the_split():
    asked = requests(7000)
    pools = {one: [(one, n) for n in range(40)] for one in TEMPERATURES_MILLI}
    found, is_hostile = with_hostile(asked, pools.__getitem__, 3)
    assert (found, is_hostile) == with_hostile(asked, pools.__getitem__, 3)
    assert abs(100 * np.mean(is_hostile) - HOSTILE_PERCENT) < 2
    sides = {True: set(), False: set()}
    for index, (before, after, is_one) in enumerate(zip(asked, found, is_hostile, strict=True)):
        if is_one:
            assert after.prompt_token_ids[0] == before.temperature_milli
            sides[is_held_out(index)].add(after.prompt_token_ids)
        else:
            assert after == before
    assert sides[True] and sides[False] and not sides[True] & sides[False]
    held_out = np.mean([is_held_out(index) for index in range(7000)])
    assert held_out == pytest.approx(1 / HELD_OUT_EVERY, abs=0.01)
