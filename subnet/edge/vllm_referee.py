"""claims -> VLLM REFEREE -> margins: teacher-forced prefill by vLLM, for whoever runs it anyway.

The second backend beside `torch_referee`, and so a second opinion by other kernels. An answer goes
in as part of the prompt; vLLM returns each position's 64 best raw log-probabilities and the claimed
token's own. A log-probability is its logit minus one constant of the position, and neither support
nor margin looks at anything but differences, so both are those of the logits.

The engine core's tensors are read directly: vLLM's output processor would build Python objects for
65 tokens a position, by `flat_logprobs` in a loop as well.

Blocking and heavy: call it through `asyncio.to_thread`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from protocol.inference import Environment
from protocol.release import TOP_K_MAX, Release
from protocol.structure import Structure
from subnet.core.verification.candidates import best_candidates
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.margin import margins, seeded_choice
from subnet.core.verification.noise import position_of
from subnet.core.verification.rows import logprob_gaps, sampling_rows
from subnet.edge.vllm_runtime import measured_environment, set_engine_environment, start_vllm

if TYPE_CHECKING:
    import torch

    from subnet.edge.grammar import Grammars

_Ids = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
CLAIMS_AT_ONCE: Final = 64
"""Requests that the engine holds: bounds memory to their log-probabilities, 780 bytes a token."""


class VllmReferee:
    """Scores claims against one release's weights. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        *,
        slack_logits: float,
        batch_tokens_max: int = 2048,
        threads: int | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model into an engine in this process; seconds to minutes.

        `slack_logits` comes from the release's calibration. `batch_tokens_max` bounds the tokens,
        and so the rows of logits, of one step. `threads` of a CPU. `arguments` are vLLM engine
        arguments (`engine_args.parse_engine_arguments`). Raises ConfigError for impossible ones.
        """
        chosen = {"max_num_batched_tokens": batch_tokens_max, **(arguments or {})}
        set_engine_environment(chosen, threads)
        self._best = min(TOP_K_MAX, release.vocab_size)
        # vLLM wants room to generate one token, which we throw away and no model sees.
        room = release.context_tokens_max + 1
        # What a mask leaves may lie anywhere in the vocabulary.
        most = self._best if release.grammar is None else release.vocab_size
        purpose = {"max_logprobs": most, "max_model_len": room}
        self._engine = start_vllm(release, folder, CLAIMS_AT_ONCE, chosen, purpose)
        self._core = self._engine.engine_core
        self._grammars = _grammars(release, folder)
        self._vocab_size = release.vocab_size
        self._slack_logits = slack_logits
        self._environment = measured_environment(release)

    @property
    def environment(self) -> Environment:
        """The engine's fingerprint."""
        return self._environment

    def score(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        """Margins and log-probability gaps of each claim, in the order given.

        A claim fits the release's context: `structural_fault` has seen to it.
        """
        scores = [ClaimScore((), ())] * len(claims)
        answered = [index for index, claim in enumerate(claims) if claim.output_token_ids]
        free = [index for index in answered if claims[index].structure is None]
        together = [free[n : n + CLAIMS_AT_ONCE] for n in range(0, len(free), CLAIMS_AT_ONCE)]
        alone = [[index] for index in answered if claims[index].structure is not None]
        for batch in (*together, *alone):
            running = {self._add(index, claims[index]): index for index in batch}
            while running:
                for output in self._core.get_output().outputs:
                    found = output.new_prompt_logprobs_tensors
                    if found is not None:
                        index = running.pop(output.request_id)
                        scores[index] = self._scored(claims[index], found)
        return scores

    def continued(self, claims: Sequence[Claim], tokens: int) -> list[Claim]:
        """The claims with `tokens` more tokens as an honest sampler emits them, past any stop,
        each under its structure.

        One full pass a token and claim: for a few short answers whose truth must be known.
        """
        made = list(claims)
        for _ in range(tokens):
            running = {self._ask_next(index, claim): index for index, claim in enumerate(made)}
            while running:
                for output in self._core.get_output().outputs:
                    if output.new_logprobs is not None and output.request_id in running:
                        index = running.pop(output.request_id)
                        made[index] = self._with_next_token(made[index], output.new_logprobs)
        return made

    def close(self) -> None:
        """Give the engine's resources back."""
        self._core.shutdown()

    def _add(self, index: int, claim: Claim) -> str:
        """Start the prefill of a whole answer; vLLM's name for it."""
        return self._start(index, claim, {"prompt_logprobs": self._wanted(claim)})

    def _ask_next(self, index: int, claim: Claim) -> str:
        """Start the pass that gives the next token's log-probabilities; vLLM's name for it."""
        return self._start(index, claim, {"logprobs": self._wanted(claim)})

    def _wanted(self, claim: Claim) -> int:
        """How many of the best log-probabilities cover what a structure may leave."""
        return self._best if claim.structure is None else self._vocab_size

    def _start(self, index: int, claim: Claim, wanted: Mapping[str, int]) -> str:
        from vllm import SamplingParams

        ids = np.array(claim.prompt_token_ids + claim.output_token_ids, np.int64)
        known = ids.clip(0, self._vocab_size - 1).tolist()
        params = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False, **wanted)
        processor = self._engine.input_processor
        request = processor.process_inputs(
            str(index),
            {"type": "token", "prompt_token_ids": known},
            params,
            supported_tasks=("generate",),
        )
        processor.assign_request_id(request)
        self._core.add_request(request)
        return str(request.request_id)

    def _with_next_token(self, claim: Claim, found: Any) -> Claim:
        """`found` are vLLM's `LogprobsLists` of one position: the greedy token, then the best."""
        ids = np.array(found.logprob_token_ids, np.int64)[:, 1:]
        logprobs = np.array(found.logprobs, np.float64)[:, 1:]
        if claim.structure is not None:
            # The mask before a token does not depend on the token.
            any_next = np.array((*claim.output_token_ids, 0), np.int64)
            masks = self._masks(claim.structure, any_next)[-1:]
            logprobs, ids = self._masked(masks, logprobs, ids)
        position = len(claim.prompt_token_ids) + len(claim.output_token_ids) - 1
        rows = sampling_rows([claim], np.array([0]), np.array([position]))
        (chosen,) = seeded_choice(logprobs, ids, rows, self._vocab_size, np)
        return replace(claim, output_token_ids=(*claim.output_token_ids, int(chosen)))

    def _scored(self, claim: Claim, found: Any) -> ClaimScore:
        """`found` are vLLM's `LogprobsTensors`: the claimed token first, then the best."""
        tokens = len(claim.output_token_ids)
        logprobs = found.logprobs[-tokens:].double().cpu().numpy()
        ids = found.logprob_token_ids[-tokens:].long().cpu().numpy()
        claimed = np.array(claim.output_token_ids, np.int64)
        own = logprobs[:, 0]
        best, known = logprobs[:, 1:], ids[:, 1:]
        is_possible = ids[:, 0] == claimed
        if claim.structure is not None:
            masks = self._masks(claim.structure, claimed)
            best, known = self._masked(masks, best, known)
            is_possible &= _is_allowed(masks, claimed[:, None])[:, 0]
        positions = position_of(len(claim.prompt_token_ids), np.arange(tokens))
        margin = margins(
            best,
            known,
            claimed,
            np.where(is_possible, own, -np.inf),
            sampling_rows([claim], np.zeros(tokens, np.int64), positions),
            self._vocab_size,
            self._slack_logits,
            np,
        )
        return ClaimScore(tuple(margin.tolist()), logprob_gaps(claim, own))

    def _masks(self, structure: Structure, claimed: _Ids) -> "torch.Tensor":
        """The mask [n, words] before each of the claimed tokens [n]."""
        assert self._grammars is not None, "structured answers need the release's grammars"
        return self._grammars.masks(structure, claimed.tolist())

    def _masked(self, masks: "torch.Tensor", logprobs: _Floats, ids: _Ids) -> tuple[_Floats, _Ids]:
        """The best of [n, k] that the masks [n, words] allow, and their ids."""
        allowed = np.where(_is_allowed(masks, ids), logprobs, -np.inf)
        best, places = best_candidates(allowed.astype(np.float32), self._best)
        return best.astype(np.float64), np.take_along_axis(ids, places, axis=1)


def _is_allowed(masks: "torch.Tensor", token_ids: _Ids) -> npt.NDArray[np.bool_]:
    """Loads torch, whose environment has to be set before."""
    from subnet.edge.grammar import is_allowed

    return is_allowed(masks, token_ids)


def _grammars(release: Release, folder: Path) -> "Grammars | None":
    """Loads torch, whose environment has to be set before."""
    from subnet.edge.grammar import release_grammars

    return release_grammars(release, folder)
