"""What a GPU does to our noise, vLLM's kernel, honest margins and the referee; prints JSON.

Needs torch, triton, transformers and xgrammar, no vLLM. Transcripts travel as files, so that
answers made on one kind of machine are judged on the other:

    python scripts/gpu_check.py --device cpu --serve cpu.json          answers by vLLM, on a CPU
    python scripts/gpu_check.py --transcripts cpu.json --sample gpu.json --output FILE   on a GPU
    python scripts/gpu_check.py --device cpu --only transcripts --transcripts gpu.json   on a CPU
    python scripts/gpu_check.py --publish FILE FILE2     both results into docs/benchmarks, here

`--device cpu --models tiny` runs the same path with a model of 0.2 M weights.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import transformers
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track

from scripts.benchmarks_page import write_benchmark
from subnet.core.audit import Traffic
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim
from subnet.core.verification.margin import seeded_choice
from subnet.core.verification.noise import gumbel_of, hash_words, seed_prefix, seeded_gumbel
from subnet.core.verification.support import SamplingRows
from subnet.edge.grammar import release_grammars
from subnet.edge.release_files import load_release_files
from subnet.edge.tokenizer import HubTokenizer
from subnet.edge.torch_referee import TorchReferee
from subnet.lab.bare_forward import BareForward, seconds
from subnet.lab.calibration import BATCH_SHARES
from subnet.lab.fit import Answer, checked
from subnet.lab.sampler import Job, generate, load_model
from subnet.lab.traffic import planned_requests
from subnet.lab.transcripts import ENGINES, claim_to, served

ROOT = Path(__file__).parents[1]
TINY = ROOT / "assets" / "tiny"
CLAIMS: TypeAdapter[list[Claim]] = TypeAdapter(list[Claim])
WORDS = 1 << 20
ROWS, VOCABULARY = 4096, 32_000
GUMBEL_ERROR_MAX = 4e-6
PROMPT_TOKENS, ANSWER_TOKENS = 64, 192
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
    "8B": {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32},
}
"""The larger two are Llama 3's, with its vocabulary of 128,256."""


def check_noise(device: str) -> dict[str, Any]:
    """Hash words and Gumbel noise of the device beside numpy's."""
    dice = np.random.default_rng(1602)
    cells = [dice.integers(0, high, WORDS) for high in (2**32, 2**20, 2**18)]
    words = hash_words(*cells)
    there = hash_words(*(torch.from_numpy(cell).to(device) for cell in cells))
    noise = gumbel_of(there, torch).cpu().numpy()
    return _agreement(there.cpu().numpy(), words, noise, gumbel_of(words, np))


def _agreement(words: Any, words_here: Any, noise: Any, noise_here: Any) -> dict[str, Any]:
    same = int((words == words_here).sum())
    error = float(np.abs(noise - noise_here).max())
    return {
        "words": len(words_here),
        "equal_words": same,
        "gumbel_error_max": error,
        "passed": same == len(words_here) and error < GUMBEL_ERROR_MAX,
    }


