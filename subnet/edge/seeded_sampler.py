"""logits -> SEEDED SAMPLER -> token: our sampling inside vLLM's V1 runner, on CPUs and GPUs.

A request goes in with temperature 0 and its real parameters in `SamplingParams.extra_args`
(`seeded_params`). The processor chooses the token and raises its logit above all others, so that
the engine's own argmax emits it. vLLM computes raw log-probabilities before any processor runs
(`v1/sample/sampler.py`, step 1), so they stay those of the unmodified logits.

Only the top 64 logits of a row are looked at, as a release caps top-k at 64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from protocol.release import TOP_K_MAX
from protocol.structure import Structure
from subnet.core.verification.margin import seeded_choice
from subnet.core.verification.noise import position_of, seed_prefix
from subnet.core.verification.support import SamplingRows
from subnet.edge.candidates import best_of
from subnet.edge.grammar import Walk, empty_masks, grammars_of, mask_logits

SEEDED_KEYS: Final = ("temperature_milli", "top_p_milli", "top_k", "seed")
STRUCTURE_KEY: Final = "structure"
_WINNER: Final = float(np.finfo(np.float32).max)
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]


def seeded_params(
    *,
    temperature_milli: int,
    top_p_milli: int,
    top_k: int,
    seed: int,
    tokens_max: int,
    stop_token_ids: Sequence[int],
    output_kind: RequestOutputKind = RequestOutputKind.DELTA,
    structure: str | None = None,
) -> SamplingParams:
    """vLLM parameters for one seeded request: token ids only, the sampled token's raw logprob.

    `ignore_eos` is set, because the release's stop tokens alone decide where an answer ends.
    `structure` is a `protocol.structure.Structure` as JSON.
    """
    return SamplingParams(
        temperature=0.0,
        max_tokens=tokens_max,
        stop_token_ids=list(stop_token_ids),
        ignore_eos=True,
        logprobs=0,
        detokenize=False,
        output_kind=output_kind,
        extra_args={
            "temperature_milli": temperature_milli,
            "top_p_milli": top_p_milli,
            "top_k": top_k,
            "seed": seed,
            **({} if structure is None else {STRUCTURE_KEY: structure}),
        },
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One request in the batch. `output_ids` is vLLM's own list: its length is the progress."""

    temperature: float
    top_p: float
    top_k: int
    prefix: int
    first_position: int
    output_ids: list[int]
    walk: Walk | None

    def mask(self, mask: torch.Tensor) -> None:
        """Write into `mask` [1, words] what the structure allows next."""
        assert self.walk is not None
        for token in self.output_ids[self.walk.tokens :]:
            self.walk.accept(token)
        self.walk.fill(mask)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The seeded rows that the engine's argmax does not do right by itself, as arrays.

    Rebuilt only when the batch changes. Greedy rows without a structure are left out.
    """

    indices: _Ints
    temperature: _Floats
    top_p: _Floats
    top_k: _Ints
    prefix: _Ints
    first_position: _Ints
    output_ids: list[list[int]]
    top_k_max: int
    structured: list[tuple[int, _Row]]
    """Batch index and row."""

    @classmethod
    def pack(cls, rows: dict[int, _Row]) -> "_Batch | None":
        """Arrays in the order of batch indices; None when nothing needs us."""
        drawn = sorted(
            ((index, row) for index, row in rows.items() if row.temperature > 0 or row.walk),
            key=lambda pair: pair[0],
        )
        if not drawn:
            return None
        return cls(
            indices=np.array([index for index, _ in drawn], dtype=np.int64),
            temperature=np.array([row.temperature for _, row in drawn], dtype=np.float32),
            top_p=np.array([row.top_p for _, row in drawn], dtype=np.float32),
            top_k=np.array([row.top_k for _, row in drawn], dtype=np.int64),
            prefix=np.array([row.prefix for _, row in drawn], dtype=np.int64),
            first_position=np.array([row.first_position for _, row in drawn], dtype=np.int64),
            output_ids=[row.output_ids for _, row in drawn],
            top_k_max=max(row.top_k for _, row in drawn),
            structured=[pair for pair in drawn if pair[1].walk],
        )

    def sampling_rows(self) -> SamplingRows:
        """The rows as they stand at this step."""
        done = np.fromiter(map(len, self.output_ids), np.int64, len(self.output_ids))
        return SamplingRows(
            self.temperature, self.top_p, self.top_k, self.prefix, self.first_position + done
        )


class SeededSampler(LogitsProcessor):
    """Pass the class, or "subnet.edge.seeded_sampler:SeededSampler", as `logits_processors`.

    Requests without our keys are left alone. A mistake in the parameters raises ValueError when
    the request is added, which vLLM hands to the caller.
    """

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Raise ValueError for a seeded request that could not be verified."""
        args = sampling_params.extra_args or {}
        if not any(key in args for key in SEEDED_KEYS):
            return
        missing = [key for key in SEEDED_KEYS if not isinstance(args.get(key), int)]
        if missing:
            raise ValueError(f"seeded sampling needs integers for {', '.join(missing)}")
        for key, low, high in (
            ("temperature_milli", 0, 2000),
            ("top_p_milli", 1, 1000),
            ("top_k", 1, TOP_K_MAX),
            ("seed", 0, 2**64 - 1),
        ):
            if not low <= args[key] <= high:
                raise ValueError(f"{key} is {args[key]}, must lie in {low}..{high}")
        if not isinstance(args.get(STRUCTURE_KEY, ""), str):
            raise ValueError("structure is a JSON text")
        if sampling_params.temperature != 0:
            raise ValueError("a seeded request enters the engine with temperature 0")
        altering = [name for name, value in _altering(sampling_params).items() if value]
        if altering:
            raise ValueError(f"not verified together with seeded sampling: {', '.join(altering)}")

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._config = vllm_config
        self._rows: dict[int, _Row] = {}
        self._batch: _Batch | None = None

    def is_argmax_invariant(self) -> bool:
        """False: changing the argmax is the point."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests as they enter, leave and move inside the batch."""
        if batch_update is None:
            return
        process_dict_updates(self._rows, batch_update, self._row_of)
        self._batch = _Batch.pack(self._rows)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Make the seeded choice the argmax of each seeded row of `logits` [batch, vocab]."""
        batch = self._batch
        if batch is None:
            return logits
        vocab_size = logits.shape[1]
        if batch.structured:
            _mask_rows(logits, batch.structured)
        whole = len(batch.indices) == logits.shape[0]
        rows = logits if whole else logits[torch.from_numpy(batch.indices).to(logits.device)]
        values, ids = _on_host(best_of(rows, min(batch.top_k_max, vocab_size)))
        broken = ~np.isfinite(values[:, 0]) | np.isnan(values[:, -1])
        if broken.any():
            values, ids = self._mend(logits, batch, broken, values, ids)
        chosen = seeded_choice(values, ids, batch.sampling_rows(), vocab_size, np)
        if logits.device.type == "cpu":
            logits.numpy()[batch.indices, chosen] = _WINNER
        else:
            where = torch.from_numpy(np.stack((batch.indices, chosen))).to(logits.device)
            logits[where[0], where[1]] = _WINNER
        return logits

    def _row_of(
        self, params: SamplingParams, prompt_ids: list[int] | None, output_ids: list[int]
    ) -> _Row | None:
        args = params.extra_args or {}
        if "seed" not in args:
            return None
        assert prompt_ids is not None, "seeded requests come as token ids, never as embeddings"
        return _Row(
            temperature=args["temperature_milli"] / 1000,
            top_p=args["top_p_milli"] / 1000,
            top_k=args["top_k"],
            prefix=seed_prefix(args["seed"]),
            first_position=position_of(len(prompt_ids), 0),
            output_ids=output_ids,
            walk=self._walk(params, args.get(STRUCTURE_KEY)),
        )

    def _walk(self, params: SamplingParams, text: str | None) -> Walk | None:
        """A walk through a structure, as a rule compiled before the request was added.

        Workers of a parallel engine compile for themselves.
        """
        if text is None:
            return None
        stops = tuple(sorted(params.stop_token_ids or ()))
        model = self._config.model_config
        grammars = grammars_of(Path(model.model), model.get_vocab_size(), stops)
        return grammars.walk(Structure.model_validate_json(text))

    def _mend(
        self,
        logits: torch.Tensor,
        batch: _Batch,
        broken: npt.NDArray[np.bool_],
        values: _Floats,
        ids: _Ints,
    ) -> tuple[_Floats, _Ints]:
        """Replace NaN and infinities in broken rows, which would win the engine's argmax."""
        index = torch.from_numpy(batch.indices[broken]).to(logits.device)
        clean = torch.nan_to_num(logits[index], nan=-1e30, posinf=1e30, neginf=-1e30)
        logits[index] = clean
        values[broken], ids[broken] = _on_host(best_of(clean, values.shape[1]))
        return values, ids


