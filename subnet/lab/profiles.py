"""release, attacks -> PROFILES: the answers that simulated miners draw from.

The questions are those that validators draw: the same families, tier and sampling mix. Honest
answers come from vLLM, cheats from the lab's sampler; the referee scores and the grader grades all.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocol.release import Release
from subnet.core.benchmark import Task, grade
from subnet.core.bundle import canonical_digest
from subnet.core.draws import (
    DrawParams,
    period_secret,
)
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Adversary, Diluted, Lab, Question, Short
from subnet.lab.detection import Judged, Pool, Power, power
from subnet.lab.drawn import BATCH_SHARES, drawn_questions
from subnet.lab.play import Jury, Scored, exact_fault, pool_of
from subnet.lab.transcripts import Watch, make_referee, scored, served_honestly
from subnet.ports import Referee, Tokenizer
from subnet.sim.profiles import HONEST, MeasuredAnswer, Profiles

MARGIN_DIGITS, GAP_DIGITS = 4, 7
RUNS, RESPONSES_MAX = 200, 4000


def measured_profiles(
    files: ReleaseFiles,
    weak_folder: Path,
    tokenizer: Tokenizer,
    table: CalibrationTable,
    attacks: Sequence[Adversary],
    draws: DrawParams,
    honest: int,
    per_attack: int,
    seed: int,
    watch: Watch,
) -> Profiles:
    """Have every behaviour answer and be judged. Raises EngineError.

    `honest` and `per_attack` count answers; attacks that only mix others with honest answers, or
    cut the questions short, are left out: the simulator draws what they mix.
    """
    referee = make_referee(files, table.slack_logits)
    lab = Lab(files.release, files.folder, weak_folder)
    tasks, questions = _drawn(files.release, tokenizer, draws, honest, seed)
    pools = {HONEST: _rows(_honest(files, lab, questions, referee, watch), tasks, tokenizer)}
    whole = [one for one in attacks if not isinstance(one, Diluted | Short)]
    advance = watch("attacks", len(whole))
    tasks, questions = _drawn(files.release, tokenizer, draws, per_attack, seed + 1)
    for adversary in whole:
        found = pool_of(adversary, lab, questions, Jury(referee, table))
        pools[adversary.name] = _rows(found, tasks, tokenizer)
        advance(1)
    return Profiles(
        release_digest=files.release.digest(),
        calibration_digest=canonical_digest(table),
        seed=seed,
        versions=table.provenance.versions,
        pools=pools,
    )


def _drawn(
    release: Release, tokenizer: Tokenizer, draws: DrawParams, count: int, seed: int
) -> tuple[list[Task], list[Question]]:
    secret = period_secret(seed.to_bytes(32, "little"), 1)
    return drawn_questions(release, tokenizer, draws, count, secret)


def _honest(
    files: ReleaseFiles,
    lab: Lab,
    questions: Sequence[Question],
    referee: Referee,
    watch: Watch,
) -> list[Scored]:
    """vLLM's answers, eager and compiled in turn, in order."""
    requests = [question.request for question in questions]
    ordered = served_honestly(files, requests, BATCH_SHARES, watch).claims
    scores = scored(referee, ordered, watch("honest margins", len(ordered)))
    return [
        Scored(claim, score, exact_fault(lab.release, claim, request, lab.grammars))
        for claim, score, request in zip(ordered, scores, requests, strict=True)
    ]


def _rows(
    answers: Sequence[Scored], tasks: Sequence[Task], tokenizer: Tokenizer
) -> list[MeasuredAnswer]:
    return [_row(answer, task, tokenizer) for answer, task in zip(answers, tasks, strict=True)]


def _row(answer: Scored, task: Task, tokenizer: Tokenizer) -> MeasuredAnswer:
    claim, gaps = answer.claim, answer.score.logprob_gaps
    quality = grade(task, tokenizer.detokenize(claim.output_token_ids))
    return MeasuredAnswer(
        family=task.family,
        temperature_milli=claim.temperature_milli,
        top_p_milli=claim.top_p_milli,
        is_structured=claim.structure is not None,
        prompt_tokens=len(claim.prompt_token_ids),
        tokens=len(claim.output_token_ids),
        finish_reason=claim.finish_reason,
        fault=None if answer.fault is None else str(answer.fault),
        gap_nats=round(sum(gaps) / max(1, len(gaps)), GAP_DIGITS),
        margins_logits=tuple(
            round(margin, MARGIN_DIGITS) for margin in answer.score.margins if margin > 0
        ),
        grade=None if quality is None else round(quality, 4),
    )


def drawn_power(
    found: Profiles, table: CalibrationTable, top_k: int, params: EvidenceParams, seed: int
) -> dict[str, Power]:
    """How soon each behaviour is caught by what a validator itself asks, and how often the honest
    are: RUNS runs of up to RESPONSES_MAX answers, drawn from each pool."""
    powers = {}
    for place, (name, answers) in enumerate(found.pools.items()):
        judged = [
            Judged(
                one.tokens,
                one.readings(
                    table,
                    (one.temperature_milli, one.top_p_milli, top_k),
                    is_structured=one.is_structured,
                ),
                None if name == HONEST else one.fault,
            )
            for one in answers
        ]
        dice = np.random.default_rng([seed, place])
        picks = dice.integers(0, len(judged), (RUNS, RESPONSES_MAX))
        powers[name] = power(Pool(judged, params).detections(picks))
    return powers
