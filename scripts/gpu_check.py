"""Our noise and the referee on a GPU with torch and transformers, no vLLM; prints JSON.

Written, unproved: no GPU has run this yet. On the CPU it runs with `--device cpu --tiny`.

    python scripts/gpu_check.py                       noise, and models of about 1 and 8 B weights
    python scripts/gpu_check.py --device cpu --tiny   the same path with a model of 0.2 M weights
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.progress import track

from subnet.core.verification.claim import Claim
from subnet.core.verification.noise import gumbel_of, hash_words
from subnet.edge.torch_referee import TorchReferee

WORDS = 1 << 20
GUMBEL_ERROR_MAX = 4e-6
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
    "8B": {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32},
}
"""The larger two are Llama 3's, with its vocabulary of 128,256."""
PROMPT_TOKENS, ANSWER_TOKENS = 64, 192


def check_noise(device: str) -> dict[str, Any]:
    """Hash words and Gumbel noise of the device beside numpy's."""
    dice = np.random.default_rng(1602)
    cells = [dice.integers(0, high, WORDS) for high in (2**32, 2**20, 2**18)]
    words = hash_words(*cells)
    there = hash_words(*(torch.from_numpy(cell).to(device) for cell in cells))
    noise = gumbel_of(there, torch).cpu().numpy()
    error = float(np.abs(noise - gumbel_of(words, np)).max())
    same = int((there.cpu().numpy() == words).sum())
    return {
        "words": WORDS,
        "equal_words": same,
        "gumbel_error_max": error,
        "passed": same == WORDS and error < GUMBEL_ERROR_MAX,
    }


def make_model(name: str, folder: Path, device: str) -> int:
    """A randomly initialised Llama in bf16, written to `folder`; its number of weights."""
    heads = 2 if name == "tiny" else 32
    config = transformers.LlamaConfig(
        vocab_size=1024 if name == "tiny" else 128_256,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        max_position_embeddings=2048,
        **SHAPES[name],
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def made_claims(count: int, vocab_size: int) -> list[Claim]:
    """Random answers: what they cost does not depend on whether they are honest."""
    dice = np.random.default_rng(7)
    return [
        Claim(
            prompt_token_ids=tuple(dice.integers(0, vocab_size, PROMPT_TOKENS).tolist()),
            output_token_ids=tuple(dice.integers(0, vocab_size, ANSWER_TOKENS).tolist()),
            temperature_milli=1000,
            top_p_milli=950,
            top_k=50,
            seed=number,
            logprobs=(-1.0,) * ANSWER_TOKENS,
            finish_reason="length",
        )
        for number in range(count)
    ]


def seconds(run: Callable[[], Any], device: str, rounds: int) -> float:
    """Median over rounds, after one that warms up; the device has finished each."""
    taken = []
    for turn in range(rounds + 1):
        started = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        if turn:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(name: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    """The referee's speed on one model, and the share of it that is not the forward pass."""
    from scripts.bench_referee import BareForward

    with tempfile.TemporaryDirectory() as folder:
        weights = make_model(name, Path(folder), device)
        referee = TorchReferee(
            folder,
            dtype="bfloat16",
            slack_logits=0.05,
            batch_tokens_max=options.batch_tokens_max,
            device=device,
        )
    claims = made_claims(options.answers, int(referee._head.weight.shape[0]))
    bare = BareForward(referee)
    bare.record(claims)
    whole = seconds(lambda: referee.score(claims), device, options.rounds)
    forward = seconds(bare.run, device, options.rounds)
    return {
        "weights": weights,
        "answer_tokens_per_second": round(len(claims) * ANSWER_TOKENS / whole),
        "recomputed_tokens_per_second": round(
            len(claims) * (PROMPT_TOKENS + ANSWER_TOKENS) / whole
        ),
        "over_bare_forward": round(whole / forward, 3),
        "share_spent_scoring": round(1 - forward / whole, 3),
    }


def main() -> int:
    """Run from the command line; 1 if the noise differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="as torch names it")
    parser.add_argument("--tiny", action="store_true", help="one small model, for a CPU")
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--batch-tokens-max", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = str(options.device)
    if device != "cpu" and not torch.cuda.is_available():
        print("no GPU is visible to torch; try --device cpu --tiny", file=sys.stderr)
        return 2
    noise = check_noise(device)
    names = ["tiny"] if options.tiny else ["1B", "8B"]
    progress = track(names, description="referee", console=Console(stderr=True))
    found = {
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "noise": noise,
        "referee": {name: measure(name, device, options) for name in progress},
    }
    print(json.dumps(found, indent=2))
    return 0 if noise["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
