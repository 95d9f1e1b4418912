"""secret -> DRAWN QUESTIONS -> honest answers -> sharper bounds for what validators draw most.

The rest of a calibration holds for any prompt, so its bounds lie where long free text and random
token ids put them. A validator's own questions are quieter, and a cheat's answers to them too.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from protocol.release import Release
from protocol.sampling import derive_seed
from subnet.core.audit import Traffic
from subnet.core.benchmark import Task
from subnet.core.draws import (
    DrawParams,
    SamplingChoice,
    draw_sampling,
    draw_task,
    period_secret,
    request_id,
    request_nonce,
)
from subnet.core.verification.calibration import CalibrationTable, DrawnBounds
from subnet.core.verification.claim import Claim
from subnet.core.verification.gaps import fitted_gap_table
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Question
from subnet.lab.fit import Answer, checked, fit, gaps_of
from subnet.lab.play import CALLER, MINER
from subnet.lab.traffic import HELD_OUT_EVERY
from subnet.lab.transcripts import Watch, scored, served_honestly
from subnet.ports import EngineRequest, Referee, Tokenizer

QUESTIONS: Final = 24_000
BATCH_SHARES: Final = {1: 0.01, 7: 0.1, 64: 0.89}
PERIOD: Final = 2
"""Of the secret that the seed makes; other benches draw from the first."""


def drawn_questions(
    release: Release,
    tokenizer: Tokenizer,
    draws: DrawParams,
    count: int,
    secret: bytes,
) -> tuple[list[Task], list[Question]]:
    """The first that a validator with this period's secret asks."""
    tasks = [draw_task(secret, counter, draws) for counter in range(count)]
    questions = []
    for counter, task in enumerate(tasks):
        structure = task.structure if release.grammar is not None else None
        sampling = draw_sampling(secret, counter, draws, structure)
        prompt, nonce = tokenizer.render(task.prompt), request_nonce(secret, counter)
        name = request_id(secret, counter)
        request = EngineRequest(
            request_id=name,
            prompt_token_ids=prompt,
            temperature_milli=sampling.temperature_milli,
            top_p_milli=sampling.top_p_milli,
            top_k=sampling.top_k,
            tokens_max=sampling.tokens_max,
            seed=derive_seed(nonce, name, CALLER, MINER, prompt),
            structure=sampling.structure,
        )
        questions.append(Question(request, nonce, CALLER, MINER))
    return tasks, questions


def most_drawn(draws: DrawParams) -> SamplingChoice:
    """The point of the sampling mix that most answers are drawn from."""
    return max(draws.sampling, key=lambda choice: choice.share)


def drawn_bounds(
    files: ReleaseFiles,
    tokenizer: Tokenizer,
    draws: DrawParams,
    table: CalibrationTable,
    referee: Referee,
    seed: int,
    watch: Watch,
    questions: int = QUESTIONS,
) -> DrawnBounds:
    """Ask, score, fit three quarters and try the bounds on the rest. Raises EngineError."""
    choice = most_drawn(draws)
    secret = period_secret(seed.to_bytes(32, "little"), PERIOD)
    _, asked = drawn_questions(
        files.release,
        tokenizer,
        draws.model_copy(update={"sampling": (choice,)}),
        questions,
        secret,
    )
    requests = [one.request for one in asked]
    claims = served_honestly(files, requests, BATCH_SHARES, watch).claims
    scores = scored(referee, claims, watch("drawn margins", len(claims)))
    answers = [
        Answer(claim, score, is_held_out=_is_held_out(claim))
        for claim, score in zip(claims, scores, strict=True)
    ]
    return fitted_drawn(answers, draws, choice, table, seed)


def _is_held_out(claim: Claim) -> bool:
    """By the prompt: no question is on both sides."""
    digest = hashlib.sha256(np.array(claim.prompt_token_ids, "<u4").tobytes()).digest()
    return digest[0] % HELD_OUT_EVERY == 0


def fitted_drawn(
    answers: Sequence[Answer],
    draws: DrawParams,
    choice: SamplingChoice,
    table: CalibrationTable,
    seed: int,
) -> DrawnBounds:
    """From answers of one sampling choice; those that are held out try the bounds."""
    (band,) = fit(answers, table.edges_logits, table.params)
    found = DrawnBounds(
        families=draws.families,
        tier=draws.tier,
        top_k=choice.top_k,
        band=band,
        gaps=fitted_gap_table(gaps_of(one for one in answers if not one.is_held_out), table.params),
        seed=seed,
        held_out=None,
    )
    sampling = (band.temperature_milli, band.top_p_milli, found.top_k)
    narrow = table.model_copy(update={"drawn": found}).for_benchmark(*sampling)
    held_out = [one for one in answers if one.is_held_out]
    return found.model_copy(update={"held_out": checked(held_out, narrow, Traffic.BENCHMARK)})
