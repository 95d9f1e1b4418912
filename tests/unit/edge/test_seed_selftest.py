"""An engine whose seeds draw other noise is refused before it serves. No GPU: a made-up engine."""

from types import SimpleNamespace

import numpy as np
import pytest

from subnet.core.verification.margin import seeded_choice
from subnet.core.verification.noise import seed_prefix
from subnet.core.verification.support import SamplingRows
from subnet.edge.seed_selftest import SampledAnswer, check_runner, check_seeds
from subnet.ports import EngineError

VOCABULARY, PROMPT_TOKENS = 500, 7


class MadeUpEngine:
    """Samples random logits as vLLM's runner V2 does, or a little differently."""

    def __init__(self, *, shift=0, seed_of=lambda seed: seed, cut=None):
        self.shift, self.seed_of, self.cut = shift, seed_of, cut

    def sample(self, seed, tokens):
        dice = np.random.default_rng(seed)
        logits = dice.normal(0, 2, (tokens, VOCABULARY))
        ids = np.argsort(-logits, axis=1)[:, :64]
        best = np.take_along_axis(logits, ids, axis=1)
        rows = SamplingRows(
            np.ones(tokens),
            np.ones(tokens),
            np.full(tokens, 64),
            np.full(tokens, seed_prefix(self.seed_of(seed))),
            PROMPT_TOKENS - 1 + self.shift + np.arange(tokens),
        )
        chosen = seeded_choice(best, ids, rows, VOCABULARY, np)
        logprobs = best - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        logprobs = logprobs.astype(np.float32).astype(np.float64)
        answer = SampledAnswer(PROMPT_TOKENS, seed, chosen, ids, logprobs)
        if self.cut is None:
            return answer
        parts = (chosen[: self.cut], ids[: self.cut], logprobs[: self.cut])
        return SampledAnswer(PROMPT_TOKENS, seed, *parts)


def test_an_engine_with_our_noise_is_served():
    check_seeds(MadeUpEngine(), VOCABULARY)


@pytest.mark.parametrize(
    "engine",
    [
        MadeUpEngine(shift=1),
        MadeUpEngine(seed_of=lambda seed: seed ^ 1),
        MadeUpEngine(seed_of=lambda seed: seed & 0xFFFFFFFF),
    ],
    ids=["position", "seed", "half a seed"],
)
def test_an_engine_with_other_noise_is_refused(engine):
    with pytest.raises(EngineError, match="do not draw the noise"):
        check_seeds(engine, VOCABULARY)


def test_too_few_tokens_prove_nothing():
    with pytest.raises(EngineError, match="of 1000 tokens"):
        check_seeds(MadeUpEngine(cut=10), VOCABULARY)


def test_vllms_silent_fall_back_is_refused():
    check_runner(SimpleNamespace(vllm_config=SimpleNamespace(use_v2_model_runner=True)))
    with pytest.raises(EngineError, match="runner V1"):
        check_runner(SimpleNamespace(vllm_config=SimpleNamespace(use_v2_model_runner=False)))
