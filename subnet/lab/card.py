"""release -> its own engine -> graded answers -> MODEL CARD: what a release can do, measured.

Nonces start with `card`, so no validator draws these tasks; the same seed asks the same questions.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from subnet.core.benchmark import FAMILIES, Task, generate_task, grade, is_executed, program_of
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.words import sentence
from subnet.core.draws import DrawParams
from subnet.core.verification.claim import Claim
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.card_figures import (
    BAR,
    FamilyCard,
    Graded,
    LengthCard,
    ModelCard,
    TierCard,
    boundary,
    family_card,
    figures,
    is_refusal,
    repeat_deviation,
)
from subnet.lab.transcripts import Watch, served
from subnet.ports import EngineRequest, Sandbox, Tokenizer

LENGTH_MIN: Final = 128
"""Tokens of the shortest padded prompt; each next one is twice as long."""
LENGTH_FAMILY: Final = "retrieval"
PROBE_SENTENCES: Final = 50
BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    tasks: int
    repeats: int


WHOLE: Final = Sizes(tasks=24, repeats=5)
QUICK: Final = Sizes(tasks=6, repeats=2)


@dataclass(frozen=True, slots=True)
class Group:
    """The tasks of one tier, or of one length."""

    name: str
    step: int
    """Tier, or tokens."""
    tasks: tuple[Task, ...]
    prompts: tuple[tuple[int, ...], ...]
    """Of the tasks, as the tokenizer renders them."""

    @property
    def tokens_max(self) -> int:
        """Longest prompt with its answer."""
        return max(
            len(prompt) + task.max_tokens
            for prompt, task in zip(self.prompts, self.tasks, strict=True)
        )


def make_card(
    files: ReleaseFiles,
    tokenizer: Tokenizer,
    families: Sequence[str],
    sizes: Sizes,
    seed: int,
    engine_arguments: Mapping[str, Any],
    sandbox: Sandbox | None,
    watch: Watch,
) -> ModelCard:
    """Ask, grade and sum up. `sandbox` is needed if `needs_sandbox`.

    Raises EngineError and SandboxError.
    """
    room = files.release.context_tokens_max
    groups = list(tier_groups(tokenizer, families, sizes.tasks, seed))
    lengths = list(length_groups(tokenizer, room, sizes.tasks, seed))
    asked = [one for one in (*groups, *lengths) if one.tokens_max <= room]
    requests = [request for one in asked for request in _requests(one, sizes.repeats, seed)]
    advance = watch("answers", len(requests))
    found = served(files, requests, {BATCH: 1.0}, engine_arguments, advance)
    claims = iter(found.claims)
    grading = watch("grades", len(requests))
    answers: dict[tuple[str, int], list[Graded]] = {}
    for one in asked:
        of_group = [next(claims) for _ in range(len(one.tasks) * sizes.repeats)]
        answers[one.name, one.step] = _graded(one, of_group, sizes.repeats, tokenizer, sandbox)
        grading(len(of_group))
    return _card(files, str(found.environment.engine), groups, lengths, answers, sizes, seed)


def needs_sandbox(tokenizer: Tokenizer, families: Sequence[str], room: int, seed: int = 0) -> bool:
    """Whether answers that fit into `room` tokens would have to be executed."""
    return any(
        one.tokens_max <= room and is_executed(one.name, one.step)
        for one in tier_groups(tokenizer, families, 1, seed)
    )


def tier_groups(
    tokenizer: Tokenizer, families: Iterable[str], tasks: int, seed: int
) -> Iterator[Group]:
    """Every tier of every family."""
    for name in families:
        for tier in FAMILIES[name].tiers:
            made = tuple(generate_task(name, _nonce(seed, number), tier) for number in range(tasks))
            yield Group(name, tier, made, tuple(tokenizer.render(one.prompt) for one in made))


def length_groups(tokenizer: Tokenizer, room: int, tasks: int, seed: int) -> Iterator[Group]:
    """One easy question at a random depth of sentences that say nothing, ever longer."""
    easy = [generate_task(LENGTH_FAMILY, _nonce(seed, number)) for number in range(tasks)]
    longest = room - max(task.max_tokens for task in easy)
    length = LENGTH_MIN
    while length <= longest:
        made = tuple(
            _padded(tokenizer, task, length, Draws(b"card/length", _nonce(seed, number)))
            for number, task in enumerate(easy)
        )
        prompts = tuple(tokenizer.render(one.prompt) for one in made)
        yield Group("length", length, made, prompts)
        length = min(2 * length, longest) if length < longest else longest + 1


def _padded(tokenizer: Tokenizer, task: Task, tokens: int, draws: Draws) -> Task:
    """The task inside free text, of at most `tokens` tokens where it can be."""
    known, _, question = task.prompt.partition("\n")
    own = len(tokenizer.render(task.prompt))
    fillers = [sentence(draws) for _ in range(PROBE_SENTENCES)]
    per_sentence = len(tokenizer.render(" ".join(fillers))) / PROBE_SENTENCES
    count = max(0, int((tokens - own) / per_sentence))
    fillers += [sentence(draws) for _ in range(count - len(fillers))]
    depth = draws.below(count + 1)
    while True:
        text = [*fillers[: min(depth, count)], known, *fillers[min(depth, count) : count]]
        padded = dataclasses.replace(task, prompt=f"{' '.join(text)}\n{question}")
        if count == 0 or len(tokenizer.render(padded.prompt)) <= tokens:
            return padded
        count -= 1


def _nonce(seed: int, number: int) -> bytes:
    return b"card" + seed.to_bytes(8, "big") + number.to_bytes(8, "big")


def _requests(group: Group, repeats: int, seed: int) -> Iterator[EngineRequest]:
    """Each prompt `repeats` times in a row; only the seeds differ."""
    chosen = DrawParams().sampling[0]
    dice = Draws(b"card/seed", group.name.encode(), bytes([repeats]), _nonce(seed, group.step))
    for number, (task, prompt) in enumerate(zip(group.tasks, group.prompts, strict=True)):
        for repeat in range(repeats):
            yield EngineRequest(
                request_id=f"{group.name}-{group.step}-{number}-{repeat}",
                prompt_token_ids=prompt,
                temperature_milli=chosen.temperature_milli,
                top_p_milli=chosen.top_p_milli,
                top_k=chosen.top_k,
                tokens_max=task.max_tokens,
                seed=dice.word() >> 1,
            )


def _graded(
    group: Group,
    claims: Sequence[Claim],
    repeats: int,
    tokenizer: Tokenizer,
    sandbox: Sandbox | None,
) -> list[Graded]:
    found = []
    for place, claim in enumerate(claims):
        number = place // repeats
        task = group.tasks[number]
        answer = tokenizer.detokenize(claim.output_token_ids)
        program = program_of(task, answer)
        assert program is None or sandbox is not None, "needs_sandbox would have said so"
        outcome = sandbox.run(program) if program is not None and sandbox is not None else None
        found.append(
            Graded(
                task=number,
                prompt_tokens=len(claim.prompt_token_ids),
                output_tokens=len(claim.output_token_ids),
                grade=grade(task, answer, outcome),
                is_refusal=is_refusal(answer),
                is_cut=claim.finish_reason == "length",
            )
        )
    return found


def _card(
    files: ReleaseFiles,
    environment: str,
    groups: Sequence[Group],
    lengths: Sequence[Group],
    answers: Mapping[tuple[str, int], list[Graded]],
    sizes: Sizes,
    seed: int,
) -> ModelCard:
    by_length = [
        LengthCard(tokens=one.step, figures=figures(answers[one.name, one.step])) for one in lengths
    ]
    steps = [(one.tokens, one.figures.grade or 0.0) for one in by_length]
    holds, fails = boundary(steps)
    every = [one for found in answers.values() for one in found]
    chosen = DrawParams().sampling[0]
    return ModelCard(
        model=files.release.model,
        release_digest=files.release.digest(),
        environment=environment,
        temperature_milli=chosen.temperature_milli,
        top_p_milli=chosen.top_p_milli,
        top_k=chosen.top_k,
        seed=seed,
        tasks=sizes.tasks,
        repeats=sizes.repeats,
        bar=BAR,
        families=tuple(_families(groups, answers)),
        lengths=tuple(by_length),
        holds_to_tokens=holds,
        fails_at_tokens=fails,
        refusals=figures(every).refusals,
        repeat_deviation=round(_deviation(answers), 4),
    )


def _families(
    groups: Sequence[Group], answers: Mapping[tuple[str, int], list[Graded]]
) -> Iterator[FamilyCard]:
    for name in dict.fromkeys(one.name for one in groups):
        tiers = []
        for one in groups:
            if one.name == name:
                found = answers.get((name, one.step))
                summed = None if found is None else figures(found)
                tiers.append(TierCard(tier=one.step, tokens_max=one.tokens_max, figures=summed))
        yield family_card(name, FAMILIES[name].version, tiers)


def _deviation(answers: Mapping[tuple[str, int], list[Graded]]) -> float:
    """Between repeats, over the tasks of all tiers."""
    grades: dict[tuple[str, int, int], list[float]] = {}
    for (name, step), found in answers.items():
        for one in found:
            if one.grade is not None:
                grades.setdefault((name, step, one.task), []).append(one.grade)
    return repeat_deviation(list(grades.values())) or 0.0
