"""release, dice -> REQUESTS -> honest and dishonest answers: what the lab asks engines.

Benchmark tasks and free text, as users ask them, and what is hard on numerics: random token ids,
prompts that nearly fill the context, answers of a few tokens, what a search found (`hostile`).
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from protocol.release import Release
from protocol.structure import Structure
from subnet.core.benchmark import FAMILIES, Task, generate_task
from subnet.ports import EngineRequest, Tokenizer

TEMPERATURES_MILLI: Final = (0, 100, 300, 700, 1000, 1500, 2000)
TOP_PS_MILLI: Final = (500, 950, 1000)
TOP_KS: Final = (5, 20, 50, 64)
OPEN_PERCENT, LONG_PERCENT, RANDOM_PERCENT, SHORT_PERCENT = 30, 2, 4, 20
"""Free text (the most entropy), prompts that nearly fill the context, random token ids; and
answers cut after 1 to 8 tokens, as tool calls and classifications are."""
STRUCTURED_PERCENT: Final = 12
STRUCTURES: Final = tuple(
    Structure(kind="json_schema", text=json.dumps(schema))
    for schema in (
        {"enum": ["yes", "no", "perhaps"]},
        {"type": "string", "maxLength": 60},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "string", "minLength": 3, "maxLength": 12}},
        {"type": "object"},
        {
            "type": "object",
            "properties": {
                "label": {"enum": ["good", "bad", "neutral"]},
                "score": {"type": "number"},
                "why": {"type": "string"},
            },
            "required": ["label", "score", "why"],
        },
    )
)
"""What free text is forced into, against the model's inclination: there its logits are flattest."""
EASY_TIER_MAX, HARD_TIERS_CONTEXT_TOKENS = 2, 8192
"""Harder tiers are asked only of models with room for most of them."""
SHORT_ANSWER_TOKENS: Final = 8
LONG_ANSWER_TOKENS: Final = 24
DRAWN_BAND: Final = (1000, 950)
"""The (temperature, top-p) that validators draw most, which detection rests on: half of all."""
TWICE_BANDS: Final = ((0, 1000), (700, 950), (1000, 1000))
"""Greedy, whose honest margins are the largest, and what validators draw besides."""
HELD_OUT_EVERY: Final = 4
HOSTILE_PERCENT: Final = 25


def band_cycle() -> list[tuple[int, int]]:
    """(temperature, top-p) of consecutive requests.

    Its odd length gives every band to every engine, which take requests in turn.
    """
    bands = [(t, p) for t in TEMPERATURES_MILLI for p in (TOP_PS_MILLI if t else (1000,))]
    others = [*(band for band in bands if band != DRAWN_BAND), *TWICE_BANDS]
    return [band for other in others for band in (other, DRAWN_BAND)][:-1]


def is_held_out(index: int) -> bool:
    """Whether the request of this index is kept from the fit: whole cycles are."""
    return index // len(band_cycle()) % HELD_OUT_EVERY == 0


def planned_requests(
    release: Release, tokenizer: Tokenizer, prompts: int, seed: int
) -> list[EngineRequest]:
    """The requests of one run: same release, count and seed, same requests."""
    dice = np.random.default_rng(seed)
    bands = band_cycle()
    requests = []
    for index in range(prompts):
        temperature_milli, top_p_milli = bands[index % len(bands)]
        prompt, tokens_max, structure = _prompt(release, tokenizer, dice)
        requests.append(
            EngineRequest(
                request_id=f"{index:032x}",
                prompt_token_ids=prompt,
                temperature_milli=temperature_milli,
                top_p_milli=top_p_milli,
                top_k=int(dice.choice(TOP_KS)),
                tokens_max=tokens_max,
                seed=int(dice.integers(0, 2**63)),
                structure=structure,
            )
        )
    return requests


def with_hostile(
    requests: Sequence[EngineRequest],
    prompts_for: Callable[[int], Sequence[tuple[int, ...]]],
    seed: int,
) -> tuple[list[EngineRequest], list[bool]]:
    """HOSTILE_PERCENT of the requests ask a hostile prompt instead; and which do.

    `prompts_for` gives those of a temperature in thousandths. Half of the answers are cut short, as
    a prompt's effect on numerics fades with what follows. No prompt is on both sides of the split.
    """
    dice = np.random.default_rng([seed, HOSTILE_PERCENT])
    asked, is_hostile = [], []
    for index, request in enumerate(requests):
        found = prompts_for(request.temperature_milli)
        known = [p for n, p in enumerate(found) if (n % HELD_OUT_EVERY == 0) == is_held_out(index)]
        is_hostile.append(bool(known) and int(dice.integers(100)) < HOSTILE_PERCENT)
        if is_hostile[-1]:
            cut = int(dice.integers(1, SHORT_ANSWER_TOKENS + 1))
            request = dataclasses.replace(
                request,
                prompt_token_ids=known[int(dice.integers(len(known)))],
                top_k=max(TOP_KS),
                structure=None,
                tokens_max=cut if dice.random() < 0.5 else LONG_ANSWER_TOKENS,
            )
        asked.append(request)
    return asked, is_hostile


def _prompt(
    release: Release, tokenizer: Tokenizer, dice: np.random.Generator
) -> tuple[tuple[int, ...], int, Structure | None]:
    """Prompt ids, the answer's token limit, and its structure."""
    draw = int(dice.integers(100))
    room = release.context_tokens_max - LONG_ANSWER_TOKENS
    if draw < RANDOM_PERCENT:
        noise = dice.integers(0, release.vocab_size, int(dice.integers(1, min(64, room))))
        return tuple(int(token) for token in noise), LONG_ANSWER_TOKENS, None
    names = sorted(FAMILIES)
    if draw < RANDOM_PERCENT + LONG_PERCENT:
        text = ""
        while len(ids := tokenizer.render(text)) < min(room, 4096):
            text += _task(release, str(dice.choice(names)), dice).prompt + "\n"
        return ids[:room], LONG_ANSWER_TOKENS, None
    is_structured = int(dice.integers(100)) < STRUCTURED_PERCENT and release.grammar is not None
    if is_structured:
        return _structured(release, tokenizer, dice)
    is_open = draw < RANDOM_PERCENT + LONG_PERCENT + OPEN_PERCENT
    task = _task(release, "open" if is_open else str(dice.choice(names)), dice)
    cut = int(dice.integers(1, SHORT_ANSWER_TOKENS + 1))
    is_short = int(dice.integers(100)) < SHORT_PERCENT
    return tokenizer.render(task.prompt)[:room], cut if is_short else task.max_tokens, None


def _structured(
    release: Release, tokenizer: Tokenizer, dice: np.random.Generator
) -> tuple[tuple[int, ...], int, Structure | None]:
    """A task for JSON with its own schema, or free text forced into another shape."""
    is_natural = bool(dice.integers(2))
    task = _task(release, "extraction" if is_natural else "open", dice)
    forced = STRUCTURES[int(dice.integers(len(STRUCTURES)))]
    room = release.context_tokens_max - LONG_ANSWER_TOKENS
    prompt = tokenizer.render(task.prompt)[:room]
    return prompt, task.max_tokens, task.structure if is_natural else forced


def _task(release: Release, family: str, dice: np.random.Generator) -> Task:
    tiers = FAMILIES[family].tiers
    is_roomy = release.context_tokens_max >= HARD_TIERS_CONTEXT_TOKENS
    tier = int(dice.choice(tiers if is_roomy else [t for t in tiers if t <= EASY_TIER_MAX]))
    return generate_task(family, dice.bytes(16), tier)
