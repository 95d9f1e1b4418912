"""The self-test over vLLM's interfaces, with a made-up engine core: no GPU is needed to read it."""

from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.engine

pytest.importorskip("vllm")

from subnet.edge.native_seeds import PROMPT, EngineProbe, native_params  # noqa: E402
from subnet.edge.seed_selftest import check_seeds  # noqa: E402
from subnet.ports import EngineError  # noqa: E402
from tests.unit.edge.test_seed_selftest import VOCABULARY, MadeUpEngine  # noqa: E402


class MadeUpCore:
    """Emits what `MadeUpEngine` samples, two tokens a step, as vLLM's engine core does."""

    def __init__(self, shift):
        self.source = MadeUpEngine(shift=shift + len(PROMPT) - 7)

    def process_inputs(self, name, prompt, params, supported_tasks):
        assert prompt["prompt_token_ids"] == list(PROMPT)
        return SimpleNamespace(request_id=name, params=params)

    def assign_request_id(self, request):
        request.request_id += "-unique"

    def add_request(self, request):
        params = request.params
        assert (params.temperature, params.top_p, params.top_k) == (1.0, 1.0, 64)
        self.answer = self.source.sample(params.seed, params.max_tokens)
        self.done = 0

    def get_output(self):
        part = slice(self.done, self.done + 2)
        self.done += 2
        chosen = self.answer.token_ids[part]
        own = np.zeros((len(chosen), 1))
        logprobs = SimpleNamespace(
            logprob_token_ids=np.hstack((chosen[:, None], self.answer.best_ids[part])),
            logprobs=np.hstack((own, self.answer.best_logprobs[part])),
        )
        is_last = self.done >= len(self.answer.token_ids)
        output = SimpleNamespace(
            new_token_ids=chosen.tolist(),
            new_logprobs=logprobs,
            finish_reason=1 if is_last else None,
        )
        return SimpleNamespace(outputs=[output])


def probe(shift):
    core = MadeUpCore(shift)
    return EngineProbe(SimpleNamespace(engine_core=core, input_processor=core), VOCABULARY)


def test_an_engine_core_with_our_noise_passes_and_one_a_position_off_does_not():
    check_seeds(probe(0), VOCABULARY)
    with pytest.raises(EngineError, match="do not draw the noise"):
        check_seeds(probe(1), VOCABULARY)


def test_a_seed_reaches_vllm_as_the_signed_word_with_the_same_bits():
    for seed in (0, 2**63 - 1, 2**63, 2**64 - 2):
        made = native_params(
            temperature_milli=700,
            top_p_milli=950,
            top_k=50,
            seed=seed,
            tokens_max=4,
            stop_token_ids=[2],
        )
        assert np.array([made.seed]).astype(np.int64).view(np.uint64)[0] == seed
        assert (made.temperature, made.top_p, made.top_k) == (0.7, 0.95, 50)
