"""release, dice -> SEARCH -> HOSTILE PROMPTS: questions at which honest numerics err most.

A user may ask what benchmarks never would, so honest margins have to be known where they are worst.
A candidate is scored by its own answer: one pass in the release's dtype and one in fp32 say how
often rounding would push an honest token's margin over a bar. The worst are kept and bred.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from subnet.core.verification.calibration import BASE_EDGES_LOGITS
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.sampler import Job, LabModel, generate, load_model

ANSWER_TOKENS: Final = 8
"""Of each candidate's answer that are scored: what a prompt does to numerics fades after it."""
CANDIDATES_AT_ONCE: Final = 16
ROUNDS: Final = 8
KEPT: Final = 32
"""Prompts kept of each kind."""
SEARCH_TEMPERATURES_MILLI: Final = (100, 1000)
"""Cold answers err where two tokens nearly tie, warm ones where many are likely."""
SHORT_TOKENS_MAX: Final = 48
ORDINARY_TOKENS_MAX: Final = 200
"""Of ordinary prompts that are altered: a full context costs as much as fifty others."""
GLITCH_SHARE: Final = 0.05
"""Of the vocabulary: the tokens whose embedding lies closest to the mean of all."""
MARGIN_BAR_LOGITS: Final = BASE_EDGES_LOGITS[0]
_BEST: Final = 64

Prompt = tuple[int, ...]
_Ids = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def excess(fine: _Floats, coarse: _Floats, temperature: float, bar_logits: float) -> _Floats:
    """Logits [n, k] of two passes -> the rate [n], per logit, of honest margins over the bar.

    Gumbel noise draws i where j would have won by a gap near g with density p_i p_j / T, and
    rounding hides gaps up to |d_i - d_j|. So to first order a margin exceeds the bar with
    probability sum over pairs of p_i p_j (|d_i - d_j| - bar)+ / T, which wants flat logits and
    large errors at once.
    """
    scaled = fine / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    share = weights / weights.sum(axis=1, keepdims=True)
    error = coarse - fine
    apart = np.abs(error[:, :, None] - error[:, None, :])
    over = np.maximum(apart - bar_logits, 0.0)
    found: _Floats = np.einsum("ni,nij,nj->n", share, over, share) / (2 * temperature)
    return found


