"""A real vLLM engine against a real transformers referee: honest fits, every cheat does not."""

import os
from dataclasses import replace

import numpy as np
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

pytest.importorskip("vllm")

import torch  # noqa: E402
import transformers  # noqa: E402

from subnet.core.verification.claim import Claim  # noqa: E402
from subnet.core.verification.margin import MARGIN_CAP_LOGITS  # noqa: E402
from subnet.edge.torch_referee import TorchReferee  # noqa: E402

VOCABULARY = 1024
STOP = 2
SLACK = 0.15
"""Six times the noise of a randomly initialised model in bf16."""
FAST_START = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


@pytest.fixture(scope="module")
def model_dirs(tmp_path_factory):
    """A random model, and the same one with its weights moved by a tenth."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=256,
            initializer_range=0.12,
        )
    ).to(torch.bfloat16)
    model.save_pretrained(root / "release")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight += 0.1 * weight.float().std() * torch.randn_like(weight)
    model.save_pretrained(root / "other")
    return root


@pytest.fixture(scope="module")
def engine(model_dirs):
    before = dict(os.environ)
    os.environ.update(FAST_START)
    from vllm import LLM

    from subnet.edge.seeded_sampler import SeededSampler

    try:
        yield LLM(
            model=str(model_dirs / "release"),
            skip_tokenizer_init=True,
            enforce_eager=True,
            distributed_executor_backend="uni",
            enable_prefix_caching=False,
            disable_log_stats=True,
            max_logprobs=64,
            max_model_len=200,
            logprobs_mode="raw_logprobs",
            logits_processors=[SeededSampler],
        )
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def referee(model_dirs):
    return TorchReferee(model_dirs / "release", dtype="bfloat16", slack_logits=SLACK)


def answers(engine, count, temperature_milli, top_p_milli, top_k, seed):
    from vllm.sampling_params import RequestOutputKind

    from subnet.edge.seeded_sampler import seeded_params

    dice = np.random.default_rng(seed)
    prompts = [dice.integers(3, VOCABULARY, dice.integers(1, 40)).tolist() for _ in range(count)]
    seeds = [int(value) for value in dice.integers(0, 2**64, count, dtype=np.uint64)]
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        [
            seeded_params(
                temperature_milli=temperature_milli,
                top_p_milli=top_p_milli,
                top_k=top_k,
                seed=one,
                tokens_max=40,
                stop_token_ids=[STOP],
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for one in seeds
        ],
        use_tqdm=False,
    )
    return [
        Claim(
            prompt_token_ids=tuple(prompt),
            output_token_ids=tuple(output.outputs[0].token_ids),
            temperature_milli=temperature_milli,
            top_p_milli=top_p_milli,
            top_k=top_k,
            seed=one,
            logprobs=tuple(
                step[token].logprob
                for token, step in zip(
                    output.outputs[0].token_ids, output.outputs[0].logprobs, strict=True
                )
            ),
            finish_reason=output.outputs[0].finish_reason,
        )
        for prompt, one, output in zip(prompts, seeds, outputs, strict=True)
    ]


def share_above(referee, claims, logits):
    found = np.concatenate([score.margins for score in referee.score(claims)])
    return float((found > logits).mean())


@pytest.fixture(scope="module")
def warm_claims(engine):
    return answers(engine, 48, 1000, 950, 50, seed=1)


@pytest.mark.parametrize(
    ("temperature_milli", "top_p_milli", "top_k"),
    [(0, 1000, 64), (100, 950, 50), (300, 500, 64), (1000, 1000, 64), (2000, 950, 7)],
)
def test_honest_transcripts_have_near_zero_margins(
    engine, referee, temperature_milli, top_p_milli, top_k
):
    claims = answers(engine, 48, temperature_milli, top_p_milli, top_k, seed=temperature_milli)
    assert share_above(referee, claims, 0.3) < 0.002
    assert share_above(referee, claims, 0.0) < 0.05


def test_raw_logprobs_are_those_of_the_unmodified_logits(referee, warm_claims):
    gaps = np.concatenate([score.logprob_gaps for score in referee.score(warm_claims)])
    assert gaps.size == sum(len(claim.output_token_ids) for claim in warm_claims)
    assert gaps.max() < 0.3


def test_the_same_request_alone_gives_the_same_answer(engine, warm_claims):
    again = answers(engine, 48, 1000, 950, 50, seed=1)
    same = sum(one == other for one, other in zip(again, warm_claims, strict=True))
    assert same >= 46


def test_a_foreign_seed_shows_in_most_tokens(referee, warm_claims):
    tampered = [replace(claim, seed=claim.seed ^ 1) for claim in warm_claims]
    assert share_above(referee, tampered, 0.3) > 0.5


def test_another_temperature_shows(referee, warm_claims):
    tampered = [replace(claim, temperature_milli=600) for claim in warm_claims]
    assert share_above(referee, tampered, 0.3) > 0.05


def test_a_wider_top_k_shows_as_tokens_outside_the_support(referee, warm_claims):
    tampered = [replace(claim, top_k=10) for claim in warm_claims]
    found = np.concatenate([score.margins for score in referee.score(tampered)])
    assert (found == MARGIN_CAP_LOGITS).mean() > 0.1


def test_another_model_shows(model_dirs, warm_claims):
    other = TorchReferee(model_dirs / "other", dtype="bfloat16", slack_logits=SLACK)
    assert share_above(other, warm_claims, 0.3) > 0.05


def test_an_unverifiable_request_is_refused_when_it_is_added(engine):
    from vllm.exceptions import VLLMValidationError

    from subnet.edge.seeded_sampler import seeded_params

    request = seeded_params(
        temperature_milli=1000,
        top_p_milli=950,
        top_k=64,
        seed=1,
        tokens_max=4,
        stop_token_ids=[STOP],
    )
    request.extra_args["top_k"] = 65
    with pytest.raises(VLLMValidationError, match="top_k"):
        engine.generate([{"prompt_token_ids": [5]}], [request], use_tqdm=False)
