"""The referee on vLLM against the one on transformers: two code bases, one verdict."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

pytest.importorskip("vllm")

from protocol.structure import Structure  # noqa: E402
from subnet.core.verification.calibration import CalibrationTable  # noqa: E402
from subnet.core.verification.claim import Claim, ClaimScore  # noqa: E402
from subnet.core.verification.margin import MARGIN_CAP_LOGITS  # noqa: E402
from subnet.edge.grammar import release_grammars  # noqa: E402
from subnet.edge.release_files import load_release, load_release_files  # noqa: E402
from subnet.edge.torch_referee import TorchReferee  # noqa: E402
from subnet.edge.vllm_referee import VllmReferee  # noqa: E402
from subnet.edge.vllm_runtime import runtime_name  # noqa: E402
from subnet.lab.sampler import Job, generate, load_model  # noqa: E402

TINY = Path(__file__).parents[3] / "assets" / "tiny"
TABLE = CalibrationTable.model_validate_json((TINY / "calibration.json").read_bytes())
TOKENS = 24


@pytest.fixture(scope="module")
def files():
    return load_release_files(str(TINY), runtime=runtime_name())


@pytest.fixture(scope="module")
def referee(files, honest):
    del honest  # Made first: beside a running engine torch is slow.
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    made = VllmReferee(
        files.release,
        files.folder,
        slack_logits=TABLE.slack_logits,
        batch_tokens_max=1100,
        arguments={"enforce_eager": True},
    )
    yield made
    made.close()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def other():
    grammars = release_grammars(load_release(str(TINY)), TINY)
    slack = TABLE.slack_logits
    return TorchReferee(TINY, dtype="bfloat16", slack_logits=slack, grammars=grammars)


def unanswered(number, prompt_tokens, vocab_size):
    dice = np.random.default_rng(number)
    return Claim(
        prompt_token_ids=tuple(dice.integers(3, vocab_size, prompt_tokens).tolist()),
        output_token_ids=(),
        temperature_milli=(0, 300, 1000, 1500)[number % 4],
        top_p_milli=(1000, 950)[number % 2],
        top_k=(64, 20)[number % 2],
        seed=2**63 + number,
        logprobs=None,
        finish_reason="length",
    )


@pytest.fixture(scope="module")
def honest(files, other):
    """Answers sampled by transformers, with its log-probabilities."""
    asked = [unanswered(n, 2 + 5 * n, files.release.vocab_size) for n in range(12)]
    made = other.continued(asked, TOKENS)
    blank = other.score([replace(claim, logprobs=(0.0,) * TOKENS) for claim in made])
    return [
        replace(claim, logprobs=tuple(-gap for gap in score.logprob_gaps))
        for claim, score in zip(made, blank, strict=True)
    ]


def test_both_referees_find_honest_answers_honest(referee, other, honest):
    for scores in (referee.score(honest), other.score(honest)):
        margins = np.concatenate([score.margins for score in scores])
        gaps = np.concatenate([score.logprob_gaps for score in scores])
        assert len(margins) == len(gaps) == TOKENS * len(honest)
        assert margins.max() < TABLE.edges_logits[-1]
        assert (margins > TABLE.edges_logits[0]).mean() < 0.02
        assert gaps.mean() < 3 * TABLE.sigma_logits


def test_both_referees_see_a_foreign_seed_alike(referee, other, honest):
    forged = [replace(claim, seed=claim.seed ^ 1) for claim in honest if claim.temperature_milli]
    ours = np.concatenate([score.margins for score in referee.score(forged)])
    theirs = np.concatenate([score.margins for score in other.score(forged)])
    assert (ours > TABLE.edges_logits[-1]).mean() > 0.3
    assert (np.abs(ours - theirs) < 0.1).mean() > 0.98


def test_both_referees_replay_the_masks_of_a_structured_answer(referee, other, files):
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no", "perhaps"]}')
    prompt = tuple(range(40, 60))
    ((ids, logprobs),) = generate(
        [load_model(TINY, "bfloat16")],
        [Job(prompt, len(prompt), 1000, 1000, 64, TOKENS, 77, structure=vote)],
        files.release.stop_token_ids,
        grammars=release_grammars(files.release, TINY),
    )
    bound = Claim(prompt, ids, 1000, 1000, 64, 77, logprobs, "stop", vote)
    loose = replace(bound, structure=None)
    bent = replace(bound, output_token_ids=(999, *ids[1:]))
    for each in (referee, other):
        scores = each.score([bound, loose, bent])
        assert max(scores[0].margins) < 0.1
        assert max(scores[1].margins) > 1
        assert scores[2].margins[0] == MARGIN_CAP_LOGITS


def test_each_answers_a_structure_as_the_other_finds_honest(referee, other, files):
    number = Structure(kind="json_schema", text='{"type": "array", "items": {"type": "integer"}}')
    asked = [
        replace(unanswered(n, 9 + n, files.release.vocab_size), structure=number) for n in range(8)
    ]
    grammars = release_grammars(files.release, TINY)
    for author in (referee, other):
        made = author.continued(asked, 6)
        assert not any(grammars.refused_at(number, claim.output_token_ids) for claim in made)
        for judge in (referee, other):
            assert max(max(score.margins) for score in judge.score(made)) < 0.1


def test_order_is_kept_and_an_empty_answer_has_an_empty_score(referee, honest):
    short = replace(honest[1], output_token_ids=honest[1].output_token_ids[:3], logprobs=None)
    empty = replace(honest[0], output_token_ids=(), logprobs=())
    scores = referee.score([honest[2], empty, short])
    assert [len(score.margins) for score in scores] == [TOKENS, 0, 3]
    assert scores[1] == ClaimScore((), ())
    assert scores[2].logprob_gaps == ()


def test_ids_outside_the_vocabulary_are_scored_as_far_off_not_crashed_on(referee, honest, files):
    output = (files.release.vocab_size, -1, *honest[0].output_token_ids[2:])
    (score,) = referee.score([replace(honest[0], output_token_ids=output)])
    assert score.margins[:2] == (MARGIN_CAP_LOGITS, MARGIN_CAP_LOGITS)


def test_an_answer_that_fills_the_context_is_scored_in_full(referee, other, files):
    prompt_tokens = files.release.context_tokens_max - 1
    (claim,) = other.continued([unanswered(6, prompt_tokens, files.release.vocab_size)], 1)
    (score,) = referee.score([claim])
    assert len(score.margins) == 1
    assert max(score.margins) < 0.1


def test_what_it_answers_itself_is_honest_to_both_and_tampered_is_not(referee, other, files):
    asked = [
        replace(
            unanswered(n, 3 + 4 * n, files.release.vocab_size), temperature_milli=1500 * (n > 0)
        )
        for n in range(6)
    ]
    made = referee.continued(asked, TOKENS)
    assert [len(claim.output_token_ids) for claim in made] == [TOKENS] * 6
    tampered = [replace(claim, seed=claim.seed + 4) for claim in made if claim.temperature_milli]
    for judge in (referee, other):
        margins = np.concatenate([score.margins for score in judge.score(made)])
        assert margins.max() < TABLE.edges_logits[-1]
        assert (margins > TABLE.edges_logits[0]).mean() < 0.02
        off = np.concatenate([score.margins for score in judge.score(tampered)])
        assert (off > TABLE.edges_logits[-1]).mean() > 0.3
