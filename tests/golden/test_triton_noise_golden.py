"""Our noise is that of vLLM's GPU kernels: its own file, run by triton's interpreter on the CPU.

A GPU miner samples by vLLM's own `seed`; if its kernel and our noise differed, honest miners would
be convicted. `test_vllm_noise_golden` runs the same functions over numpy, without triton.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from subnet.core.verification.margin import seeded_choice
from subnet.core.verification.noise import hash_words, seed_prefix, seeded_gumbel
from subnet.core.verification.support import SamplingRows

WORDS, ROWS, VOCABULARY = 32_768, 64, 3000
GUMBEL_ERROR_MAX = 4e-6


@pytest.fixture(scope="module")
def drawn():
    dice = np.random.default_rng(1602)
    seeds = dice.integers(0, 2**64, WORDS, dtype=np.uint64)
    seeds[:3] = 0, 2**63, 2**64 - 1
    return {
        "seeds": seeds.astype(np.int64),
        "positions": dice.integers(0, 2**20, WORDS),
        "tokens": dice.integers(0, 2**18, WORDS),
        "logits": dice.normal(0, 3, (ROWS, VOCABULARY)).astype(np.float32),
        "temperature": dice.choice([0.0, 0.1, 0.7, 1.0, 2.0], ROWS).astype(np.float32),
    }


@pytest.fixture(scope="module")
def theirs(drawn, tmp_path_factory):
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None or importlib.util.find_spec("triton") is None:
        pytest.skip("vLLM and triton are not both installed")
    folder = tmp_path_factory.mktemp("triton")
    np.savez(folder / "in.npz", **drawn)
    subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("triton_noise.py"),
            Path(spec.origin).parent / "v1/worker/gpu/sample/gumbel.py",
            folder / "in.npz",
            folder / "out.npz",
        ],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
    )
    with np.load(folder / "out.npz") as found:
        return dict(found)


def prefixes(drawn):
    return np.array([seed_prefix(int(seed)) for seed in drawn["seeds"]])


def test_every_hash_word_of_vllms_kernel_is_ours(theirs, drawn):
    ours = hash_words(prefixes(drawn), drawn["positions"], drawn["tokens"])
    assert len(theirs["words"]) == WORDS
    assert np.array_equal(theirs["words"], ours)


def test_the_noise_of_vllms_kernel_is_ours_within_single_precision(theirs, drawn):
    ours = seeded_gumbel(prefixes(drawn), drawn["positions"], drawn["tokens"], np)
    assert np.abs(theirs["noise"] - ours).max() < GUMBEL_ERROR_MAX


def test_vllms_sampling_kernel_chooses_the_tokens_that_we_do(theirs, drawn):
    order = np.argsort(-drawn["logits"], axis=1, kind="stable")
    rows = SamplingRows(
        drawn["temperature"],
        np.ones(ROWS),
        np.full(ROWS, VOCABULARY),
        prefixes(drawn)[:ROWS],
        drawn["positions"][:ROWS],
    )
    best = np.take_along_axis(drawn["logits"], order, axis=1)
    chosen = seeded_choice(best, order, rows, VOCABULARY, np)
    assert np.array_equal(theirs["sampled"], chosen)
