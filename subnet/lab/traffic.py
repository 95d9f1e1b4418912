"""release, dice -> REQUESTS -> honest and dishonest answers: what the lab asks engines.

Benchmark tasks and free text, as users ask them, and what is hard on numerics: random token ids,
prompts that nearly fill the context, answers of a few tokens.
"""

from typing import Final

import numpy as np

from protocol.release import Release
from subnet.core.benchmark import FAMILIES, Task, generate_task
from subnet.ports import EngineRequest, Tokenizer

TEMPERATURES_MILLI: Final = (0, 100, 300, 700, 1000, 1500, 2000)
TOP_PS_MILLI: Final = (500, 950, 1000)
TOP_KS: Final = (5, 20, 50, 64)
OPEN_PERCENT, LONG_PERCENT, RANDOM_PERCENT, SHORT_PERCENT = 30, 2, 4, 20
"""Free text (the most entropy), prompts that nearly fill the context, random token ids; and
answers cut after 1 to 8 tokens, as tool calls and classifications are."""
SHORT_ANSWER_TOKENS: Final = 8
LONG_ANSWER_TOKENS: Final = 24


def planned_requests(
    release: Release, tokenizer: Tokenizer, prompts: int, seed: int
) -> list[EngineRequest]:
    """The requests of one run: same release, count and seed, same requests."""
    dice = np.random.default_rng(seed)
    bands = [(t, p) for t in TEMPERATURES_MILLI for p in (TOP_PS_MILLI if t else (1000,))]
    requests = []
    for index in range(prompts):
        temperature_milli, top_p_milli = bands[index % len(bands)]
        prompt, tokens_max = _prompt(release, tokenizer, dice)
        requests.append(
            EngineRequest(
                request_id=f"{index:032x}",
                prompt_token_ids=prompt,
                temperature_milli=temperature_milli,
                top_p_milli=top_p_milli,
                top_k=int(dice.choice(TOP_KS)),
                tokens_max=tokens_max,
                seed=int(dice.integers(0, 2**63)),
            )
        )
    return requests


def _prompt(
    release: Release, tokenizer: Tokenizer, dice: np.random.Generator
) -> tuple[tuple[int, ...], int]:
    """Prompt ids and the answer's token limit."""
    draw = int(dice.integers(100))
    room = release.context_tokens_max - LONG_ANSWER_TOKENS
    if draw < RANDOM_PERCENT:
        noise = dice.integers(0, release.vocab_size, int(dice.integers(1, min(64, room))))
        return tuple(int(token) for token in noise), LONG_ANSWER_TOKENS
    names = sorted(FAMILIES)
    if draw < RANDOM_PERCENT + LONG_PERCENT:
        text = ""
        while len(ids := tokenizer.render(text)) < min(room, 4096):
            text += _task(str(dice.choice(names)), dice).prompt + "\n"
        return ids[:room], LONG_ANSWER_TOKENS
    is_open = draw < RANDOM_PERCENT + LONG_PERCENT + OPEN_PERCENT
    task = _task("open" if is_open else str(dice.choice(names)), dice)
    cut = int(dice.integers(1, SHORT_ANSWER_TOKENS + 1))
    is_short = int(dice.integers(100)) < SHORT_PERCENT
    return tokenizer.render(task.prompt)[:room], cut if is_short else task.max_tokens


def _task(family: str, dice: np.random.Generator) -> Task:
    tier = int(dice.choice(FAMILIES[family].tiers))
    return generate_task(family, dice.bytes(16), tier)
