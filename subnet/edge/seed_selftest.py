"""engine -> SELF-TEST -> serve or refuse: do vLLM's own seeds draw our noise on this machine?

Written, unproved: the kernel was run on a GPU (docs/benchmarks.md), runner V2 never. On GPUs vLLM's
model runner V2 samples by a request's `seed` with the noise that the referee recomputes
(`core.verification.noise`). A changed kernel, or vLLM's silent fall-back to runner V1, would make
every honest answer look forged; so 1,000 tokens are sampled and recomputed before the first
customer is served.

The answers are their own evidence: each token must be the seeded choice among the engine's best
log-probabilities, which differ from its logits by a constant that no choice depends on.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from protocol.release import TOP_K_MAX
from subnet.core.verification.margin import margins
from subnet.core.verification.noise import position_of, seed_prefix
from subnet.core.verification.support import SamplingRows
from subnet.ports import EngineError

TOKENS: Final = 1_000
ANSWERS: Final = 20
ROUNDING_LOGITS: Final = 1e-4
"""More than fp32 noise differs between logarithms (4e-6), and the log-probabilities' rounding."""
MISFITS_MAX: Final = 2
"""Tokens of 1,000 that may lose a near tie. Foreign noise misfits in about half of them."""


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """What an engine sampled at temperature 1, top-p 1 and top-k 64 from one seed."""

    prompt_tokens: int
    seed: int
    token_ids: npt.NDArray[np.int64]
    """[n]"""
    best_ids: npt.NDArray[np.int64]
    """[n, 64], in the order of their raw log-probabilities."""
    best_logprobs: npt.NDArray[np.float64]
    """[n, 64], descending."""


class SeedProbe(Protocol):
    """The engine as the self-test needs it."""

    def sample(self, seed: int, tokens: int) -> SampledAnswer: ...


def check_seeds(probe: SeedProbe, vocab_size: int) -> None:
    """Raise EngineError unless the engine's own seeds draw our noise."""
    misfits, tokens = 0, 0
    for number in range(ANSWERS):
        # Seeds of all sizes: a runner that cuts them to 32 bits must be seen.
        answer = probe.sample(number + (number << 40), TOKENS // ANSWERS)
        found = _margins(answer, vocab_size)
        misfits += int((found > ROUNDING_LOGITS).sum())
        tokens += len(found)
    if tokens < TOKENS:
        raise EngineError(f"the seed self-test sampled {tokens} of {TOKENS} tokens")
    if misfits > MISFITS_MAX:
        raise EngineError(
            f"vLLM's seeds do not draw the noise that validators recompute: {misfits} of {tokens} "
            "tokens differ; every answer would be taken for a forgery, so nothing is served"
        )


def check_runner(engine: Any) -> None:
    """Raise EngineError unless vLLM (an `LLMEngine`) runs the model by its runner V2."""
    if not engine.vllm_config.use_v2_model_runner:
        raise EngineError(
            "vLLM fell back to its model runner V1, whose seeds draw other noise; see its log for "
            "what V2 does not support"
        )


def _margins(answer: SampledAnswer, vocab_size: int) -> npt.NDArray[np.float64]:
    count = len(answer.token_ids)
    is_own = answer.best_ids == answer.token_ids[:, None]
    own = np.where(is_own, answer.best_logprobs, -np.inf).max(axis=1)
    rows = SamplingRows(
        temperature=np.ones(count),
        top_p=np.ones(count),
        top_k=np.full(count, min(TOP_K_MAX, vocab_size)),
        prefix=np.full(count, seed_prefix(answer.seed)),
        position=position_of(answer.prompt_tokens, np.arange(count)),
    )
    found: npt.NDArray[np.float64] = margins(
        answer.best_logprobs, answer.best_ids, answer.token_ids, own, rows, vocab_size, 0.0, np
    )
    return found
