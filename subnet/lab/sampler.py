"""prompts, parameters -> LAB SAMPLER -> token ids, log-probabilities: our sampling without vLLM.

A batched transformers loop around the very `seeded_choice` that miners use, open where a cheat
reaches in: which weights, which cache, what of the prompt is seen, and who chooses a token. Models
named together see the same answer grow, as a draft and its target do.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils.logging import disable_progress_bar

from protocol.release import TOP_K_MAX
from protocol.structure import Structure
from subnet.core.verification.candidates import best_candidates
from subnet.core.verification.margin import seeded_choice
from subnet.core.verification.noise import position_of, seed_prefix
from subnet.core.verification.support import SamplingRows
from subnet.edge.grammar import Grammars, Walk, empty_masks, mask_logits

BATCH_ROWS: Final = 64
BATCH_PROMPT_TOKENS: Final = 8192
"""Padding included: one full context in a batch of 64 costs as much as 60 more of them."""
Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabModel:
    """Weights, and how their cache is kept."""

    network: Any
    round_cache: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Applied to keys and values as they enter the cache."""


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to make. Noise positions follow `noise_prompt_tokens`, whatever the model sees."""

    prompt_token_ids: tuple[int, ...]
    noise_prompt_tokens: int
    temperature_milli: int
    top_p_milli: int
    top_k: int
    tokens_max: int
    seed: int
    hidden: tuple[int, int] = (0, 0)
    """From and up to which prompt token none that comes after the prompt attends."""
    structure: Structure | None = None


Choose = Callable[[Sequence[Logits], SamplingRows], Ids]
"""Each model's logits [n, vocab] and the honest parameters of n positions -> chosen ids [n]."""


def load_model(folder: Path, dtype: str, device: str = "cpu") -> LabModel:
    """The checkpoint in a folder, on a device as torch names it."""
    disable_progress_bar()
    network = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
    )
    return LabModel(network.eval().to(device))


