"""Measure a release's honest numerics, and write the table that the verifier judges by.

The miner's own engine answers benchmark prompts over the whole envelope, the referee recomputes
them, and the margins become bounds per band (`subnet.core.verification.calibration`). Prompts are
split: the bounds come from one part, the figures under `held_out` from the other.

    .venv/bin/python scripts/calibrate.py                       the shipped tiny release
    .venv/bin/python scripts/calibrate.py --release-dir DIR --output FILE --prompts N
"""

import argparse
import asyncio
import hashlib
import importlib.metadata
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from protocol.inference import Environment
from protocol.release import Release
from subnet.config import ConfigError
from subnet.core.benchmark import FAMILIES, Task, generate_task
from subnet.core.verification.calibration import (
    Band,
    CalibrationParams,
    CalibrationTable,
    HeldOut,
    Provenance,
    bucket_counts,
    fitted_band,
    numeric_noise,
    scaled_edges,
)
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import (
    EvidenceParams,
    alarm,
    fresh_state,
    log_evidence,
    update,
)
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.vllm_engine import VllmEngine
from subnet.edge.vllm_runtime import set_engine_environment
from subnet.ports import EngineError, EngineRequest, Tokenizer

ROOT = Path(__file__).resolve().parent.parent
TEMPERATURES_MILLI = (0, 100, 300, 700, 1000, 1500, 2000)
TOP_PS_MILLI = (500, 950, 1000)
TOP_KS = (5, 20, 50, 64)
BATCH_SHARES = {1: 0.02, 8: 0.14, 32: 0.84}
"""Share of the prompts served at each batch size; single requests are slow and rarely noisier."""
OPEN_PERCENT, LONG_PERCENT, RANDOM_PERCENT = 30, 2, 4
"""Free text (the most entropy), prompts that nearly fill the context, and random token ids."""
HELD_OUT_EVERY = 4
PILOT_ANSWERS = 400
LONG_ANSWER_TOKENS = 24
REFEREE_CHUNK = 256
ENGINES: dict[str, dict[str, Any]] = {"eager": {"enforce_eager": True}, "compiled": {}}
"""The ways that an honest miner may run the model; each answers its share of the prompts."""


@dataclass(frozen=True)
class Answer:
    """One served request with the margins that the referee found."""

    claim: Claim
    score: ClaimScore
    is_held_out: bool

    @property
    def band(self) -> tuple[int, int]:
        """(temperature, top-p) in thousandths; greedy answers share one band."""
        temperature_milli = self.claim.temperature_milli
        return temperature_milli, self.claim.top_p_milli if temperature_milli else 1000


class Bar:
    """A progress bar for one step of the run."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def advance(self, count: int = 1) -> None:
        """Count what is done."""
        self._progress.advance(self._task, count)


def planned_requests(
    release: Release, tokenizer: Tokenizer, prompts: int, seed: int
) -> list[EngineRequest]:
    """The requests of one run: same release, count and seed, same requests."""
    dice = np.random.default_rng(seed)
    bands = [(t, p) for t in TEMPERATURES_MILLI for p in (TOP_PS_MILLI if t else (1000,))]
    requests = []
    for index in range(prompts):
        temperature_milli, top_p_milli = bands[index % len(bands)]
        prompt, tokens_max = _prompt(release, tokenizer, dice)
        requests.append(
            EngineRequest(
                request_id=f"{index:032x}",
                prompt_token_ids=prompt,
                temperature_milli=temperature_milli,
                top_p_milli=top_p_milli,
                top_k=int(dice.choice(TOP_KS)),
                tokens_max=tokens_max,
                seed=int(dice.integers(0, 2**63)),
            )
        )
    return requests


def _prompt(
    release: Release, tokenizer: Tokenizer, dice: np.random.Generator
) -> tuple[tuple[int, ...], int]:
    """Prompt ids and the answer's token limit."""
    draw = int(dice.integers(100))
    room = release.context_tokens_max - LONG_ANSWER_TOKENS
    if draw < RANDOM_PERCENT:
        noise = dice.integers(0, release.vocab_size, int(dice.integers(1, min(64, room))))
        return tuple(int(token) for token in noise), LONG_ANSWER_TOKENS
    names = sorted(FAMILIES)
    if draw < RANDOM_PERCENT + LONG_PERCENT:
        text = ""
        while len(ids := tokenizer.render(text)) < min(room, 4096):
            text += _task(str(dice.choice(names)), dice).prompt + "\n"
        return ids[:room], LONG_ANSWER_TOKENS
    is_open = draw < RANDOM_PERCENT + LONG_PERCENT + OPEN_PERCENT
    task = _task("open" if is_open else str(dice.choice(names)), dice)
    return tokenizer.render(task.prompt)[:room], task.max_tokens


