"""The referee against a naive one: one answer, one position, one scalar at a time."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from protocol.structure import Structure  # noqa: E402
from subnet.core.verification.claim import Claim, ClaimScore  # noqa: E402
from subnet.core.verification.margin import MARGIN_CAP_LOGITS  # noqa: E402
from subnet.core.verification.noise import seed_prefix, seeded_gumbel  # noqa: E402
from subnet.edge import torch_referee  # noqa: E402
from subnet.edge.candidates import best_by_groups  # noqa: E402
from subnet.edge.grammar import grammars_of, release_grammars  # noqa: E402
from subnet.edge.release_files import load_release  # noqa: E402
from subnet.edge.torch_referee import TorchReferee, UnsupportedModelError  # noqa: E402
from subnet.lab.sampler import Job, generate, load_model  # noqa: E402

VOCABULARY = 160
TINY = Path(__file__).parents[3] / "assets" / "tiny"


def tiny_config(**changes):
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.3,
        **changes,
    )


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("referee-model")
    transformers.LlamaForCausalLM(tiny_config()).save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def model(model_dir):
    return transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def referee(model_dir):
    return TorchReferee(model_dir, dtype="float32", slack_logits=0.05)


def logits_at(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].double()


def sampled(model, prompt, count, seed, temperature=1.0, top_k=64):
    """An honest answer, one token at a time. Top-p is 1."""
    ids, logprobs = list(prompt), []
    for _ in range(count):
        logits = logits_at(model, ids)
        best = torch.topk(logits, top_k).indices.numpy()
        noise = seeded_gumbel(np.array([seed_prefix(seed)]), np.array([len(ids) - 1]), best, np)
        scores = logits.numpy()[best] / (temperature or 1.0) + (noise if temperature else 0.0)
        token = int(best[np.argmax(scores)])
        logprobs.append(float(torch.log_softmax(logits, 0)[token]))
        ids.append(token)
    return ids[len(prompt) :], logprobs


def claim_of(prompt, output, seed, logprobs=None, temperature_milli=1000, top_k=64):
    return Claim(
        prompt_token_ids=tuple(prompt),
        output_token_ids=tuple(output),
        temperature_milli=temperature_milli,
        top_p_milli=1000,
        top_k=top_k,
        seed=seed,
        logprobs=None if logprobs is None else tuple(logprobs),
        finish_reason="length",
    )


@pytest.fixture(scope="module")
def honest(model):
    claims = []
    for number in range(7):
        prompt = [(number * 31 + i * 7) % VOCABULARY for i in range(2 + number * 3)]
        temperature_milli = (0, 300, 1000, 2000)[number % 4]
        seed = 2**63 + number
        output, logprobs = sampled(model, prompt, 3 + number, seed, temperature_milli / 1000)
        claims.append(claim_of(prompt, output, seed, logprobs, temperature_milli))
    return claims


def test_honest_answers_have_no_margin_and_no_gap(referee, honest):
    for claim, score in zip(honest, referee.score(honest), strict=True):
        assert len(score.margins) == len(claim.output_token_ids)
        assert max(score.margins) < 1e-4
        assert max(score.logprob_gaps) < 1e-4


def test_margins_equal_those_of_a_naive_computation(referee, model, honest):
    claim = honest[2]
    foreign = claim_of(claim.prompt_token_ids, claim.output_token_ids, seed=5)
    (score,) = referee.score([foreign])
    for k, (token, found) in enumerate(zip(foreign.output_token_ids, score.margins, strict=True)):
        ids = list(foreign.prompt_token_ids + foreign.output_token_ids[:k])
        logits = logits_at(model, ids).numpy()
        everyone = np.arange(VOCABULARY)
        place = np.array([len(ids) - 1])
        scores = logits + seeded_gumbel(np.array([seed_prefix(5)]), place, everyone, np)
        border = np.sort(logits)[-64]
        best = scores[logits > border + 0.05].max()
        expected = max(0.0, best - scores[token])
        assert found == pytest.approx(expected, abs=1e-3)


def test_a_foreign_seed_a_changed_prompt_and_another_temperature_raise_margins(referee, honest):
    claim = honest[6]
    assert claim.temperature_milli == 1000
    prompt, output = claim.prompt_token_ids, claim.output_token_ids
    for tampered in (
        claim_of(prompt, output, claim.seed ^ 1),
        claim_of((*prompt[:-1], (prompt[-1] + 1) % VOCABULARY), output, claim.seed),
        claim_of(prompt, output, claim.seed, temperature_milli=100),
    ):
        (score,) = referee.score([tampered])
        assert max(score.margins) > 0.3


def test_batching_changes_nothing_but_speed(model_dir, honest):
    alone = TorchReferee(model_dir, dtype="float32", slack_logits=0.05, batch_tokens_max=1)
    together = TorchReferee(model_dir, dtype="float32", slack_logits=0.05)
    for one, other in zip(alone.score(honest), together.score(honest), strict=True):
        assert one.margins == pytest.approx(other.margins, abs=1e-4)
        assert one.logprob_gaps == pytest.approx(other.logprob_gaps, abs=1e-4)


def test_chunking_over_positions_changes_nothing(referee, honest, monkeypatch):
    whole = referee.score(honest)
    monkeypatch.setattr(torch_referee, "_LOGITS_IN_FLIGHT", 3 * VOCABULARY)
    for one, other in zip(whole, referee.score(honest), strict=True):
        assert one.margins == pytest.approx(other.margins, abs=1e-4)


def test_no_forward_pass_exceeds_the_token_bound(model_dir, honest):
    referee = TorchReferee(model_dir, dtype="float32", slack_logits=0.05, batch_tokens_max=60)
    seen = []
    decoder = referee._decoder
    referee._decoder = lambda input_ids, **rest: (
        seen.append(input_ids.numel()) or decoder(input_ids=input_ids, **rest)
    )
    referee.score(honest)
    assert len(seen) > 1
    assert max(seen) <= 60


def test_what_runs_on_a_gpu_scores_as_numpy_does(referee, model_dir, honest, monkeypatch):
    here = referee.score(honest)
    there = TorchReferee(model_dir, dtype="float32", slack_logits=0.05)
    monkeypatch.setattr(there, "_xp", torch)
    monkeypatch.setattr(torch_referee, "best_of", best_by_groups)
    for one, other in zip(here, there.score(honest), strict=True):
        assert one.margins == pytest.approx(other.margins, abs=1e-9)
        assert one.logprob_gaps == pytest.approx(other.logprob_gaps, abs=1e-9)


@pytest.fixture(scope="module")
def shipped():
    release = load_release(str(TINY))
    grammars = release_grammars(release, TINY)
    return TorchReferee(TINY, dtype="float32", slack_logits=0.05, grammars=grammars)


def structured_answer(structure, prompt, tokens_max, seed):
    (answer,) = generate(
        [load_model(TINY, "float32")],
        [Job(prompt, len(prompt), 1000, 950, 50, tokens_max, seed, structure=structure)],
        (0,),
        grammars=grammars_of(TINY, 2048, (0,)),
    )
    return answer


@pytest.mark.parametrize(
    "structure",
    [
        Structure(kind="json_schema", text='{"type": "array", "items": {"type": "integer"}}'),
        Structure(kind="json_schema", text='{"type": "object"}'),
    ],
    ids=lambda one: one.text,
)
def test_masks_of_structured_answers_are_replayed(shipped, structure):
    prompt = tuple(range(30, 60))
    ids, logprobs = structured_answer(structure, prompt, 24, seed=11)
    honest = replace(claim_of(prompt, ids, 11, logprobs), top_p_milli=950, top_k=50)
    structured = replace(honest, structure=structure)
    free = replace(honest, output_token_ids=tuple(range(400, 424)), logprobs=None)
    tries = ((*ids[:3], token, *ids[4:]) for token in range(1, 2048))
    grammars = grammars_of(TINY, 2048, (0,))
    barred = next(each for each in tries if grammars.refused_at(structure, each) == 3)
    bent = replace(structured, output_token_ids=barred)
    alone = shipped.score([free])[0]
    scores = shipped.score([structured, free, bent, honest])
    assert max(scores[0].margins) < 1e-3
    assert max(scores[0].logprob_gaps) < 1e-2
    assert scores[1].margins == pytest.approx(alone.margins, abs=1e-3)
    assert scores[2].margins[3] == MARGIN_CAP_LOGITS
    assert scores[2].margins[:3] == pytest.approx(scores[0].margins[:3], abs=1e-3)
    assert max(scores[3].margins) > 1, "the model would not have answered so of its own accord"


def test_order_is_kept_and_an_empty_answer_has_an_empty_score(referee, honest):
    empty = claim_of((1, 2), (), seed=1)
    scores = referee.score([honest[6], empty, honest[0]])
    assert [len(score.margins) for score in scores] == [9, 0, 3]
    assert scores[1] == ClaimScore((), ())
    assert referee.score([]) == []


def test_ids_outside_the_vocabulary_are_scored_as_far_off_not_crashed_on(referee):
    (score,) = referee.score([claim_of((1, 2), (VOCABULARY + 5, -3, 7), seed=1)])
    assert score.margins[:2] == (MARGIN_CAP_LOGITS, MARGIN_CAP_LOGITS)


def test_logprobs_that_are_no_numbers_count_as_far_off(referee, honest):
    claim = honest[0]
    forged = (math.nan, -math.inf, claim.logprobs[2])
    (score,) = referee.score(
        [claim_of(claim.prompt_token_ids, claim.output_token_ids, claim.seed, forged, 0)]
    )
    assert score.logprob_gaps[:2] == (MARGIN_CAP_LOGITS, MARGIN_CAP_LOGITS)
    assert score.logprob_gaps[2] < 1e-4


def test_a_claim_without_logprobs_has_no_gaps(referee, honest):
    claim = honest[1]
    (score,) = referee.score([claim_of(claim.prompt_token_ids, claim.output_token_ids, 1)])
    assert score.logprob_gaps == ()


def test_a_model_that_reshapes_its_logits_is_refused(tmp_path):
    config = tiny_config()
    config.logits_scaling = 8.0
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="logits_scaling"):
        TorchReferee(tmp_path, dtype="float32", slack_logits=0.05)


def test_a_directory_without_a_model_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="config"):
        TorchReferee(tmp_path, dtype="float32", slack_logits=0.05)
