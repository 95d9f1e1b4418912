"""release -> honest transcripts -> BOUNDS: measures a release's calibration.

vLLM serves the requests of `traffic`, hostile ones of `hostile` among them, in every way that an
honest miner may; the referee scores the answers; a quarter of the prompts is held out from the fit
and tried against it, and so is every shipped attack.
"""

import hashlib
import importlib.metadata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from protocol.release import Release
from subnet.config import ConfigError
from subnet.core.audit import Traffic, readings
from subnet.core.draws import DrawParams
from subnet.core.verification.bounds import CalibrationParams
from subnet.core.verification.calibration import (
    CalibrationTable,
    Provenance,
    UserBounds,
    numeric_noise,
    scaled_edges,
    users_bands,
)
from subnet.core.verification.claim import Claim
from subnet.core.verification.environments import EnvironmentPair
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.verification.gaps import fitted_gap_table
from subnet.edge.release_files import load_release_files
from subnet.edge.vllm_runtime import set_engine_environment
from subnet.lab.detection import Judged, Pool
from subnet.lab.fit import Answer, checked, counts_per_band, fit, gaps_of
from subnet.lab.traffic import (
    LONG_ANSWER_TOKENS,
    is_held_out,
    planned_requests,
    with_hostile,
)
from subnet.lab.transcripts import ENGINES, Watch, make_referee, scored, served_honestly
from subnet.ports import EngineRequest

BATCH_SHARES: Final = {1: 0.02, 7: 0.14, 64: 0.84}
"""Share of the prompts served at each batch size; single requests are slow and rarely noisier."""
PILOT_ANSWERS: Final = 400
REPEATS: Final = 1000
REPEATED_ANSWERS_MIN: Final = 15
ORDINARY_SEEDS: Final = 200
"""Ordinary prompts that the search for hostile ones starts from."""


def with_users(
    table: CalibrationTable, answers: Sequence[Answer], prompts_digest: str
) -> CalibrationTable:
    """The table with the bounds of users' prompts, fitted on the hostile answers."""
    hostile = [one for one in answers if one.is_hostile]
    ordinary = [one for one in answers if not one.is_hostile]
    fitted = [one for one in hostile if not one.is_held_out]
    counts: dict[int, tuple[int, ...]] = {}
    for (temperature_milli, _), found in counts_per_band(fitted, table.edges_logits).items():
        before = counts.get(temperature_milli, (0,) * len(found))
        counts[temperature_milli] = tuple(map(sum, zip(before, found, strict=True)))
    bounds = UserBounds(
        bands=users_bands(table.bands, counts, table.params),
        held_out=None,
        repeated_prompts=0,
        repeated_alarms=0,
        prompts=len({one.claim.prompt_token_ids for one in hostile}),
        prompts_digest=prompts_digest,
        traffic_percent=100 * len(hostile) / len(answers),
        gap_ratio=_gap_size(hostile) / _gap_size(ordinary),
        loud_ratio=_loud_rate(hostile, table) / max(_loud_rate(ordinary, table), 1e-12),
    )
    whole = table.model_copy(update={"users": bounds})
    held_out = [one for one in hostile if one.is_held_out]
    asked, alarms = repeated(held_out, whole)
    tried = {
        "held_out": checked(held_out, whole, Traffic.ORGANIC),
        "repeated_prompts": asked,
        "repeated_alarms": alarms,
    }
    return table.model_copy(update={"users": bounds.model_copy(update=tried)})


def repeated(answers: Sequence[Answer], table: CalibrationTable) -> tuple[int, int]:
    """(prompts, how many convict) if each were all that a user ever asks.

    A prompt's own answers are drawn over and over into one detector, all but the loudest, which
    chance may have made; prompts with fewer than REPEATED_ANSWERS_MIN are left out.
    """
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, answer in enumerate(answers):
        places[answer.claim.prompt_token_ids].append(place)
    known = [
        sorted(own, key=lambda place: max(answers[place].score.margins))[:-1]
        for own in places.values()
        if len(own) >= REPEATED_ANSWERS_MIN
    ]
    if not known:
        return 0, 0
    judged = [
        Judged(len(one.score.margins), readings(one.claim, one.score, table, Traffic.ORGANIC), None)
        for one in answers
    ]
    dice = np.random.default_rng(len(answers))
    picks = np.stack([dice.choice(own, REPEATS) for own in known])
    found = Pool(judged, EvidenceParams()).detections(picks)
    return len(known), sum(one.channel is not None for one in found)


def _gap_size(answers: Sequence[Answer]) -> float:
    """Root mean square of the gaps, in nats."""
    return float(np.sqrt(np.mean(np.concatenate([gaps for _, gaps in gaps_of(answers)]) ** 2)))