def _mask_rows(logits: torch.Tensor, structured: list[tuple[int, _Row]]) -> None:
    """Bar what the rows' structures bar, in place: a NaN would win the engine's argmax."""
    index = torch.tensor([place for place, _ in structured], device=logits.device)
    masks = empty_masks(len(structured), logits.shape[1])
    for number, (_, row) in enumerate(structured):
        row.mask(masks[number : number + 1])
    clean = torch.nan_to_num(logits[index], nan=-1e30, posinf=1e30, neginf=-1e30)
    mask_logits(clean, masks)
    logits[index] = clean


def _altering(params: SamplingParams) -> dict[str, Any]:
    """Parameters that change tokens before or after us, with a truthy value when in use."""
    return {
        "min_tokens": params.min_tokens,
        "min_p": params.min_p,
        "logit_bias": params.logit_bias,
        "bad_words": params.bad_words,
        "allowed_token_ids": params.allowed_token_ids,
        "structured_outputs": params.structured_outputs,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "repetition_penalty": params.repetition_penalty != 1,
        "repetition_detection": params.repetition_detection,
        "thinking_token_budget": params.thinking_token_budget is not None,
        "trace_decode_token_ids": params.trace_decode_token_ids,
    }


def _on_host(found: tuple[Any, Any]) -> tuple[_Floats, _Ints]:
    values, ids = found
    return (
        (values, ids)
        if isinstance(values, np.ndarray)
        else (values.cpu().numpy(), ids.cpu().numpy())
    )
