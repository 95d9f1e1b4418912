"""release, attacks -> POOLS -> RUNS -> results: how soon each cheat is caught, at what price.

Honest answers come from vLLM over the whole calibrated envelope; cheats from `attacks`. Each answer
is checked and scored once as a validator would, with its log-probabilities rounded as on the wire;
runs then draw answers from those pools by a seed. Prompts are others than the calibration's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from subnet.core.audit import Traffic
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Adversary, Lab
from subnet.lab.cost import COST_ANSWERS, Cost, measured_cost
from subnet.lab.detection import Detection, Power, alarms_in_turn, power
from subnet.lab.one_token import OneTokenResult, one_token_result
from subnet.lab.play import Jury, Runs, Scored, exact_fault, played, questions_of, requests_of
from subnet.lab.transcripts import ENGINES, Watch, make_referee, scored, served_honestly
from subnet.ports import Tokenizer

RUNS: Final = 200
RESPONSES_MAX: Final = 4000
"""A run that lasts longer counts as not detected."""
HONEST_BATCH_SHARES: Final = {1: 0.02, 7: 0.1, 64: 0.88}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything one bench asks for."""

    honest: int
    honest_of_one_token: int
    dishonest_of_one_token: int
    per_attack: int
    engines: Mapping[str, Mapping[str, Any]]


WHOLE: Final = Sizes(
    honest=7000,
    honest_of_one_token=20_000,
    dishonest_of_one_token=200,
    per_attack=400,
    engines=ENGINES,
)
QUICK: Final = Sizes(
    honest=600,
    honest_of_one_token=600,
    dishonest_of_one_token=200,
    per_attack=64,
    engines={"eager": ENGINES["eager"]},
)


class HonestResult(_Frozen):
    """What honest answers did to one detector."""

    tokens: int
    responses: int
    alarms: int
    max_margin: float


class AttackResult(_Frozen):
    """How one attack fared. Missed runs count as infinite in the percentiles."""

    name: str
    detected: float
    median_responses: int | None
    p95_responses: int | None
    median_tokens: int | None
    channel: str | None


class Results(_Frozen):
    """One run of the bench."""

    release: str
    seed: int
    honest: HonestResult
    one_token: OneTokenResult
    attacks: tuple[AttackResult, ...]
    cost: Cost


@dataclass(frozen=True)
class Outcome:
    """The results, and every run's end for the plot."""

    results: Results
    detections: Mapping[str, Sequence[Detection]]


def run_bench(
    files: ReleaseFiles,
    weak_folder: Path,
    tokenizer: Tokenizer,
    table: CalibrationTable,
    params: EvidenceParams,
    attacks: Sequence[Adversary],
    sizes: Sizes,
    seed: int,
    prompts: Sequence[str],
    watch: Watch,
) -> Outcome:
    """Play honest miners and every attack. `prompts` replace the benchmark's if there are any.

    All are judged by the bounds that hold for any prompt. Raises EngineError.
    """
    table = table.without_drawn()
    release = files.release
    referee = make_referee(files, table.slack_logits)
    asked = requests_of(release, tokenizer, sizes.honest, seed, prompts)
    served = served_honestly(files, asked, HONEST_BATCH_SHARES, watch, sizes.engines)
    claims = served.claims
    scores = scored(referee, claims, watch("honest margins", len(claims)))
    lab = Lab(release, files.folder, weak_folder)
    grammars = lab.grammars
    answers = [
        Scored(claim, score, exact_fault(release, claim, request, grammars)).judged(
            table, Traffic.BENCHMARK
        )
        for claim, score, request in zip(claims, scores, asked, strict=True)
    ]
    honest = HonestResult(
        tokens=sum(answer.tokens for answer in answers),
        responses=len(answers),
        alarms=len(alarms_in_turn(answers, params)),
        max_margin=max(max(score.margins) for score in scores),
    )
    cost = measured_cost(referee, claims[:COST_ANSWERS], served.tokens_per_second, watch)

    questions = questions_of(requests_of(release, tokenizer, sizes.per_attack, seed + 1, prompts))
    jury = Jury(referee, table)
    advance = watch("attacks", len(attacks))
    detections = played(
        lab, questions, attacks, jury, params, Runs(RUNS, RESPONSES_MAX), seed, advance
    )[Traffic.BENCHMARK]
    one_token = one_token_result(
        files,
        requests_of(release, tokenizer, sizes.honest_of_one_token, seed + 2, prompts),
        questions_of(
            requests_of(release, tokenizer, sizes.dishonest_of_one_token, seed + 3, prompts)
        ),
        lab,
        jury,
        params,
        watch,
    )
    results = Results(
        release=release.digest(),
        seed=seed,
        honest=honest,
        one_token=one_token,
        attacks=tuple(_result(name, power(found)) for name, found in detections.items()),
        cost=cost,
    )
    return Outcome(results, detections)


def _result(name: str, found: Power) -> AttackResult:
    return AttackResult(name=name, **dataclasses.asdict(found))
