"""release, attacks -> POOLS -> RUNS -> results: how soon each cheat is caught, at what price.

Honest answers come from vLLM over the whole calibrated envelope; cheats from `attacks`. Each answer
is checked and scored once as a validator would, with its log-probabilities rounded as on the wire;
runs then draw answers from those pools by a seed. Prompts are others than the calibration's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from protocol.inference import (
    CHECKPOINT_TOKENS,
    CheckpointLine,
    ChunkLine,
    EndLine,
    Environment,
    InferenceRequest,
    InferenceResponse,
    OutputHash,
    Sampling,
    StreamCheckpoint,
)
from protocol.release import Release
from protocol.sampling import derive_seed
from subnet.core.audit import readings
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.verification.structure import structural_fault
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Adversary, Diluted, Lab, LabAnswer, Question, Short
from subnet.lab.attacks import ATTACKS
from subnet.lab.calibration import ENGINES, Watch
from subnet.lab.cost import COST_ANSWERS, Cost, measured_cost
from subnet.lab.detection import Detection, Judged, Pool, Power, power
from subnet.lab.traffic import planned_requests
from subnet.lab.transcripts import make_referee, scored, served
from subnet.ports import EngineRequest, Tokenizer

if TYPE_CHECKING:
    from subnet.edge.torch_referee import TorchReferee

RUNS: Final = 200
RESPONSES_MAX: Final = 4000
"""A run that lasts longer counts as not detected."""
CALLER: Final = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
MINER: Final = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
HONEST_BATCH_SHARES: Final = {1: 0.02, 7: 0.1, 64: 0.88}
ENVIRONMENT: Final = Environment(engine="lab", torch="lab", device="cpu", dtype="lab")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything one bench asks for."""

    honest: int
    per_attack: int
    engines: Mapping[str, Mapping[str, Any]]


WHOLE: Final = Sizes(honest=7000, per_attack=400, engines=ENGINES)
QUICK: Final = Sizes(honest=600, per_attack=64, engines={"eager": ENGINES["eager"]})


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
    attacks: tuple[AttackResult, ...]
    cost: Cost


@dataclass(frozen=True)
class Outcome:
    """The results, and every run's end for the plot."""

    results: Results
    detections: Mapping[str, Sequence[Detection]]


@dataclass(frozen=True, slots=True)
class Jury:
    """Who scores, and by which table."""

    referee: "TorchReferee"
    table: CalibrationTable


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

    Raises EngineError.
    """
    release = files.release
    referee = make_referee(files, table.slack_logits)
    asked = requests_of(release, tokenizer, sizes.honest, seed, prompts)
    claims, rates = _honest(files, asked, sizes.engines, watch)
    scores = scored(referee, claims, watch("honest margins", len(claims)))
    judged = [
        _judged(claim, score, table, _fault(release, claim, request))
        for claim, score, request in zip(claims, scores, asked, strict=True)
    ]
    honest = HonestResult(
        tokens=sum(answer.tokens for answer in judged),
        responses=len(judged),
        alarms=_alarms(judged, params),
        max_margin=max(max(score.margins) for score in scores),
    )
    cost = measured_cost(referee, claims[:COST_ANSWERS], rates, watch)

    lab = Lab(release, files.folder, weak_folder)
    questions = questions_of(requests_of(release, tokenizer, sizes.per_attack, seed + 1, prompts))
    truthful = lab.answers([lab.strong], [lab.job(question) for question in questions])
    jury = Jury(referee, table)
    honest_pool = answers_judged(lab, questions, truthful, jury)
    advance = watch("attacks", len(attacks))
    pools: dict[str, list[Judged]] = {}
    detections: dict[str, Sequence[Detection]] = {}
    for place, adversary in enumerate(attacks):
        played = adversary.inner if isinstance(adversary, Diluted) else adversary
        if played.name not in pools:
            asked_now = (
                [played.asked(one) for one in questions] if isinstance(played, Short) else questions
            )
            answers = played.answers(lab, asked_now)
            pools[played.name] = answers_judged(lab, asked_now, answers, jury)
        pool = pools[played.name]
        dice = np.random.default_rng([seed, place])
        share = adversary.share if isinstance(adversary, Diluted) else 1.0
        cheats = dice.random((RUNS, RESPONSES_MAX)) < share
        own = dice.integers(0, len(pool), cheats.shape)
        others = len(pool) + dice.integers(0, len(honest_pool), cheats.shape)
        found = Pool([*pool, *honest_pool], params).detections(np.where(cheats, own, others))
        detections[adversary.name] = found
        advance(1)
    results = Results(
        release=release.digest(),
        seed=seed,
        honest=honest,
        attacks=tuple(_result(name, power(found)) for name, found in detections.items()),
        cost=cost,
    )
    return Outcome(results, detections)


def chosen_attacks(names: Sequence[str]) -> list[Adversary]:
    """The shipped attacks of these names, all if there are none. Raises KeyError."""
    known = {attack.name: attack for attack in ATTACKS}
    return [known[name] for name in names] if names else list(ATTACKS)


def _result(name: str, found: Power) -> AttackResult:
    return AttackResult(name=name, **dataclasses.asdict(found))


def requests_of(
    release: Release, tokenizer: Tokenizer, count: int, seed: int, prompts: Sequence[str]
) -> list[EngineRequest]:
    """Requests over the envelope; of the user's prompts, in turn, if there are any."""
    requests = planned_requests(release, tokenizer, count, seed + 1_000_000)
    if not prompts:
        return requests
    rendered = [tokenizer.render(text) for text in prompts]
    return [
        dataclasses.replace(
            request,
            prompt_token_ids=rendered[place % len(rendered)],
            tokens_max=min(64, release.context_tokens_max - len(rendered[place % len(rendered)])),
        )
        for place, request in enumerate(requests)
    ]