def _loud_rate(answers: Sequence[Answer], table: CalibrationTable) -> float:
    """Share of tokens outside the quiet bucket."""
    margins = np.concatenate([one.score.margins for one in answers])
    return float(np.mean(margins > table.edges_logits[0]))


def calibrate(
    release_dir: Path, weak_dir: Path, draws: DrawParams, prompts: int, seed: int, watch: Watch
) -> CalibrationTable:
    """One whole run. Raises ConfigError and EngineError."""
    files = load_release_files(str(release_dir))
    set_engine_environment(ENGINES["eager"])
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.drawn import drawn_bounds
    from subnet.lab.hostile import hostile_prompts
    from subnet.lab.power import measured_power

    tokenizer = HubTokenizer(files.folder)
    planned = planned_requests(files.release, tokenizer, prompts, seed)
    hostile = hostile_prompts(
        files,
        [request.prompt_token_ids for request in planned[:ORDINARY_SEEDS]],
        files.release.context_tokens_max - LONG_ANSWER_TOKENS,
        seed,
        watch,
    )
    requests, is_hostile = with_hostile(planned, hostile.for_temperature, seed)
    answered = served_honestly(files, requests, BATCH_SHARES, watch)
    environment, claims = answered.environment, answered.claims
    params = CalibrationParams()
    usual = [
        claim
        for claim, is_one in zip(claims, is_hostile, strict=True)
        if not is_one and claim.structure is None
    ]
    pilot = usual[:: max(1, len(usual) // PILOT_ANSWERS)]
    referee = make_referee(files, params.slack_logits_min)
    noise = scored(referee, pilot, watch("numeric noise", len(pilot)))
    gaps = np.concatenate([found.logprob_gaps for found in noise])
    sigma, slack = numeric_noise(gaps, params)
    referee = make_referee(files, slack)
    scores = scored(referee, claims, watch("margins", len(claims)))
    if load_release_files(str(release_dir)).release != files.release:
        raise ConfigError(f"{release_dir} changed while it was measured; run again")
    answers = [
        Answer(claim, found, is_held_out(index), is_hostile[index])
        for index, (claim, found) in enumerate(zip(claims, scores, strict=True))
    ]
    ordinary = [one for one in answers if not one.is_hostile]
    edges = scaled_edges(sigma)
    table = CalibrationTable(
        sigma_logits=sigma,
        slack_logits=slack,
        edges_logits=edges,
        context_tokens_max=max(
            len(claim.prompt_token_ids) + len(claim.output_token_ids) for claim in claims
        ),
        params=params,
        pairs=(EnvironmentPair(miner=environment, referee=referee.environment),),
        bands=fit(ordinary, edges, params),
        gaps=fitted_gap_table(gaps_of(one for one in ordinary if not one.is_held_out), params),
        held_out=None,
        users=None,
        power=None,
        provenance=_provenance(files.release, requests, claims, seed),
    )
    held_out = [one for one in ordinary if one.is_held_out]
    table = table.model_copy(update={"held_out": checked(held_out, table, Traffic.BENCHMARK)})
    asked = [one for one, is_one in zip(requests, is_hostile, strict=True) if is_one]
    table = with_users(table, answers, _digest(asked))
    power = measured_power(files, weak_dir, tokenizer, table, referee, seed, watch)
    table = table.model_copy(update={"power": power})
    drawn = drawn_bounds(files, tokenizer, draws, table, referee, seed, watch)
    return table.model_copy(update={"drawn": drawn})


def with_drawn(
    release_dir: Path, table: CalibrationTable, draws: DrawParams, seed: int, watch: Watch
) -> CalibrationTable:
    """The table with the bounds of these draws measured anew. Raises ConfigError, EngineError."""
    files = load_release_files(str(release_dir))
    if table.provenance.release_digest != files.release.digest():
        raise ConfigError(f"the calibration in {release_dir} was measured for another release")
    set_engine_environment(ENGINES["eager"])
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.drawn import drawn_bounds

    referee = make_referee(files, table.slack_logits)
    tokenizer = HubTokenizer(files.folder)
    drawn = drawn_bounds(files, tokenizer, draws, table, referee, seed, watch)
    return table.model_copy(update={"drawn": drawn})


def _provenance(
    release: Release, requests: Sequence[EngineRequest], claims: Sequence[Claim], seed: int
) -> Provenance:
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")
    }
    return Provenance(
        release_digest=release.digest(),
        engine_modes=tuple(ENGINES),
        versions=versions,
        seed=seed,
        prompts_digest=_digest(requests),
        prompts=len(requests),
        responses=len(claims),
        tokens=sum(len(claim.output_token_ids) for claim in claims),
        batch_sizes=tuple(BATCH_SHARES),
    )


def _digest(requests: Sequence[EngineRequest]) -> str:
    digest = hashlib.sha256()
    for request in requests:
        digest.update(np.array(request.prompt_token_ids, "<u4").tobytes() + b"\n")
    return digest.hexdigest()
