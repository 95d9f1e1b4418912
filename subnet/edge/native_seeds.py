"""request -> VLLM'S OWN SEED -> seeded tokens: sampling by runner V2, without our processor.

Written, unproved: the kernel was run on a GPU (docs/benchmarks.md), runner V2 never. vLLM's kernel
takes the seed as a signed 64-bit word and places token k at prompt length - 1 + k, as
`core.verification.noise` does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from protocol.release import TOP_K_MAX
from subnet.edge.seed_selftest import SampledAnswer

PROMPT = (5, 6, 7, 8)


def native_params(
    *,
    temperature_milli: int,
    top_p_milli: int,
    top_k: int,
    seed: int,
    tokens_max: int,
    stop_token_ids: Sequence[int],
    logprobs: int = 0,
) -> SamplingParams:
    """As `seeded_sampler.seeded_params`, for an engine that draws our noise itself.

    One seed of 2**64, whose word is -1, means "none" to vLLM.
    """
    return SamplingParams(
        temperature=temperature_milli / 1000,
        top_p=top_p_milli / 1000,
        top_k=top_k,
        seed=seed - 2**64 if seed >= 2**63 else seed,
        max_tokens=tokens_max,
        stop_token_ids=list(stop_token_ids),
        ignore_eos=True,
        logprobs=logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


class EngineProbe:
    """`seed_selftest.SeedProbe` over vLLM's `LLMEngine`, idle, with `max_logprobs` of 64."""

    def __init__(self, engine: Any, vocab_size: int) -> None:
        self._engine = engine
        self._best = min(TOP_K_MAX, vocab_size)

    def sample(self, seed: int, tokens: int) -> SampledAnswer:
        """One answer, from the engine core's arrays: the sampled token first, then the best."""
        params = native_params(
            temperature_milli=1000,
            top_p_milli=1000,
            top_k=self._best,
            seed=seed,
            tokens_max=tokens,
            stop_token_ids=(),
            logprobs=self._best,
        )
        prompt = {"type": "token", "prompt_token_ids": list(PROMPT)}
        processor = self._engine.input_processor
        request = processor.process_inputs(
            f"selftest-{seed}", prompt, params, supported_tasks=("generate",)
        )
        processor.assign_request_id(request)
        core = self._engine.engine_core
        core.add_request(request)
        chosen: list[int] = []
        ids, logprobs = [], []
        is_finished = False
        while not is_finished:
            for output in core.get_output().outputs:
                if output.new_logprobs is not None:
                    chosen += output.new_token_ids
                    ids.append(output.new_logprobs.logprob_token_ids[:, 1:])
                    logprobs.append(output.new_logprobs.logprobs[:, 1:])
                is_finished = output.finish_reason is not None
        return SampledAnswer(
            len(PROMPT),
            seed,
            np.array(chosen, np.int64),
            np.concatenate(ids).astype(np.int64),
            np.concatenate(logprobs).astype(np.float64),
        )