class NumericNoise:
    """Scores prompts of one release: its own weights in its dtype against fp32."""

    def __init__(self, files: ReleaseFiles, temperature_milli: int) -> None:
        """An fp32 release is compared with bf16. Raises OSError without weights."""
        coarse = files.release.dtype
        self._coarse = load_model(files.folder, "bfloat16" if coarse == "float32" else coarse)
        self._fine = load_model(files.folder, "float32")
        self._temperature_milli = temperature_milli

    def glitch_tokens(self) -> _Ids:
        """The ids that training touched least, by their output embedding.

        (Land and Bartolo 2024, "Fishing for Magikarp": such rows stay near the mean.)
        """
        rows = self._fine.network.get_output_embeddings().weight.detach().numpy()
        order = np.argsort(np.linalg.norm(rows - rows.mean(axis=0), axis=1), kind="stable")
        return np.asarray(order[: max(1, int(GLITCH_SHARE * len(rows)))], np.int64)

    def of(self, prompts: Sequence[Prompt]) -> _Floats:
        """The expected rate [n] of loud honest tokens in each prompt's answer."""
        jobs = [
            Job(prompt, len(prompt), self._temperature_milli, 1000, _BEST, ANSWER_TOKENS, place)
            for place, prompt in enumerate(prompts)
        ]
        answers = generate([self._coarse], jobs, ())
        scores = np.zeros(len(prompts))
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        with torch.inference_mode():
            for start in range(0, len(order), CANDIDATES_AT_ONCE):
                part = order[start : start + CANDIDATES_AT_ONCE]
                rows = [prompts[place] + answers[place][0][:-1] for place in part]
                scores[part] = self._scored(rows)
        return scores

    def _scored(self, rows: Sequence[Prompt]) -> _Floats:
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        inputs = torch.from_numpy(ids)
        places = np.array(
            [[len(row) - back for back in range(ANSWER_TOKENS, 0, -1)] for row in rows]
        )
        owner = np.repeat(np.arange(len(rows)), ANSWER_TOKENS)
        fine, coarse = (
            self._logits(model, inputs)[owner, places.reshape(-1)].double()
            for model in (self._fine, self._coarse)
        )
        best = torch.topk(fine, min(_BEST, fine.shape[1]), dim=1).indices
        found = excess(
            fine.gather(1, best).numpy(),
            coarse.gather(1, best).numpy(),
            self._temperature_milli / 1000,
            MARGIN_BAR_LOGITS,
        )
        return np.asarray(found.reshape(len(rows), ANSWER_TOKENS).mean(axis=1))

    @staticmethod
    def _logits(model: LabModel, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model.network(input_ids=inputs, use_cache=False).logits
        return logits.float()


@dataclass(frozen=True, slots=True)
class Kind:
    """One family of candidates, bred apart so that no other crowds it out."""

    name: str
    make: Callable[[np.random.Generator], _Ids]
    kept: int


def kinds(
    vocab_size: int, glitch: _Ids, ordinary: Sequence[Prompt], prompt_tokens_max: int, kept: int
) -> tuple[Kind, ...]:
    """Random ids, glitch tokens, one token over and over, full contexts, altered questions."""

    def some(dice: np.random.Generator) -> int:
        return int(dice.integers(1, min(SHORT_TOKENS_MAX, prompt_tokens_max) + 1))

    def asked(dice: np.random.Generator) -> _Ids:
        return np.array(ordinary[int(dice.integers(len(ordinary)))][:prompt_tokens_max], np.int64)

    def repeated(dice: np.random.Generator) -> _Ids:
        return np.full(some(dice), int(dice.integers(vocab_size)), np.int64)

    return (
        Kind("random", lambda dice: dice.integers(0, vocab_size, some(dice)), kept),
        Kind("glitch", lambda dice: dice.choice(glitch, some(dice)), kept),
        Kind("repeated", repeated, kept),
        Kind("altered", asked, kept),
        Kind(
            "long",
            lambda dice: dice.integers(0, vocab_size, prompt_tokens_max),
            max(1, kept // 16),
        ),
    )


def bred(parent: _Ids, other: _Ids, vocab_size: int, dice: np.random.Generator) -> _Ids:
    """A child: some tokens near the end are others, or its end is that of another parent."""
    child = parent.copy()
    reach = min(len(child), SHORT_TOKENS_MAX)
    for _ in range(int(dice.integers(1, 4))):
        child[len(child) - 1 - int(dice.integers(reach))] = int(dice.integers(vocab_size))
    if dice.random() < 0.3:
        tail = other[len(other) // 2 :][-reach:]
        child[len(child) - len(tail) :] = tail
    return child


def search(
    kind: Kind,
    scored: Callable[[Sequence[Prompt]], _Floats],
    vocab_size: int,
    rounds: int,
    dice: np.random.Generator,
) -> tuple[list[Prompt], _Floats]:
    """The worst prompts of one kind and their scores [kept], worst first. Same dice, same ones."""
    pool = [kind.make(dice) for _ in range(4 * kind.kept)]
    scores = scored([tuple(one.tolist()) for one in pool])
    for _ in range(rounds):
        order = np.argsort(-scores, kind="stable")[: kind.kept]
        parents = [pool[place] for place in order]
        children = [
            bred(parent, parents[int(dice.integers(len(parents)))], vocab_size, dice)
            for parent in parents
        ]
        pool = parents + children
        fresh = scored([tuple(one.tolist()) for one in children])
        scores = np.concatenate([scores[order], fresh])
    order = np.argsort(-scores, kind="stable")[: kind.kept]
    return [tuple(pool[place].tolist()) for place in order], scores[order]


@dataclass(frozen=True, slots=True)
class HostilePrompts:
    """What a search found, by the temperature that it was made for."""

    by_temperature_milli: Mapping[int, Sequence[Prompt]]
    expected_ratio: float
    """How many times as often as in ordinary answers a margin should exceed the bar."""

    def for_temperature(self, temperature_milli: int) -> Sequence[Prompt]:
        """Those of the search closest to it."""
        searched = self.by_temperature_milli
        return searched[min(searched, key=lambda one: abs(one - temperature_milli))]


def hostile_prompts(
    files: ReleaseFiles,
    ordinary: Sequence[Prompt],
    prompt_tokens_max: int,
    seed: int,
    watch: Callable[[str, int], Callable[[int], None]],
    kept: int = KEPT,
) -> HostilePrompts:
    """Search every kind at each of SEARCH_TEMPERATURES_MILLI. Same seed, same prompts.

    On one thread: two that wait for each other take ten times as long on a busy machine.
    """
    torch.set_num_threads(1)
    ordinary = [prompt for prompt in ordinary if len(prompt) <= ORDINARY_TOKENS_MAX]
    found: dict[int, Sequence[Prompt]] = {}
    ratios: list[float] = []
    vocab_size = files.release.vocab_size
    for temperature_milli in SEARCH_TEMPERATURES_MILLI:
        noise = NumericNoise(files, temperature_milli)
        families = kinds(vocab_size, noise.glitch_tokens(), ordinary, prompt_tokens_max, kept)
        advance = watch(f"hostile prompts, T {temperature_milli / 1000:g}", len(families))
        usual = float(noise.of(ordinary[: 2 * kept]).mean())
        worst: list[Prompt] = []
        scores: list[_Floats] = []
        for place, kind in enumerate(families):
            dice = np.random.default_rng([seed, temperature_milli, place])
            prompts, rates = search(kind, noise.of, vocab_size, ROUNDS, dice)
            worst += prompts
            scores.append(rates)
            advance(1)
        found[temperature_milli] = worst
        ratios.append(float(np.concatenate(scores).mean()) / max(usual, 1e-12))
    return HostilePrompts(found, float(np.mean(ratios)))