def _task(family: str, dice: np.random.Generator) -> Task:
    tier = int(dice.choice(FAMILIES[family].tiers))
    return generate_task(family, dice.bytes(16), tier)


async def generate(
    engine: VllmEngine, requests: Sequence[EngineRequest], bar: Bar
) -> dict[str, Claim]:
    """Serve the requests at the planned batch sizes; claims by request id."""
    claims: dict[str, Claim] = {}

    async def serve(queue: list[EngineRequest]) -> None:
        while queue:
            request = queue.pop()
            token_ids: list[int] = []
            logprobs: list[float] = []
            async for delta in engine.generate(request):
                token_ids += delta.token_ids
                logprobs += delta.logprobs
            assert delta.finish_reason is not None
            claims[request.request_id] = Claim(
                prompt_token_ids=request.prompt_token_ids,
                output_token_ids=tuple(token_ids),
                temperature_milli=request.temperature_milli,
                top_p_milli=request.top_p_milli,
                top_k=request.top_k,
                seed=request.seed,
                logprobs=tuple(logprobs),
                finish_reason=delta.finish_reason,
            )
            bar.advance()

    start = 0
    for batch, share in BATCH_SHARES.items():
        stop = len(requests) if batch == max(BATCH_SHARES) else start + int(share * len(requests))
        queue = list(requests[start:stop])
        await asyncio.gather(*(serve(queue) for _ in range(batch)))
        start = stop
    return claims


def honest_claims(
    files: ReleaseFiles, requests: Sequence[EngineRequest], progress: Progress
) -> tuple[Environment, list[Claim]]:
    """Where and what the engines answered; each takes every n-th request."""
    claims: dict[str, Claim] = {}
    for place, (name, arguments) in enumerate(ENGINES.items()):
        share = requests[place :: len(ENGINES)]
        bar = Bar(progress, f"honest answers, {name}", len(share))
        engine = VllmEngine(files.release, files.folder, max(BATCH_SHARES), arguments)
        try:
            claims |= asyncio.run(generate(engine, share, bar))
        finally:
            engine.close()
    return engine.environment, [claims[request.request_id] for request in requests]


def score(
    files_dir: Path, dtype: str, claims: Sequence[Claim], slack_logits: float, bar: Bar
) -> list[ClaimScore]:
    """The referee's margins, in the order of the claims."""
    from subnet.edge.torch_referee import TorchReferee

    referee = TorchReferee(files_dir, dtype=dtype, slack_logits=slack_logits, threads=_threads())
    # Similar lengths go together, so that little of a batch is padding.
    order = sorted(
        range(len(claims)),
        key=lambda i: len(claims[i].prompt_token_ids) + len(claims[i].output_token_ids),
    )
    scores: list[ClaimScore] = [ClaimScore((), ())] * len(claims)
    for start in range(0, len(order), REFEREE_CHUNK):
        part = order[start : start + REFEREE_CHUNK]
        for index, found in zip(part, referee.score([claims[i] for i in part]), strict=True):
            scores[index] = found
        bar.advance(len(part))
    return scores