def with_weights(model: LabModel, change: Callable[[torch.Tensor], torch.Tensor]) -> LabModel:
    """A copy whose matrices, embeddings aside, went through `change`."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.copy_(change(weight.float()).to(weight.dtype))
    return LabModel(network)


def without_layers(model: LabModel, skipped: Sequence[int]) -> LabModel:
    """A copy that leaves out some decoder layers."""
    network = copy.deepcopy(model.network)
    decoder = network.get_decoder()
    kept = [layer for place, layer in enumerate(decoder.layers) if place not in skipped]
    for place, layer in enumerate(kept):
        layer.self_attn.layer_idx = place
    decoder.layers = torch.nn.ModuleList(kept)
    network.config.num_hidden_layers = len(kept)
    return LabModel(network)


def honest_choice(logits: Sequence[Logits], rows: SamplingRows) -> Ids:
    """What the first model samples by the shared noise."""
    return choice_of(logits[0], rows)


def choice_of(logits: Logits, rows: SamplingRows) -> Ids:
    """What one model samples by the shared noise."""
    values, ids = best_candidates(logits, min(TOP_K_MAX, logits.shape[1]))
    return np.asarray(seeded_choice(values, ids, rows, logits.shape[1], np))


def log_softmax(logits: Logits) -> Logits:
    """Log-probabilities [n, vocab]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def generate(
    models: Sequence[LabModel],
    jobs: Sequence[Job],
    stop_token_ids: Sequence[int],
    choose: Choose = honest_choice,
    *,
    reports: int = 0,
    grammars: Grammars | None = None,
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Token ids and raw log-probabilities of each job's answer, stop token included.

    `reports` is the model whose log-probabilities are sent, rounded as on the wire. `grammars`
    enforce the jobs' structures.
    """
    made: list[tuple[tuple[int, ...], tuple[float, ...]]] = [((), ())] * len(jobs)
    order = sorted(range(len(jobs)), key=lambda place: len(jobs[place].prompt_token_ids))
    with torch.inference_mode():
        for places in batches(order, [len(job.prompt_token_ids) for job in jobs]):
            walks = [_walk(jobs[place], grammars) for place in places]
            batch = _Batch(models, [jobs[place] for place in places], choose, reports, walks)
            for place, answer in zip(places, batch.run(stop_token_ids), strict=True):
                made[place] = answer
    return made


def _walk(job: Job, grammars: Grammars | None) -> Walk | None:
    if job.structure is None:
        return None
    assert grammars is not None, "structured jobs need the release's grammars"
    return grammars.walk(job.structure)


def batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places in `order`, shortest first, in batches within both bounds; each has at least one."""
    batch: list[int] = []
    for place in order:
        if len(batch) == BATCH_ROWS or (len(batch) + 1) * lengths[place] > BATCH_PROMPT_TOKENS:
            if batch:
                yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class _Batch:
    """Jobs that step together, prompts padded on the left. What has ended leaves the batch."""

    def __init__(
        self,
        models: Sequence[LabModel],
        jobs: Sequence[Job],
        choose: Choose,
        reports: int,
        walks: Sequence[Walk | None],
    ) -> None:
        self._models = models
        self._jobs = jobs
        self._choose = choose
        self._reports = reports
        self._walks = walks
        self._caches = [DynamicCache() for _ in models]
        width = max(len(job.prompt_token_ids) for job in jobs)
        ids = np.zeros((len(jobs), width), np.int64)
        seen = np.zeros((len(jobs), width), np.int64)
        for row, job in enumerate(jobs):
            first = width - len(job.prompt_token_ids)
            ids[row, first:] = job.prompt_token_ids
            seen[row, first:] = 1
        self._device = models[0].network.device
        self._prompt = torch.from_numpy(ids).to(self._device)
        self._seen = torch.from_numpy(seen).to(self._device)
        self._positions = (self._seen.cumsum(1) - 1).clamp(min=0)
        # Only what comes after the prompt misses what is hidden.
        self._after = self._seen.clone()
        for row, job in enumerate(jobs):
            first = width - len(job.prompt_token_ids)
            self._after[row, first + job.hidden[0] : first + job.hidden[1]] = 0

    def run(self, stops: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """Answers of all jobs."""
        inputs, positions, mask = self._prompt, self._positions, self._seen
        tokens: list[list[int]] = [[] for _ in self._jobs]
        logprobs: list[list[float]] = [[] for _ in self._jobs]
        rows = list(range(len(self._jobs)))
        step = 0
        while rows:
            logits = [
                self._forward(model, cache, inputs, positions, mask)
                for model, cache in zip(self._models, self._caches, strict=True)
            ]
            chosen = self._choose(self._masked(logits, rows), self._rows(rows, step))
            told = log_softmax(logits[self._reports])[np.arange(len(chosen)), chosen]
            open_places = []
            for place, row in enumerate(rows):
                token = int(chosen[place])
                tokens[row].append(token)
                logprobs[row].append(float(np.float16(min(told[place], 0.0))))
                done = len(tokens[row]) >= self._jobs[row].tokens_max
                if not (done or token in stops):
                    open_places.append(place)
                walk = self._walks[row]
                if walk is not None:
                    walk.accept(token)
            inputs = torch.from_numpy(chosen[:, None]).to(self._device)
            positions = positions[:, -1:] + 1
            self._after = torch.cat([self._after, torch.ones_like(inputs)], dim=1)
            if len(open_places) < len(rows):
                rows = [rows[place] for place in open_places]
                kept = torch.tensor(open_places, dtype=torch.int64, device=self._device)
                inputs, positions, self._after = inputs[kept], positions[kept], self._after[kept]
                for cache in self._caches:
                    cache.batch_select_indices(kept)
            mask = self._after
            step += 1
        return [(tuple(a), tuple(b)) for a, b in zip(tokens, logprobs, strict=True)]

    def _masked(self, logits: Sequence[Logits], rows: Sequence[int]) -> Sequence[Logits]:
        """What the structures of those rows leave of each model's logits."""
        walks = [self._walks[row] for row in rows]
        if not any(walks):
            return logits
        masks = empty_masks(*logits[0].shape)
        for place, walk in enumerate(walks):
            if walk is not None:
                walk.fill(masks[place : place + 1])
        masked = [torch.from_numpy(each.copy()) for each in logits]
        for each in masked:
            mask_logits(each, masks)
        return [each.numpy() for each in masked]

    def _forward(
        self,
        model: LabModel,
        cache: DynamicCache,
        inputs: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
    ) -> Logits:
        output = model.network(
            input_ids=inputs,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if model.round_cache:
            fresh = slice(-inputs.shape[1], None)
            for layer in cache.layers:
                layer.keys[:, :, fresh] = model.round_cache(layer.keys[:, :, fresh])
                layer.values[:, :, fresh] = model.round_cache(layer.values[:, :, fresh])
        return np.asarray(output.logits[:, -1].float().cpu().numpy())

    def _rows(self, rows: Sequence[int], step: int) -> SamplingRows:
        jobs = [self._jobs[row] for row in rows]
        prompts = np.array([job.noise_prompt_tokens for job in jobs], np.int64)
        return SamplingRows(
            temperature=np.array([job.temperature_milli / 1000 for job in jobs], np.float32),
            top_p=np.array([job.top_p_milli / 1000 for job in jobs], np.float32),
            top_k=np.array([job.top_k for job in jobs], np.int64),
            prefix=np.array([seed_prefix(job.seed) for job in jobs], np.int64),
            position=position_of(prompts, step),
        )