def questions_of(requests: Sequence[EngineRequest]) -> list[Question]:
    """What attackers are asked: T = 1, top-p .95, top-k 50, every tenth request greedy."""
    questions = []
    for place, request in enumerate(requests):
        nonce = f"{place:064x}"
        seed = derive_seed(nonce, request.request_id, CALLER, MINER, request.prompt_token_ids)
        asked = dataclasses.replace(
            request,
            temperature_milli=0 if place % 10 == 9 else 1000,
            top_p_milli=950,
            top_k=50,
            seed=seed,
        )
        questions.append(Question(asked, nonce, CALLER, MINER))
    return questions


def _honest(
    files: ReleaseFiles,
    requests: Sequence[EngineRequest],
    engines: Mapping[str, Mapping[str, Any]],
    watch: Watch,
) -> tuple[list[Claim], dict[int, float]]:
    """Honest claims in order, and the best tokens per second at each batch size."""
    claims: dict[str, Claim] = {}
    rates: dict[int, float] = {}
    for place, (name, arguments) in enumerate(engines.items()):
        share = requests[place :: len(engines)]
        advance = watch(f"honest answers, {name}", len(share))
        found = served(files, share, HONEST_BATCH_SHARES, arguments, advance)
        claims |= zip((request.request_id for request in share), found.claims, strict=True)
        for batch, rate in found.tokens_per_second.items():
            rates[batch] = max(rates.get(batch, 0.0), rate)
    return [claims[request.request_id] for request in requests], rates


def answers_judged(
    lab: Lab,
    questions: Sequence[Question],
    answers: Sequence[LabAnswer],
    jury: Jury,
) -> list[Judged]:
    """Answers checked and scored as a validator would."""
    claims = [
        Claim(
            prompt_token_ids=question.request.prompt_token_ids,
            output_token_ids=answer.token_ids,
            temperature_milli=question.request.temperature_milli,
            top_p_milli=question.request.top_p_milli,
            top_k=question.request.top_k,
            seed=question.request.seed,
            logprobs=answer.logprobs,
            finish_reason=answer.finish_reason,
            structure=question.request.structure,
        )
        for question, answer in zip(questions, answers, strict=True)
    ]
    faults = [
        stream_fault(lab.release, question, answer) or _fault(lab.release, claim, question.request)
        for question, answer, claim in zip(questions, answers, claims, strict=True)
    ]
    scores = scored(jury.referee, claims, lambda _: None)
    return [
        _judged(claim, score, jury.table, fault)
        for claim, score, fault in zip(claims, scores, faults, strict=True)
    ]


def _judged(claim: Claim, score: ClaimScore, table: CalibrationTable, fault: str | None) -> Judged:
    return Judged(len(claim.output_token_ids), readings(claim, score, table), fault)


def _fault(release: Release, claim: Claim, request: EngineRequest) -> str | None:
    return structural_fault(
        claim.output_token_ids,
        claim.finish_reason,
        prompt_tokens=len(request.prompt_token_ids),
        tokens_max=request.tokens_max,
        release=release,
    )


def _alarms(judged: Sequence[Judged], params: EvidenceParams) -> int:
    """Alarms and structural faults of honest answers that all go to one detector, in order."""
    alarms, rest = 0, list(judged)
    while rest:
        (end,) = Pool(rest, params).detections(np.arange(len(rest))[None, :])
        if end.channel is None:
            break
        alarms += 1
        rest = rest[end.responses :]
    return alarms


def stream_fault(release: Release, question: Question, answer: LabAnswer) -> str | None:
    """What the reader of the signed stream objects to; signatures are taken for genuine."""
    asked = question.request
    request = InferenceRequest(
        request_id=asked.request_id,
        release_digest=release.digest(),
        nonce=question.nonce,
        prompt_token_ids=asked.prompt_token_ids,
        sampling=Sampling(
            temperature_milli=asked.temperature_milli,
            top_p_milli=asked.top_p_milli,
            top_k=asked.top_k,
            tokens_max=asked.tokens_max,
            structure=asked.structure,
        ),
        timeout_ms=10_000,
    )
    reader = AnswerReader(request, question.miner, question.caller, lambda *_: True)
    signature = "00" * 64
    hashed = OutputHash(request.digest())
    halves = np.array(answer.logprobs, np.float16).view(np.uint16).tolist()
    try:
        for start in range(0, len(answer.token_ids), CHECKPOINT_TOKENS):
            stop = start + CHECKPOINT_TOKENS
            chunk = ChunkLine(
                token_ids=answer.token_ids[start:stop], logprobs=tuple(halves[start:stop])
            )
            hashed.update(chunk.token_ids, chunk.logprobs)
            checkpoint = StreamCheckpoint(
                request_digest=request.digest(),
                output_tokens=hashed.tokens,
                running_hash=hashed.hexdigest(),
            )
            reader.read_line(chunk.model_dump_json().encode(), 0)
            line = CheckpointLine(checkpoint=checkpoint, signature=signature)
            reader.read_line(line.model_dump_json().encode(), 0)
        response = InferenceResponse(
            request_digest=request.digest(),
            miner_hotkey=question.miner,
            caller_hotkey=question.caller,
            release_digest=request.release_digest,
            output_hash=hashed.hexdigest(),
            prompt_tokens=len(asked.prompt_token_ids),
            output_tokens=answer.signed_tokens,
            finish_reason=answer.finish_reason,
            queued_us=0,
            first_token_us=0,
            total_us=0,
            environment=ENVIRONMENT,
        )
        end = EndLine(response=response, signature=signature)
        reader.read_line(end.model_dump_json().encode(), 0)
    except StreamFaultError as error:
        return error.fault
    return None