def counts_per_band(
    answers: Sequence[Answer], edges: Sequence[float]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Tokens per bucket of each band."""
    margins: dict[tuple[int, int], list[float]] = defaultdict(list)
    for answer in answers:
        margins[answer.band] += answer.score.margins
    return {band: bucket_counts(found, edges) for band, found in sorted(margins.items())}


def fit(
    answers: Sequence[Answer], edges: Sequence[float], params: CalibrationParams
) -> tuple[Band, ...]:
    """Bounds of every band, from the part that is not held out."""
    counts = counts_per_band([answer for answer in answers if not answer.is_held_out], edges)
    return tuple(fitted_band(*band, found, len(counts), params) for band, found in counts.items())


def checked(answers: Sequence[Answer], table: CalibrationTable) -> HeldOut:
    """The table tried on the held-out part, all of it in one detector."""
    held_out = [answer for answer in answers if answer.is_held_out]
    p0 = {(band.temperature_milli, band.top_p_milli): band.p0 for band in table.bands}
    above = sum(
        count > bound * sum(counts)
        for band, counts in counts_per_band(held_out, table.edges_logits).items()
        for count, bound in zip(counts, p0[band], strict=True)
    )
    params = EvidenceParams()
    state, peak, alarms = fresh_state(params), -math.inf, 0
    for answer in held_out:
        counts = bucket_counts(answer.score.margins, table.edges_logits)
        state = update(state, counts, p0[answer.band], params)
        peak = max(peak, log_evidence(state))
        if alarm(state, params):
            alarms, state = alarms + 1, fresh_state(params)
    return HeldOut(
        responses=len(held_out),
        tokens=sum(len(answer.score.margins) for answer in held_out),
        max_margin_logits=max(max(answer.score.margins) for answer in held_out),
        buckets_above_p0=above,
        evidence_max=math.exp(min(peak, 700.0)),
        alarms=alarms,
    )


def calibrate(release_dir: Path, prompts: int, seed: int, console: Console) -> CalibrationTable:
    """One whole run. Raises ConfigError and EngineError.

    Whatever loads torch is imported here and below: it reads its thread count when loaded, and
    more threads than idle cores slow the engine down twentyfold.
    """
    set_engine_environment(ENGINES["eager"])
    from subnet.edge.tokenizer import HubTokenizer

    files = load_release_files(str(release_dir))
    requests = planned_requests(files.release, HubTokenizer(files.folder), prompts, seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        environment, claims = honest_claims(files, requests, progress)
        params = CalibrationParams()
        dtype = files.release.dtype
        pilot = claims[:: max(1, len(claims) // PILOT_ANSWERS)]
        bar = Bar(progress, "numeric noise", len(pilot))
        noise = score(files.folder, dtype, pilot, params.slack_logits_min, bar)
        gaps = np.concatenate([found.logprob_gaps for found in noise])
        sigma, slack = numeric_noise(gaps, params)
        bar = Bar(progress, "margins", len(claims))
        scores = score(files.folder, dtype, claims, slack, bar)
    if load_release_files(str(release_dir)).release != files.release:
        raise ConfigError(f"{release_dir} changed while it was measured; run again")
    answers = [
        Answer(claim, found, is_held_out=index // 19 % HELD_OUT_EVERY == 0)
        for index, (claim, found) in enumerate(zip(claims, scores, strict=True))
    ]
    edges = scaled_edges(sigma)
    table = CalibrationTable(
        sigma_logits=sigma,
        slack_logits=slack,
        edges_logits=edges,
        context_tokens_max=max(
            len(claim.prompt_token_ids) + len(claim.output_token_ids) for claim in claims
        ),
        params=params,
        bands=fit(answers, edges, params),
        held_out=None,
        provenance=_provenance(files.release, environment, requests, claims, seed),
    )
    return table.model_copy(update={"held_out": checked(answers, table)})


def _provenance(
    release: Release,
    here: Environment,
    requests: Sequence[EngineRequest],
    claims: Sequence[Claim],
    seed: int,
) -> Provenance:
    digest = hashlib.sha256()
    for request in requests:
        digest.update(np.array(request.prompt_token_ids, "<u4").tobytes() + b"\n")
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")
    }
    return Provenance(
        release_digest=release.digest(),
        engine=f"{here.engine} {here.dtype} {here.device}",
        engine_modes=tuple(ENGINES),
        referee=f"transformers {here.dtype} {here.device}",
        versions=versions,
        seed=seed,
        prompts_digest=digest.hexdigest(),
        prompts=len(requests),
        responses=len(claims),
        tokens=sum(len(claim.output_token_ids) for claim in claims),
        batch_sizes=tuple(BATCH_SHARES),
    )


def _threads() -> int:
    return max(1, (os.cpu_count() or 1) - 1)


def show(table: CalibrationTable, console: Console) -> None:
    """The bounds, and how they held."""
    grid = Table(title=f"sigma {table.sigma_logits:.4f}, slack {table.slack_logits:.3f} logits")
    for title in ("T", "top-p", "tokens"):
        grid.add_column(title, justify="right")
    for edge in table.edges_logits:
        grid.add_column(f"> {edge:.3f}: hits (bound)", justify="right")
    for band in table.bands:
        cells = (f"{c} ({p:.1e})" for c, p in zip(band.counts[1:], band.p0[1:], strict=True))
        grid.add_row(
            f"{band.temperature_milli / 1000:g}",
            f"{band.top_p_milli / 1000:g}",
            str(sum(band.counts)),
            *cells,
        )
    console.print(grid)
    console.print(table.held_out)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--release-dir", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument("--output", type=Path, help="default: calibration.json in --release-dir")
    parser.add_argument("--prompts", type=int, default=20_000, help="how many, default 20000")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    console = Console()
    started = time.monotonic()
    try:
        table = calibrate(chosen.release_dir, chosen.prompts, chosen.seed, console)
    except (ConfigError, EngineError) as error:
        print(f"cannot calibrate: {error}", file=sys.stderr)
        return 2
    output = chosen.output or chosen.release_dir / "calibration.json"
    unfinished = output.with_suffix(".tmp")
    unfinished.write_text(table.model_dump_json(indent=1) + "\n")
    unfinished.replace(output)
    show(table, console)
    console.print(f"wrote {output} after {time.monotonic() - started:.0f} s")
    assert table.held_out is not None
    return 1 if table.held_out.alarms else 0


if __name__ == "__main__":
    sys.exit(main())
