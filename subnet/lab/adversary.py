"""question -> ADVERSARY -> answer: what a cheat is given, and the shapes that cheats come in.

All run on `lab.sampler`, so that each differs from an honest miner in the one thing that it is
named for. `attacks` lists the shipped ones; `assay lab verify --adversary module:Class` adds one.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from protocol.release import Release
from protocol.sampling import derive_seed
from subnet.core.verification.support import SamplingRows
from subnet.edge.grammar import Grammars, release_grammars
from subnet.lab.sampler import (
    Choose,
    Ids,
    Job,
    LabModel,
    Logits,
    choice_of,
    generate,
    honest_choice,
    load_model,
    without_layers,
)
from subnet.ports import EngineRequest

OTHER_MINER: Final = "another-miner"
OWN_PERMIT: Final = "a-permit-of-the-cheat"


@dataclass(frozen=True, slots=True)
class Question:
    """One request as a miner gets it; `request.seed` is the one it must derive."""

    request: EngineRequest
    nonce: str
    caller: str
    miner: str

    def seed(self, *, caller: str | None = None, miner: str | None = None) -> int:
        """The seed that other hotkeys would derive."""
        return derive_seed(
            self.nonce,
            self.request.request_id,
            caller or self.caller,
            miner or self.miner,
            self.request.prompt_token_ids,
        )


@dataclass(frozen=True, slots=True)
class LabAnswer:
    """What a miner sends: tokens, log-probabilities, why it ended, and the count it signs."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]
    signed_tokens: int


@dataclass(frozen=True)
class Lab:
    """What adversaries have: the promised release and a weaker checkpoint of it."""

    release: Release
    folder: Path
    weak_folder: Path

    @cached_property
    def strong(self) -> LabModel:
        """The promised weights."""
        return load_model(self.folder, self.release.dtype)

    @cached_property
    def weak(self) -> LabModel:
        """An earlier checkpoint; the smaller model where none lies beside the release."""
        if not self.weak_folder.is_dir():
            return self.small
        return load_model(self.weak_folder, self.release.dtype)

    @cached_property
    def small(self) -> LabModel:
        """The promised release without the last half of its layers: half the cost."""
        layers = self.strong.network.config.num_hidden_layers
        return without_layers(self.strong, range(layers // 2, layers))

    @cached_property
    def grammars(self) -> Grammars | None:
        """What enforces the structures that are asked for."""
        return release_grammars(self.release, self.folder)

    def job(self, question: Question, **changes: Any) -> Job:
        """The honest job of a question, but for `changes`."""
        request = question.request
        job = Job(
            prompt_token_ids=request.prompt_token_ids,
            noise_prompt_tokens=len(request.prompt_token_ids),
            temperature_milli=request.temperature_milli,
            top_p_milli=request.top_p_milli,
            top_k=request.top_k,
            tokens_max=request.tokens_max,
            seed=request.seed,
            structure=request.structure,
        )
        return dataclasses.replace(job, **changes)

    def answers(
        self,
        models: Sequence[LabModel],
        jobs: Sequence[Job],
        choose: Choose = honest_choice,
        *,
        reports: int = 0,
    ) -> list[LabAnswer]:
        """Sampled answers with an honest end."""
        stops = self.release.stop_token_ids
        made = generate(models, jobs, stops, choose, reports=reports, grammars=self.grammars)
        return [self.answer(token_ids, logprobs) for token_ids, logprobs in made]

    def answer(self, token_ids: tuple[int, ...], logprobs: tuple[float, ...]) -> LabAnswer:
        """An answer whose end is called what it is."""
        is_stop = token_ids[-1] in self.release.stop_token_ids
        return LabAnswer(token_ids, logprobs, "stop" if is_stop else "length", len(token_ids))


class Adversary(Protocol):
    """One way to cheat."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """One answer to each question."""
        ...


@dataclass(frozen=True)
class OtherModel:
    """Answers with other weights or another cache."""

    name: str
    summary: str
    model: Callable[[Lab], LabModel]

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """The other model's answers, with its own log-probabilities."""
        return lab.answers([self.model(lab)], [lab.job(question) for question in questions])


@dataclass(frozen=True)
class OtherJob:
    """Answers another question than was asked: prompt, sampling or seed."""

    name: str
    summary: str
    changes: Callable[[Lab, Question], dict[str, Any]]

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """The right model's answers to the wrong job."""
        jobs = [lab.job(question, **self.changes(lab, question)) for question in questions]
        return lab.answers([lab.strong], jobs)


@dataclass(frozen=True)
class OtherChoice:
    """Lets the weaker model choose where that seems safe; reports the strong model's numbers."""

    name: str
    summary: str
    choose: Choose
    """Gets the strong model's logits, then the weak one's."""

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """Both models see the answer grow."""
        jobs = [lab.job(question) for question in questions]
        return lab.answers([lab.strong, lab.weak], jobs, self.choose)


@dataclass(frozen=True)
class OtherEnd:
    """Honest tokens, bent afterwards."""

    name: str
    summary: str
    bend: Callable[[Lab, Question, LabAnswer], LabAnswer]

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """Honest answers, each bent."""
        honest = lab.answers([lab.strong], [lab.job(question) for question in questions])
        return [self.bend(lab, *pair) for pair in zip(questions, honest, strict=True)]


@dataclass(frozen=True)
class SkippedStop:
    """Never stops: longer answers are paid better."""

    name: str = "skipped stop"
    summary: str = "takes the next best token where the release stops, up to the limit"

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """Answers that fill the limit."""
        stops = list(lab.release.stop_token_ids)

        def choose(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
            barred = logits[0].copy()
            barred[:, stops] = -1e9
            return choice_of(barred, rows)

        return lab.answers([lab.strong], [lab.job(question) for question in questions], choose)


@dataclass(frozen=True)
class Diluted:
    """Cheats in a share of answers; the bench mixes them with honest ones."""

    name: str
    summary: str
    share: float
    inner: Adversary = field(repr=False)

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """The dishonest answers."""
        return self.inner.answers(lab, questions)


@dataclass(frozen=True)
class Short:
    """Cheats on requests for very short answers; the bench cuts the requests."""

    name: str
    summary: str
    tokens_max: int
    inner: Adversary = field(repr=False)

    def asked(self, question: Question) -> Question:
        """The question with the lower limit."""
        tokens_max = min(self.tokens_max, question.request.tokens_max)
        request = dataclasses.replace(question.request, tokens_max=tokens_max)
        return dataclasses.replace(question, request=request)

    def answers(self, lab: Lab, questions: Sequence[Question]) -> list[LabAnswer]:
        """The dishonest answers."""
        return self.inner.answers(lab, questions)
