"""claims -> REFEREE -> margins: one teacher-forced prefill per answer, by transformers.

Another code base than the miner's on purpose: what both agree on is the model, not a bug. Right
padding needs no attention mask, as a causal model never looks at what follows. Only the hidden
states of answer positions meet the vocabulary, a bounded number at a time.

Blocking and heavy: call it through `asyncio.to_thread`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from protocol.inference import Environment
from protocol.release import TOP_K_MAX
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.margin import margins, seeded_choice
from subnet.core.verification.noise import position_of
from subnet.core.verification.rows import logprob_gaps, sampling_rows
from subnet.core.verification.support import SamplingRows
from subnet.edge.candidates import best_of
from subnet.edge.grammar import Grammars, empty_masks, mask_logits
from subnet.edge.torch_device import device_name
from subnet.edge.wide_linear import widen

_LOGITS_IN_FLIGHT: Final = 8_000_000
"""Logits computed at once: 32 MB in fp32."""
_GPU_LOGITS_IN_FLIGHT: Final = 128_000_000
"""512 MB: fewer positions at once would read the output layer too often."""
_RESHAPED_LOGITS: Final = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class UnsupportedModelError(Exception):
    """The model changes its logits after the output layer, which the referee does not replay."""


_COLUMNS: Final = tuple(SamplingRows.__dataclass_fields__)


class TorchReferee:
    """Scores claims against one release's weights. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        model_dir: str | Path,
        *,
        dtype: str,
        slack_logits: float,
        batch_tokens_max: int = 2048,
        threads: int = 1,
        device: str = "cpu",
        grammars: Grammars | None = None,
    ) -> None:
        """Load the weights of `model_dir` (safetensors only; no code from the model runs).

        `slack_logits` comes from the release's calibration. `batch_tokens_max` bounds the padded
        tokens of one forward pass; one longer answer still goes alone. `grammars` replay the masks
        of structured answers; without them no such claim may come. Raises OSError when the
        directory holds no model, UnsupportedModelError when it is of a kind that we cannot replay.
        """
        if not (Path(model_dir) / "config.json").is_file():
            raise FileNotFoundError(f"{model_dir} holds no model: config.json is missing")
        disable_progress_bar()
        self._threads = threads
        torch.set_num_threads(threads)
        model = AutoModelForCausalLM.from_pretrained(
            str(model_dir),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        reshaped = [name for name in _RESHAPED_LOGITS if getattr(model.config, name, None)]
        if reshaped:
            raise UnsupportedModelError(f"{model_dir}: {', '.join(reshaped)} is not replayed")
        model.eval().to(device)
        widen(model)
        self._decoder: Any = model.get_decoder()
        self._head: Any = model.get_output_embeddings()
        self._vocab_size = int(self._head.weight.shape[0])
        self._slack_logits = slack_logits
        self._batch_tokens_max = batch_tokens_max
        self._device = device
        self._grammars = grammars
        self._xp: Any = np if device == "cpu" else torch
        self._candidates = min(TOP_K_MAX, self._vocab_size)
        at_once = _LOGITS_IN_FLIGHT if device == "cpu" else _GPU_LOGITS_IN_FLIGHT
        self._rows_in_flight = max(1, at_once // self._vocab_size)
        self._environment = Environment(
            engine=f"transformers-{transformers.__version__}",
            torch=torch.__version__,
            device=device_name(on_gpu=device != "cpu"),
            dtype=dtype,
        )

    @property
    def environment(self) -> Environment:
        """The numerics' fingerprint of the passes."""
        return self._environment

    def score(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        """Margins and log-probability gaps of each claim, in the order given."""
        torch.set_num_threads(self._threads)  # OpenMP keeps this setting per calling thread.
        scores: list[ClaimScore] = [ClaimScore((), ())] * len(claims)
        with torch.inference_mode():
            for batch in self._batches(claims):
                for index, score in zip(
                    batch, self._score_batch([claims[i] for i in batch]), strict=True
                ):
                    scores[index] = score
        return scores

    def continued(self, claims: Sequence[Claim], tokens: int) -> list[Claim]:
        """The claims with `tokens` more tokens as an honest sampler emits them, past any stop,
        each under its structure.

        One full pass a token and claim: for a few short answers whose truth must be known.
        """
        torch.set_num_threads(self._threads)
        made = list(claims)
        for _ in range(tokens):
            made = [self._with_next_token(claim) for claim in made]
        return made

    def _with_next_token(self, claim: Claim) -> Claim:
        ids = claim.prompt_token_ids + claim.output_token_ids
        with torch.inference_mode():
            inputs = torch.tensor([ids], device=self._device)
            hidden = self._decoder(input_ids=inputs, use_cache=False).last_hidden_state[:, -1]
            logits = self._head(hidden).float()
            # The mask before a token does not depend on the token.
            masks = self._masks([replace(claim, output_token_ids=(*claim.output_token_ids, 0))])
            if masks is not None:
                mask_logits(logits, masks[-1:])
            best_logits, best = best_of(logits, self._candidates)
        rows = sampling_rows([claim], np.array([0]), np.array([len(ids) - 1]))
        (chosen,) = seeded_choice(_numpy(best_logits), _numpy(best), rows, self._vocab_size, np)
        return replace(claim, output_token_ids=(*claim.output_token_ids, int(chosen)))

    def _batches(self, claims: Sequence[Claim]) -> Iterator[list[int]]:
        """Indices of claims of similar length, padded together within the bound."""
        lengths = [len(c.prompt_token_ids) + len(c.output_token_ids) - 1 for c in claims]
        order = sorted(
            (i for i, c in enumerate(claims) if c.output_token_ids), key=lambda i: -lengths[i]
        )
        start = 0
        while start < len(order):
            width = max(1, self._batch_tokens_max // lengths[order[start]])
            yield order[start : start + width]
            start += width

    def _score_batch(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        owner, positions = _places(claims)
        claimed = np.concatenate([np.array(c.output_token_ids, np.int64) for c in claims])
        wanted = self._hidden(claims, owner, positions)
        rows = sampling_rows(claims, owner, positions)
        margin, logprob = self._against_vocabulary(wanted, claimed, rows, self._masks(claims))

        cuts = np.cumsum([len(claim.output_token_ids) for claim in claims])[:-1]
        return [
            ClaimScore(tuple(m.tolist()), logprob_gaps(claim, own))
            for claim, m, own in zip(
                claims, np.split(margin, cuts), np.split(logprob, cuts), strict=True
            )
        ]

    def _hidden(
        self,
        claims: Sequence[Claim],
        owner: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
    ) -> torch.Tensor:
        """Last hidden states [n, width] at the positions that answers were sampled at."""
        ids = [np.array(c.prompt_token_ids + c.output_token_ids[:-1], np.int64) for c in claims]
        inputs = np.zeros((len(ids), max(map(len, ids))), np.int64)
        for row, line in zip(inputs, ids, strict=True):
            row[: len(line)] = line
        np.clip(inputs, 0, self._vocab_size - 1, out=inputs)
        hidden = self._decoder(
            input_ids=torch.from_numpy(inputs).to(self._device), use_cache=False
        ).last_hidden_state
        wanted: torch.Tensor = hidden[torch.from_numpy(owner), torch.from_numpy(positions)]
        return wanted

    def _against_vocabulary(
        self,
        hidden: torch.Tensor,
        claimed: npt.NDArray[np.int64],
        rows: SamplingRows,
        masks: torch.Tensor | None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Margin and raw log-probability [n] of each claimed token, under `masks` [n, words].

        Computed where the logits are: by numpy on a CPU, where it is faster, by torch on a GPU,
        where 64 candidates a row would take longer to leave than to score.
        """
        xp = self._xp
        known = claimed.clip(0, self._vocab_size - 1)
        at = torch.from_numpy(known[:, None]).to(self._device)
        width = self._rows_in_flight
        barred = itertools.repeat(None) if masks is None else masks.split(width)
        chunks = zip(hidden.split(width), at.split(width), barred, strict=False)
        read = zip(*(self._read(*chunk) for chunk in chunks), strict=True)
        values, ids, own, logprob = (xp.concatenate(column) for column in read)
        margin = margins(
            values,
            ids,
            self._array(claimed),
            xp.where(self._array(known == claimed), own, -xp.inf),
            SamplingRows(*(self._array(getattr(rows, name)) for name in _COLUMNS)),
            self._vocab_size,
            self._slack_logits,
            xp,
        )
        return _numpy(margin), _numpy(logprob)

    def _read(
        self, hidden: torch.Tensor, at: torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[Any, Any, Any, Any]:
        """The best logits and their ids [n, k], the logits and log-probabilities at `at` [n].

        Masks count for the logits alone: log-probabilities are those before any parameter.
        """
        logits = self._head(hidden)
        if self._xp is np:
            logits = logits.float()  # numpy knows no bf16.
        # One pass over the vocabulary; logsumexp takes three.
        logprob = torch.log_softmax(logits, 1, dtype=torch.float32).gather(1, at)[:, 0]
        if masks is not None:
            mask_logits(logits, masks)
        values, ids = best_of(logits, self._candidates)
        own = logits.gather(1, at)[:, 0].double()
        wide = self._xp.asarray(values, dtype=self._xp.float64)
        return wide, ids, self._xp.asarray(own), self._xp.asarray(logprob)

    def _masks(self, claims: Sequence[Claim]) -> torch.Tensor | None:
        """One mask a token of all claims [n, words]; None where no claim has a structure."""
        if all(claim.structure is None for claim in claims):
            return None
        assert self._grammars is not None, "structured answers need the release's grammars"
        return torch.cat(
            [
                empty_masks(len(claim.output_token_ids), self._vocab_size)
                if claim.structure is None
                else self._grammars.masks(claim.structure, claim.output_token_ids)
                for claim in claims
            ]
        )

    def _array(self, values: npt.NDArray[Any]) -> Any:
        """The values where margins are computed."""
        return values if self._xp is np else torch.from_numpy(values).to(self._device)


def _numpy(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)


def _places(claims: Sequence[Claim]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The claim [n] and the position [n] that each output token of a batch was sampled at."""
    counts = np.array([len(claim.output_token_ids) for claim in claims])
    owner = np.repeat(np.arange(len(claims)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    prompts = np.array([len(claim.prompt_token_ids) for claim in claims])
    return owner, position_of(prompts[owner], nth)
