"""attacks -> ANSWERS -> judged: what cheats answer to held-out questions, as a validator sees it.

Each answer is checked and scored once, with its log-probabilities rounded as on the wire. Prompts
are others than the calibration's.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

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
from subnet.core.audit import Traffic, readings
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.verification.structure import structural_fault
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from subnet.lab.adversary import Adversary, Diluted, Lab, LabAnswer, Question, Short
from subnet.lab.attacks import ATTACKS
from subnet.lab.detection import Detection, Judged, Pool
from subnet.lab.traffic import planned_requests
from subnet.lab.transcripts import claim_to, scored
from subnet.ports import EngineRequest, Grammars, Tokenizer

if TYPE_CHECKING:
    from subnet.edge.torch_referee import TorchReferee

CALLER: Final = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
MINER: Final = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
ENVIRONMENT: Final = Environment(engine="lab", torch="lab", device="cpu", dtype="lab")
JUDGED: Final = (Traffic.BENCHMARK, Traffic.ORGANIC)
"""Kinds of traffic that are read differently; echoes are read as users' prompts are."""


@dataclass(frozen=True, slots=True)
class Jury:
    """Who scores, and by which table."""

    referee: "TorchReferee"
    table: CalibrationTable


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer with what the referee and the exact checks found."""

    claim: Claim
    score: ClaimScore
    fault: str | None

    def judged(self, table: CalibrationTable, traffic: Traffic) -> Judged:
        """As the answer to a benchmark, or to a user."""
        found = readings(self.claim, self.score, table, traffic)
        return Judged(len(self.claim.output_token_ids), found, self.fault)


@dataclass(frozen=True, slots=True)
class Runs:
    """How long and how often an attack is tried."""

    count: int
    responses_max: int
    """A run that lasts longer counts as not detected."""


def played(
    lab: Lab,
    questions: Sequence[Question],
    attacks: Sequence[Adversary],
    jury: Jury,
    params: EvidenceParams,
    runs: Runs,
    seed: int,
    advance: Callable[[int], None],
) -> dict[Traffic, dict[str, Sequence[Detection]]]:
    """How the runs of each attack end, by name, if the questions were benchmarks or users' own.

    `advance` is told of each attack. Kinds of traffic that the table does not cover catch nobody.
    """
    honest = lab.answers([lab.strong], [lab.job(question) for question in questions])
    truthful = answers_scored(lab, questions, honest, jury)
    pools: dict[str, list[Scored]] = {}
    detections: dict[Traffic, dict[str, Sequence[Detection]]] = {one: {} for one in JUDGED}
    for place, adversary in enumerate(attacks):
        inner = adversary.inner if isinstance(adversary, Diluted) else adversary
        if inner.name not in pools:
            pools[inner.name] = pool_of(inner, lab, questions, jury)
        pool = pools[inner.name]
        dice = np.random.default_rng([seed, place])
        share = adversary.share if isinstance(adversary, Diluted) else 1.0
        cheats = dice.random((runs.count, runs.responses_max)) < share
        own = dice.integers(0, len(pool), cheats.shape)
        others = len(pool) + dice.integers(0, len(truthful), cheats.shape)
        for traffic, found in detections.items():
            answers = [one.judged(jury.table, traffic) for one in (*pool, *truthful)]
            found[adversary.name] = Pool(answers, params).detections(np.where(cheats, own, others))
        advance(1)
    return detections


def pool_of(
    adversary: Adversary, lab: Lab, questions: Sequence[Question], jury: Jury
) -> list[Scored]:
    """One answer of the adversary to each question, scored."""
    asked = (
        [adversary.asked(one) for one in questions] if isinstance(adversary, Short) else questions
    )
    return answers_scored(lab, asked, adversary.answers(lab, asked), jury)


def chosen_attacks(names: Sequence[str]) -> list[Adversary]:
    """The shipped attacks of these names, all if there are none. Raises KeyError."""
    known = {attack.name: attack for attack in ATTACKS}
    return [known[name] for name in names] if names else list(ATTACKS)


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
            structure=None,
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


def answers_scored(
    lab: Lab, questions: Sequence[Question], answers: Sequence[LabAnswer], jury: Jury
) -> list[Scored]:
    """Answers checked and scored as a validator would."""
    claims = [
        claim_to(question.request, answer.token_ids, answer.logprobs, answer.finish_reason)
        for question, answer in zip(questions, answers, strict=True)
    ]
    faults = [
        stream_fault(lab.release, question, answer)
        or exact_fault(lab.release, claim, question.request, lab.grammars)
        for question, answer, claim in zip(questions, answers, claims, strict=True)
    ]
    scores = scored(jury.referee, claims, lambda _: None)
    return [Scored(*one) for one in zip(claims, scores, faults, strict=True)]


def exact_fault(
    release: Release, claim: Claim, request: EngineRequest, grammars: Grammars | None
) -> str | None:
    """The first exact check that a validator finds an answer to fail."""
    refused_at = None
    if claim.structure is not None:
        assert grammars is not None, "structured answers need the release's grammars"
        refused_at = grammars.refused_at(claim.structure, claim.output_token_ids)
    return structural_fault(
        claim.output_token_ids,
        claim.finish_reason,
        prompt_tokens=len(request.prompt_token_ids),
        tokens_max=request.tokens_max,
        release=release,
        refused_at=refused_at,
    )


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
