"""Our noise is vLLM's: its own GPU source, run over numpy, must give the same words.

Only the file is read; neither vLLM nor triton is imported. The functions are executed with a
stand-in for `triton.language`, so a changed constant in a newer vLLM fails here.
"""

import ast
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from subnet.core.verification.noise import hash_words, seed_prefix, seeded_gumbel

WANTED = {
    "_murmur3_rotl32",
    "_murmur3_mix",
    "_murmur3_fmix32",
    "murmur3_hash32",
    "murmur3_uniform32",
    "_log1p_neg_stable",
}


class Lane(np.ndarray):
    """A numpy array with triton's spelling of a cast."""

    def to(self, dtype):
        return self.astype(dtype)


@pytest.fixture(scope="module")
def vllm_source():
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    path = Path(spec.origin).parent / "v1/worker/gpu/sample/gumbel.py"
    tree = ast.parse(path.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    tree.body = [node for node in functions if node.name in WANTED]
    assert {node.name for node in tree.body} == WANTED
    language = SimpleNamespace(
        constexpr=int,
        int32=np.int32,
        int64=np.int64,
        uint32=np.uint32,
        float32=np.float32,
        log=np.log,
        maximum=np.maximum,
        where=np.where,
    )
    scope = {"tl": language, "triton": SimpleNamespace(jit=lambda function: function)}
    exec(compile(tree, str(path), "exec"), scope)
    return scope


def draws(count):
    dice = np.random.default_rng(32)
    seeds = dice.integers(0, 2**64, count, dtype=np.uint64)
    return seeds, dice.integers(0, 2**20, count), dice.integers(0, 2**18, count)


def test_hash_words_equal_those_of_vllms_gpu_sampler(vllm_source):
    seeds, positions, tokens = draws(16_384)
    theirs = vllm_source["murmur3_hash32"](
        seeds.astype(np.int64).view(Lane), positions.view(Lane), tokens.view(Lane)
    )
    prefix = np.array([seed_prefix(int(seed)) for seed in seeds])
    assert np.array_equal(np.asarray(theirs), hash_words(prefix, positions, tokens))


def test_noise_equals_that_of_vllms_gpu_sampler_within_single_precision(vllm_source):
    seeds, positions, tokens = draws(16_384)
    uniform = vllm_source["murmur3_uniform32"](
        seeds.astype(np.int64).view(Lane), positions.view(Lane), tokens.view(Lane)
    )
    assert uniform.dtype == np.float32
    theirs = -np.log(-vllm_source["_log1p_neg_stable"](np.asarray(uniform)))
    prefix = np.array([seed_prefix(int(seed)) for seed in seeds])
    ours = seeded_gumbel(prefix, positions, tokens, np)
    assert np.abs(theirs - ours).max() < 4e-6
