"""The noise is a wire format: both sides must compute the same bits, in numpy and in torch."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from subnet.core.verification.margin import margins, seeded_choice
from subnet.core.verification.noise import gumbel_of, hash_words, seed_prefix, seeded_gumbel
from subnet.core.verification.support import SamplingRows

GOLDEN = Path(__file__).parent / "seeded_sampling"
NOISE = json.loads((GOLDEN / "noise.json").read_text())
CHOICES = json.loads((GOLDEN / "choices.json").read_text())


def columns(xp: Any) -> tuple[Any, Any, Any]:
    prefix = xp.asarray([seed_prefix(case["seed"]) for case in NOISE])
    position = xp.asarray([case["position"] for case in NOISE])
    return prefix, position, xp.asarray([case["token_id"] for case in NOISE])


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_hash_words_equal_the_golden_ones_bit_for_bit(xp):
    assert hash_words(*columns(xp)).tolist() == [case["word"] for case in NOISE]


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_gumbel_noise_equals_the_golden_one_bit_for_bit(xp):
    noise = seeded_gumbel(*columns(xp), xp)
    assert noise.dtype == xp.float32
    assert [float(value).hex() for value in noise] == [case["gumbel"] for case in NOISE]


def test_golden_words_are_plain_murmur3_over_sixteen_little_endian_bytes():
    for case in NOISE:
        low, high = case["seed"] & 0xFFFFFFFF, case["seed"] >> 32
        key = struct.pack("<4I", low, high, case["position"], case["token_id"])
        assert case["word"] == murmur3_32(key)


def test_the_word_chain_passes_the_published_murmur3_vectors():
    assert murmur3_32(b"test") == 0xBA6BD213
    assert murmur3_32(b"Hello, world!") == 0xC0363E43


def test_extreme_words_give_finite_noise_in_the_right_order():
    noise = gumbel_of(np.array([0, 1, 2**31, 2**32 - 1]), np)
    assert np.isfinite(noise).all()
    assert noise[0] > noise[1] > noise[2] > noise[3]
    assert noise[0] == np.float32(-math.log(-math.log1p(-(2.0**-33))))


def test_the_uniform_is_rounded_to_single_precision_first_as_the_gpu_does():
    word = 2**32 - 200
    unrounded = -math.log(-math.log1p(-(word + 0.5) * 2.0**-32))
    rounded = float(np.float32((word + 0.5) * 2.0**-32))
    assert float(gumbel_of(np.array([word]), np)[0]) == np.float32(
        -math.log(-math.log1p(-min(rounded, 1 - 2.0**-24)))
    )
    assert abs(unrounded - float(gumbel_of(np.array([word]), np)[0])) > 4e-6


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_choices_and_margins_equal_the_golden_ones(xp):
    rows = SamplingRows(
        xp.asarray(CHOICES["temperature"], dtype=xp.float64),
        xp.asarray(CHOICES["top_p"], dtype=xp.float64),
        xp.asarray(CHOICES["top_k"]),
        xp.asarray([seed_prefix(seed) for seed in CHOICES["seed"]]),
        xp.asarray(CHOICES["position"]),
    )
    logits = xp.asarray(CHOICES["logits"], dtype=xp.float64)
    ids = xp.asarray(CHOICES["token_ids"])
    claimed = xp.asarray(CHOICES["claimed_id"])
    own = xp.asarray(CHOICES["claimed_logit"], dtype=xp.float64)
    vocab_size = CHOICES["vocab_size"]
    assert seeded_choice(logits, ids, rows, vocab_size, xp).tolist() == CHOICES["choice"]
    found = margins(logits, ids, claimed, own, rows, vocab_size, CHOICES["slack_logits"], xp)
    assert found.tolist() == pytest.approx(CHOICES["margin"], abs=1e-9)


def murmur3_32(data: bytes) -> int:
    """The reference algorithm, byte by byte, written apart from the code under test."""
    state, mask = 0, 0xFFFFFFFF
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        state ^= _scramble(int.from_bytes(data[start : start + 4], "little"))
        state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    if data[whole:]:
        state ^= _scramble(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    return state ^ state >> 16


def _scramble(block: int) -> int:
    block = block * 0xCC9E2D51 & 0xFFFFFFFF
    return (block << 15 | block >> 17) * 0x1B873593 & 0xFFFFFFFF
