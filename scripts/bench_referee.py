"""make bench-referee: the referee's time over its own bare forward pass, and over generation.

The miner's engine answers benchmark prompts in a process of its own, at batch 64 and one by one;
the referee then scores these very answers. Scoring and the bare forward pass over the same batches
take turns, so that a busy machine is equally unfair to both.
"""

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.benchmarks_page import write_benchmark
from subnet.core.benchmark import FAMILIES, generate_task
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim
from subnet.edge.release_files import load_release_files
from subnet.edge.vllm_runtime import set_engine_environment, start_vllm

ROOT = Path(__file__).parents[1]
TEMPERATURE_MILLI, TOP_P_MILLI, TOP_K = 1000, 950, 50
TIERS = (1, 2)
BATCH = 64


@dataclass(frozen=True)
class Served:
    """What the engine answered, and how fast, once it was warm."""

    claims: list[Claim]
    tokens_per_second: float


def serve(model: str, answers: int, batch: int, eager: bool) -> Served:
    """Benchmark prompts answered `batch` at a time, with the miner's own sampler and arguments."""
    arguments = {"enforce_eager": True} if eager else {}
    set_engine_environment(arguments)
    files = load_release_files(model)
    from vllm.sampling_params import RequestOutputKind

    from subnet.edge.seeded_sampler import seeded_params
    from subnet.edge.tokenizer import HubTokenizer

    engine = start_vllm(files.release, files.folder, BATCH, arguments)
    tokenizer = HubTokenizer(files.folder)
    gc.collect()
    gc.freeze()

    def add(number: int) -> tuple[int, ...]:
        family = sorted(FAMILIES)[number % len(FAMILIES)]
        tier = TIERS[number % len(TIERS)]
        task = generate_task(family, number.to_bytes(16, "big"), tier)
        prompt = tokenizer.render(task.prompt)
        params = seeded_params(
            temperature_milli=TEMPERATURE_MILLI,
            top_p_milli=TOP_P_MILLI,
            top_k=TOP_K,
            seed=number,
            tokens_max=task.max_tokens,
            stop_token_ids=files.release.stop_token_ids,
            output_kind=RequestOutputKind.CUMULATIVE,
        )
        ids = list(prompt)
        engine.add_request(str(number), {"type": "token", "prompt_token_ids": ids}, params)
        return prompt

    def run(first: int, count: int) -> list[Claim]:
        waiting, running, claims = list(range(first, first + count)), {}, []
        while waiting or running:
            while waiting and len(running) < batch:
                number = waiting.pop()
                running[str(number)] = add(number)
            for output in engine.step():
                if output.finished:
                    claims.append(_claim(running.pop(output.request_id), output))
        return claims

    run(answers, batch)
    started = time.perf_counter()
    claims = run(0, answers)
    seconds = time.perf_counter() - started
    return Served(claims, sum(len(c.output_token_ids) for c in claims) / seconds)


def _claim(prompt: tuple[int, ...], output: Any) -> Claim:
    (answer,) = output.outputs
    ids = tuple(answer.token_ids)
    logprobs = zip(ids, answer.logprobs, strict=True)
    return Claim(
        prompt_token_ids=prompt,
        output_token_ids=ids,
        temperature_milli=TEMPERATURE_MILLI,
        top_p_milli=TOP_P_MILLI,
        top_k=TOP_K,
        seed=int(output.request_id),
        logprobs=tuple(step[token].logprob for token, step in logprobs),
        finish_reason=answer.finish_reason,
    )


def interleaved(
    progress: Progress, rounds: int, **what: Callable[[], Any]
) -> dict[str, list[float]]:
    """Seconds of each, in turn, after one run that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for turn in progress.track(range(rounds + 1), description="referee"):
        for name, run in what.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def bench(
    model: Path, answers: int, single_answers: int, rounds: int, eager: bool
) -> dict[str, Any]:
    """All measurements."""
    table = CalibrationTable.model_validate_json((model / "calibration.json").read_bytes())
    files = load_release_files(str(model))
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
    context = multiprocessing.get_context("spawn")
    with Progress(*columns, TimeElapsedColumn()) as progress:
        served = []
        for batch, count in ((BATCH, answers), (1, single_answers)):
            task = progress.add_task(f"generation, batch {batch}", total=1)
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                served.append(pool.submit(serve, str(model), count, batch, eager).result())
            progress.advance(task)
        many, single = served
        set_engine_environment({"enforce_eager": True})
        from subnet.edge.torch_referee import TorchReferee
        from subnet.lab.bare_forward import BareForward

        referee = TorchReferee(
            files.folder, dtype=files.release.dtype, slack_logits=table.slack_logits
        )
        bare = BareForward(referee)
        bare.record(many.claims)
        seconds = interleaved(
            progress, rounds, score=lambda: referee.score(many.claims), bare=bare.run
        )
    margin_max = max(max(score.margins) for score in referee.score(many.claims))
    tokens = sum(len(claim.output_token_ids) for claim in many.claims)
    rate = tokens / statistics.median(seconds["score"])
    pairs = zip(seconds["score"], seconds["bare"], strict=True)
    return {
        "over_bare_forward": round(statistics.median(s / b for s, b in pairs), 3),
        "over_generation_at_batch_64": round(rate / many.tokens_per_second, 2),
        "over_generation_one_by_one": round(rate / single.tokens_per_second, 1),
        "referee_tokens_per_second": round(rate),
        "generation_tokens_per_second_at_batch_64": round(many.tokens_per_second),
        "generation_tokens_per_second_one_by_one": round(single.tokens_per_second),
        "answers": len(many.claims),
        "mean_prompt_tokens": round(
            statistics.fmean(len(claim.prompt_token_ids) for claim in many.claims), 1
        ),
        "mean_answer_tokens": round(tokens / len(many.claims), 1),
        "largest_margin_logits": round(margin_max, 4),
        "rounds": rounds,
    }


def main() -> None:
    """Measure, and write docs/benchmarks/referee.json and docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument("--answers", type=int, default=512, help="at batch 64, and scored")
    parser.add_argument("--single-answers", type=int, default=32, help="served one by one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--eager", action="store_true", help="do not compile the engine's model")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    figures = bench(
        options.model, options.answers, options.single_answers, options.rounds, options.eager
    )
    print(json.dumps(figures, indent=2))
    if options.dry:
        return
    write_benchmark(
        "referee",
        title="The referee over its own forward pass, and over generation",
        explanation=(
            "Benchmark prompts at temperature 1, top-p .95, top-k 50, answered by the miner's "
            "engine (compiled, seeded sampling, one thread) and scored by the referee (one "
            "thread): answer tokens a second of both. The bare forward pass repeats exactly the "
            "calls of the decoder and the output layer that scoring makes; both take turns, and "
            "the ratio is the median over rounds. A referee also recomputes the prompt, so that "
            "short answers to long prompts are dear."
        ),
        figures=figures,
        targets={
            "over_bare_forward": "at most 1.3",
            "over_generation_at_batch_64": "6 (reference 4)",
            "over_generation_one_by_one": "70 (reference 70)",
        },
        command="make bench-referee",
        versions={name: version(name) for name in ("torch", "transformers", "numpy")},
    )


if __name__ == "__main__":
    main()