def check_kernel(device: str, gumbel_py: Path) -> dict[str, Any]:
    """vLLM's own Triton kernels, run on the device, beside numpy's noise and choice."""
    dice = np.random.default_rng(1603)
    given = {
        "seeds": dice.integers(0, 2**64, WORDS, dtype=np.uint64).astype(np.int64),
        "positions": dice.integers(0, 2**20, WORDS),
        "tokens": dice.integers(0, 2**18, WORDS),
        "logits": dice.normal(0, 3, (ROWS, VOCABULARY)).astype(np.float32),
        "temperature": dice.choice([0.0, 0.1, 0.7, 1.0, 2.0], ROWS).astype(np.float32),
    }
    runner = ROOT / "tests" / "golden" / "triton_noise.py"
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(files[0], **given)
        interpret = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
        command = [sys.executable, runner, gumbel_py, *files, device]
        subprocess.run(command, check=True, env={**os.environ, **interpret})
        with np.load(files[1]) as loaded:
            theirs = dict(loaded)
    prefixes = np.array([seed_prefix(int(seed)) for seed in given["seeds"]])
    words = hash_words(prefixes, given["positions"], given["tokens"])
    noise = seeded_gumbel(prefixes, given["positions"], given["tokens"], np)
    rows = SamplingRows(
        given["temperature"],
        np.ones(ROWS),
        np.full(ROWS, VOCABULARY),
        prefixes[:ROWS],
        given["positions"][:ROWS],
    )
    order = np.argsort(-given["logits"], axis=1, kind="stable")
    best = np.take_along_axis(given["logits"], order, axis=1)
    chosen = seeded_choice(best, order, rows, VOCABULARY, np)
    return {
        **_agreement(theirs["words"], words, theirs["noise"], noise),
        "tokens_sampled": ROWS,
        "equal_tokens": int((theirs["sampled"] == chosen).sum()),
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


def measure(name: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    """The referee's speed on one model, and the share of it that is not the forward pass."""
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
    whole = seconds(lambda: referee.score(claims), options.rounds, device)
    forward = seconds(bare.run, options.rounds, device)
    return {
        "weights": weights,
        "answer_tokens_per_second": round(len(claims) * ANSWER_TOKENS / whole),
        "recomputed_tokens_per_second": round(
            len(claims) * (PROMPT_TOKENS + ANSWER_TOKENS) / whole
        ),
        "over_bare_forward": round(whole / forward, 3),
        "share_spent_scoring": round(1 - forward / whole, 3),
    }


def judge(claims: list[Claim], device: str) -> dict[str, Any]:
    """Honest answers from elsewhere, scored here, against the bounds measured on CPUs alone."""
    files = load_release_files(str(TINY))
    table = CalibrationTable.model_validate_json((TINY / "calibration.json").read_bytes())
    referee = TorchReferee(
        files.folder,
        dtype=files.release.dtype,
        slack_logits=table.slack_logits,
        device=device,
        grammars=release_grammars(files.release, files.folder),
    )
    scores = referee.score(claims)
    answers = [
        Answer(claim, score, is_held_out=True) for claim, score in zip(claims, scores, strict=True)
    ]
    found = np.concatenate([score.margins for score in scores])
    gaps = np.concatenate([score.logprob_gaps for score in scores])
    return {
        **checked(answers, table, Traffic.BENCHMARK).model_dump(),
        "sigma_logits": float(np.sqrt(np.mean(gaps**2))),
        "calibrated_sigma_logits": table.sigma_logits,
        "tokens_above_edges": [int((found > edge).sum()) for edge in table.edges_logits],
    }


def served_claims(prompts: int) -> list[Claim]:
    """Honest answers by vLLM on this machine."""
    files = load_release_files(str(TINY))
    requests = planned_requests(files.release, HubTokenizer(files.folder), prompts, seed=77)
    return served(files, requests, BATCH_SHARES, ENGINES["eager"], lambda _: None).claims


def sampled_claims(prompts: int, device: str) -> list[Claim]:
    """Honest answers by transformers on the device, with the miner's own choice of tokens."""
    files = load_release_files(str(TINY))
    requests = planned_requests(files.release, HubTokenizer(files.folder), prompts, seed=78)
    room = files.release.context_tokens_max
    jobs = [
        Job(
            prompt_token_ids=each.prompt_token_ids,
            noise_prompt_tokens=len(each.prompt_token_ids),
            temperature_milli=each.temperature_milli,
            top_p_milli=each.top_p_milli,
            top_k=each.top_k,
            tokens_max=min(each.tokens_max, room - len(each.prompt_token_ids)),
            seed=each.seed,
            structure=each.structure,
        )
        for each in requests
    ]
    stops = files.release.stop_token_ids
    models = [load_model(files.folder, files.release.dtype, device)]
    grammars = release_grammars(files.release, files.folder)
    made = generate(models, jobs, stops, grammars=grammars)
    return [
        claim_to(each, ids, logprobs, "stop" if ids[-1] in stops else "length")
        for each, (ids, logprobs) in zip(requests, made, strict=True)
    ]


def parts(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """What was asked for, by name."""
    device, gumbel_py = str(options.device), options.vllm_gumbel
    chosen: dict[str, Callable[[], Any]] = {"noise": lambda: check_noise(device)}
    if gumbel_py:
        chosen["vllm_kernel"] = lambda: check_kernel(device, gumbel_py)
    if options.transcripts:
        claims = CLAIMS.validate_json(options.transcripts.read_bytes())
        chosen["transcripts"] = lambda: judge(claims, device)
    for name in options.models:
        chosen[f"referee_{name}"] = lambda name=name: measure(name, device, options)
    return {name: run for name, run in chosen.items() if not options.only or name in options.only}


def publish(there: dict[str, Any], here: dict[str, Any]) -> None:
    """Write docs/benchmarks/gpu.json from a GPU's results and a CPU's of the GPU's answers."""
    kernel, models = there["vllm_kernel"], ("1B", "8B")
    judged = {"cpu_answers_on_gpu": there["transcripts"], "gpu_answers_on_cpu": here["transcripts"]}
    shown = ("tokens", "alarms", "buckets_above_p0", "gap_buckets_above_p0", "mean_factor_max")
    write_benchmark(
        "gpu",
        title="A GPU beside the CPUs: noise, honest answers across devices, the referee",
        explanation=(
            "vLLM's Triton kernels on the GPU beside our noise in numpy: hash words, Gumbel noise, "
            "sampled tokens at a vocabulary of 32,000. Honest answers of the tiny release made on "
            "one kind of machine (vLLM on a CPU; transformers with our choice of tokens on the "
            "GPU) and scored by the referee on the other, against bounds that were calibrated on "
            "CPUs alone. The referee on randomly initialised Llamas in bf16, prompts of "
            f"{PROMPT_TOKENS} and answers of {ANSWER_TOKENS} tokens, vocabulary 128,256, over its "
            "own calls of the model."
        ),
        figures={
            "noise_words_equal": f"{kernel['equal_words']:,} of {kernel['words']:,}",
            "noise_gumbel_error_max": f"{kernel['gumbel_error_max']:.2e}",
            "sampled_tokens_equal": f"{kernel['equal_tokens']:,} of {kernel['tokens_sampled']:,}",
            **{
                f"{way}_{name}": _shown(found[name])
                for way, found in judged.items()
                for name in shown
            },
            **{
                f"referee_{name}_{figure}": there[f"referee_{name}"][figure]
                for name in models
                for figure in ("answer_tokens_per_second", "over_bare_forward")
            },
        },
        targets={
            "noise_words_equal": "all",
            "noise_gumbel_error_max": "below 4e-6",
            "sampled_tokens_equal": "all",
            **{f"{way}_alarms": "0" for way in judged},
            **{f"referee_{name}_over_bare_forward": "at most 1.3" for name in models},
        },
        command="scripts/gpu_check.py",
        versions=there["versions"],
        machine={"cpu": "x86-64", "cores": there["cores"], "gpu": there["device"]},
    )


def _shown(figure: float) -> float:
    return round(figure, 3) if isinstance(figure, float) else figure


def installed_kernel() -> Path | None:
    """vLLM's own file, where vLLM is installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "v1/worker/gpu/sample/gumbel.py"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="as torch names it")
    parser.add_argument("--models", nargs="*", default=["1B", "8B"], choices=sorted(SHAPES))
    parser.add_argument("--only", nargs="*", default=[], help="noise, vllm_kernel, transcripts, …")
    parser.add_argument("--vllm-gumbel", type=Path, default=installed_kernel(), metavar="FILE")
    parser.add_argument("--transcripts", type=Path, metavar="FILE", help="answers to judge")
    parser.add_argument("--serve", type=Path, metavar="FILE", help="write vLLM's answers, and end")
    parser.add_argument("--sample", type=Path, metavar="FILE", help="write answers made here, too")
    parser.add_argument("--prompts", type=int, default=1900)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--batch-tokens-max", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--publish", type=Path, nargs=2, metavar="FILE")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON there, too")
    return parser.parse_args()


def main() -> int:
    """Run from the command line; 1 if the noise differs."""
    options = read_options()
    device = str(options.device)
    if options.publish:
        publish(*(json.loads(file.read_bytes()) for file in options.publish))
        return 0
    if device != "cpu" and not torch.cuda.is_available():
        print("no GPU is visible to torch; try --device cpu --models tiny", file=sys.stderr)
        return 2
    if options.serve:
        options.serve.write_bytes(CLAIMS.dump_json(served_claims(options.prompts)))
        return 0
    found: dict[str, Any] = {
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "cores": os.cpu_count(),
        "versions": {each.__name__: each.__version__ for each in (torch, transformers, np)},
    }
    chosen = parts(options)
    for name in track(chosen, description="checks", console=Console(stderr=True)):
        found[name] = chosen[name]()
        if options.output:
            options.output.write_text(json.dumps(found, indent=2) + "\n")
    if options.sample:
        options.sample.write_bytes(CLAIMS.dump_json(sampled_claims(options.prompts, device)))
    print(json.dumps(found, indent=2))
    checks = (found.get(name, {"passed": True}) for name in ("noise", "vllm_kernel"))
    return 0 if all(check["passed"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
