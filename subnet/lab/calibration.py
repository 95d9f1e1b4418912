"""release -> honest transcripts -> BOUNDS: measures a release's calibration.

vLLM serves the requests of `traffic` in every way that an honest miner may; the referee scores the
answers; a quarter of the prompts is held out from the fit and tried against it.
"""

import hashlib
import importlib.metadata
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from protocol.inference import Environment
from protocol.release import Release
from subnet.config import ConfigError
from subnet.core.audit import readings
from subnet.core.verification.bounds import CalibrationParams, bucket_counts
from subnet.core.verification.calibration import (
    Band,
    CalibrationTable,
    HeldOut,
    Provenance,
    fitted_band,
    numeric_noise,
    scaled_edges,
)
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import (
    Bet,
    EvidenceParams,
    alarm,
    fresh_state,
    log_evidence,
    log_factor,
    update,
)
from subnet.core.verification.gaps import fitted_gap_table
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.vllm_runtime import set_engine_environment
from subnet.lab.traffic import planned_requests
from subnet.lab.transcripts import Advance, make_referee, scored, served
from subnet.ports import EngineRequest

BATCH_SHARES: Final = {1: 0.02, 7: 0.14, 64: 0.84}
"""Share of the prompts served at each batch size; single requests are slow and rarely noisier."""
HELD_OUT_EVERY: Final = 4
PILOT_ANSWERS: Final = 400
ENGINES: Final[dict[str, dict[str, Any]]] = {"eager": {"enforce_eager": True}, "compiled": {}}
"""The ways that an honest miner may run the model; each answers its share of the prompts."""
Watch = Callable[[str, int], Advance]
"""Opens a progress bar: a title and how much there is to do."""


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


def _gaps(answers: Iterable[Answer]) -> Iterator[tuple[int, Sequence[float]]]:
    """(temperature in thousandths, gaps) of each answer."""
    return ((one.claim.temperature_milli, one.score.logprob_gaps) for one in answers)


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
    factors: dict[Bet, list[float]] = defaultdict(list)
    for answer in held_out:
        found = readings(answer.claim, answer.score, table)
        assert found is not None, "the table covers what it was fitted on"
        for channel, reading in found.items():
            for bet in params.bets_of(channel):
                factors[bet].append(math.exp(log_factor(bet, reading, params)))
        state = update(state, found, params)
        peak = max(peak, log_evidence(state))
        if alarm(state, params):
            alarms, state = alarms + 1, fresh_state(params)
    return HeldOut(
        responses=len(held_out),
        tokens=sum(len(answer.score.margins) for answer in held_out),
        max_margin_logits=max(max(answer.score.margins) for answer in held_out),
        buckets_above_p0=above,
        gap_buckets_above_p0=table.gaps.buckets_above(_gaps(held_out)),
        mean_factor_max=max(float(np.mean(found)) for found in factors.values()),
        evidence_max=math.exp(min(peak, 700.0)),
        alarms=alarms,
    )


def calibrate(release_dir: Path, prompts: int, seed: int, watch: Watch) -> CalibrationTable:
    """One whole run. Raises ConfigError and EngineError."""
    files = load_release_files(str(release_dir))
    set_engine_environment(ENGINES["eager"])
    from subnet.edge.tokenizer import HubTokenizer

    requests = planned_requests(files.release, HubTokenizer(files.folder), prompts, seed)
    environment, claims = _honest(files, requests, watch)
    params = CalibrationParams()
    pilot = claims[:: max(1, len(claims) // PILOT_ANSWERS)]
    referee = make_referee(files, params.slack_logits_min)
    noise = scored(referee, pilot, watch("numeric noise", len(pilot)))
    gaps = np.concatenate([found.logprob_gaps for found in noise])
    sigma, slack = numeric_noise(gaps, params)
    scores = scored(make_referee(files, slack), claims, watch("margins", len(claims)))
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
        gaps=fitted_gap_table(_gaps(one for one in answers if not one.is_held_out), params),
        held_out=None,
        provenance=_provenance(files.release, environment, requests, claims, seed),
    )
    return table.model_copy(update={"held_out": checked(answers, table)})


def _honest(
    files: ReleaseFiles, requests: Sequence[EngineRequest], watch: Watch
) -> tuple[Environment, list[Claim]]:
    """Where and what the engines answered; each takes every n-th request."""
    claims: dict[str, Claim] = {}
    for place, (name, arguments) in enumerate(ENGINES.items()):
        share = requests[place :: len(ENGINES)]
        advance = watch(f"honest answers, {name}", len(share))
        found = served(files, share, BATCH_SHARES, arguments, advance)
        claims |= zip((request.request_id for request in share), found.claims, strict=True)
    return found.environment, [claims[request.request_id] for request in requests]


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
