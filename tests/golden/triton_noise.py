"""seeds, positions, ids -> VLLM'S TRITON KERNELS -> words, noise, samples; a process of its own.

    TRITON_INTERPRET=1 python triton_noise.py GUMBEL_PY INPUT_NPZ OUTPUT_NPZ [DEVICE]

Triton decides when a kernel is declared whether it is interpreted; on a GPU it is compiled. vLLM's
file is loaded alone: its package would take seconds, and on a CPU it replaces triton by a
placeholder.
"""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch
import triton
import triton.language as tl

BLOCK = 1024


def vllm_gumbel(path):
    stand_in = ModuleType("vllm.triton_utils")
    stand_in.tl, stand_in.triton = tl, triton
    sys.modules |= {"vllm": ModuleType("vllm"), "vllm.triton_utils": stand_in}
    spec = importlib.util.spec_from_file_location("gumbel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gumbel = vllm_gumbel(sys.argv[1])


@triton.jit
def noise_kernel(seeds, positions, tokens, words, noise, block: tl.constexpr):
    index = tl.program_id(0) * block + tl.arange(0, block)
    seed, position = tl.load(seeds + index), tl.load(positions + index)
    token = tl.load(tokens + index)
    word = gumbel.murmur3_hash32(seed, position, token)
    uniform = gumbel.murmur3_uniform32(seed, position, token)
    tl.store(words + index, word.to(tl.int64))
    tl.store(noise + index, -tl.log(-gumbel._log1p_neg_stable(uniform)))


def main():
    torch.set_default_device(sys.argv[4] if len(sys.argv) > 4 else "cpu")
    given = {name: torch.tensor(array) for name, array in np.load(sys.argv[2]).items()}
    count = len(given["tokens"])
    assert count % BLOCK == 0
    words, noise = torch.empty(count, dtype=torch.int64), torch.empty(count)
    noise_kernel[(count // BLOCK,)](
        given["seeds"], given["positions"], given["tokens"], words, noise, block=BLOCK
    )
    rows = len(given["logits"])
    sampled = gumbel.gumbel_sample(
        given["logits"],
        torch.arange(rows),
        given["temperature"],
        given["seeds"][:rows],
        given["positions"][:rows],
        apply_temperature=True,
        is_drafting=False,
    )
    found = {"words": words, "noise": noise, "sampled": sampled}
    np.savez(sys.argv[3], **{name: tensor.cpu().numpy() for name, tensor in found.items()})


main()
