"""The processor alone, on made-up logits: no engine, but vLLM's own types.

Marked `engine` because importing vLLM takes seconds.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.engine

vllm = pytest.importorskip("vllm")

import torch  # noqa: E402
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality  # noqa: E402

from protocol.structure import Structure  # noqa: E402
from subnet.core.verification.candidates import best_candidates  # noqa: E402
from subnet.core.verification.margin import seeded_choice  # noqa: E402
from subnet.core.verification.noise import seed_prefix  # noqa: E402
from subnet.core.verification.support import SamplingRows  # noqa: E402
from subnet.edge.grammar import grammars_of, mask_logits  # noqa: E402
from subnet.edge.seeded_sampler import SeededSampler, seeded_params  # noqa: E402

VOCABULARY = 300
TINY_VOCABULARY = 2048
TINY = Path(__file__).parents[3] / "assets" / "tiny"
VOTE = Structure(
    kind="json_schema",
    text='{"type": "array", "items": {"enum": ["yes", "no"]}, "minItems": 2}',
)


def params(seed=7, temperature_milli=1000, top_p_milli=950, top_k=50, structure=None):
    return seeded_params(
        temperature_milli=temperature_milli,
        top_p_milli=top_p_milli,
        top_k=top_k,
        seed=seed,
        tokens_max=8,
        stop_token_ids=[2] if structure is None else [0],
        structure=structure and structure.model_dump_json(),
    )


def sampler_with(*added):
    model = SimpleNamespace(model=str(TINY), get_vocab_size=lambda: TINY_VOCABULARY)
    sampler = SeededSampler(SimpleNamespace(model_config=model), torch.device("cpu"), False)
    feed(sampler, added=added)
    return sampler


def feed(sampler, added=(), removed=(), moved=()):
    sampler.update_state(
        BatchUpdate(batch_size=8, removed=list(removed), added=list(added), moved=list(moved))
    )


def logits_of(rows, seed=0, vocab=VOCABULARY):
    return torch.randn((rows, vocab), generator=torch.Generator().manual_seed(seed)) * 3


def expected(logits, request, position):
    args = request.extra_args
    values, ids = best_candidates(logits.numpy()[None, :].copy(), 64)
    rows = SamplingRows(
        np.array([args["temperature_milli"] / 1000]),
        np.array([args["top_p_milli"] / 1000]),
        np.array([args["top_k"]]),
        np.array([seed_prefix(args["seed"])]),
        np.array([position]),
    )
    return int(seeded_choice(values, ids, rows, logits.shape[0], np)[0])


def test_each_row_gets_the_token_of_its_own_seed_and_position():
    requests = [params(seed, top_k=k) for seed, k in ((1, 50), (2**64 - 1, 3), (3, 64))]
    outputs = [[], [9, 9], [9]]
    sampler = sampler_with(
        *((i, requests[i], [5] * (i + 1), outputs[i]) for i in range(len(requests)))
    )
    logits = logits_of(3)
    wanted = [
        expected(logits[i], requests[i], len([5] * (i + 1)) - 1 + len(outputs[i])) for i in range(3)
    ]
    assert sampler.apply(logits.clone()).argmax(dim=1).tolist() == wanted
    assert wanted != logits.argmax(dim=1).tolist()


def test_the_position_follows_the_engines_running_output_list():
    output = []
    request = params()
    sampler = sampler_with((0, request, [5, 6], output))
    for step in range(6):
        logits = logits_of(1, seed=step)
        wanted = expected(logits[0], request, 1 + step)
        output.append(int(sampler.apply(logits).argmax()))
        assert output[-1] == wanted


def test_greedy_and_foreign_rows_are_left_alone():
    plain = vllm.SamplingParams(temperature=0.0, max_tokens=4)
    sampler = sampler_with(
        (0, params(temperature_milli=0), [5], []), (1, plain, [5], []), (2, params(), [5], [])
    )
    logits = logits_of(3)
    before = logits.clone()
    after = sampler.apply(logits)
    assert torch.equal(after[:2], before[:2])
    assert int(after[2].argmax()) == expected(before[2], params(), 0)


def test_rows_are_followed_when_the_batch_moves_swaps_and_shrinks():
    requests = {name: params(seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))}
    sampler = sampler_with(*((i, requests[n], [5], []) for i, n in enumerate("abc")))
    logits = logits_of(3)

    def check(order):
        found = sampler.apply(logits[: len(order)].clone()).argmax(dim=1).tolist()
        assert found == [expected(logits[i], requests[n], 0) for i, n in enumerate(order)]

    check("abc")
    feed(sampler, moved=[(0, 2, MoveDirectionality.SWAP)])
    check("cba")
    feed(sampler, removed=[1], moved=[(2, 1, MoveDirectionality.UNIDIRECTIONAL)])
    check("ca")
    requests["d"] = params(4)
    feed(sampler, added=[(0, requests["d"], [5], [])])
    check("da")
    feed(sampler, removed=[0, 1])
    untouched = logits.clone()
    assert torch.equal(sampler.apply(untouched), logits)


def test_the_state_is_kept_when_the_batch_does_not_change():
    sampler = sampler_with((0, params(), [5], []))
    sampler.update_state(None)
    logits = logits_of(1)
    assert int(sampler.apply(logits.clone()).argmax()) == expected(logits[0], params(), 0)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_broken_logits_neither_crash_nor_win(poison):
    sampler = sampler_with((0, params(), [5], []), (1, params(8), [5], []))
    logits = logits_of(2)
    healthy = expected(logits[1], params(8), 0)
    logits[0, 17] = poison
    logits[0, 18:] = float("nan")
    found = sampler.apply(logits).argmax(dim=1).tolist()
    assert found[0] < 18
    assert found[1] == healthy


def test_masked_logits_are_never_chosen():
    logits = logits_of(1)
    logits[0, 3:] = float("-inf")
    sampler = sampler_with((0, params(temperature_milli=2000, top_p_milli=1000), [5], []))
    assert int(sampler.apply(logits).argmax()) < 3


def structured_run(request, logits, prompt=(5, 6), steps=12, output=None):
    """What the sampler makes of the same logits again and again."""
    output = [] if output is None else output
    sampler = sampler_with((0, request, list(prompt), output))
    while len(output) < steps and 0 not in output:
        output.append(int(sampler.apply(logits.clone()).argmax()))
    return output


@pytest.mark.parametrize("temperature_milli", [0, 100, 2000])
def test_a_structured_row_draws_the_seeded_choice_of_what_is_allowed(temperature_milli):
    request = params(temperature_milli=temperature_milli, top_p_milli=1000, structure=VOTE)
    logits = logits_of(1, seed=3, vocab=TINY_VOCABULARY)
    ids = structured_run(request, logits)
    grammars = grammars_of(TINY, TINY_VOCABULARY, (0,))
    assert grammars.refused_at(VOTE, ids) is None
    for step, mask in enumerate(grammars.masks(VOTE, ids)):
        masked = logits.clone()
        mask_logits(masked, mask[None])
        assert ids[step] == expected(masked[0], request, 1 + step)


def test_a_structured_row_goes_on_after_it_was_preempted():
    request = params(structure=VOTE)
    logits = logits_of(1, seed=4, vocab=TINY_VOCABULARY)
    whole = structured_run(request, logits)
    assert len(whole) > 3
    assert structured_run(request, logits, output=whole[:2]) == whole


def test_structured_and_free_rows_share_a_batch():
    free, bound = params(3), params(4, structure=VOTE)
    sampler = sampler_with((0, free, [5], []), (1, bound, [5], []), (2, params(5), [5], []))
    logits = logits_of(3, vocab=TINY_VOCABULARY)
    before = logits.clone()
    found = sampler.apply(logits).argmax(dim=1).tolist()
    assert found[0] == expected(before[0], free, 0)
    assert found[2] == expected(before[2], params(5), 0)
    assert grammars_of(TINY, TINY_VOCABULARY, (0,)).refused_at(VOTE, [found[1]]) is None


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_broken_logits_of_a_structured_row_neither_crash_nor_break_out(poison):
    request = params(structure=VOTE)
    logits = logits_of(1, vocab=TINY_VOCABULARY)
    logits[0, ::2] = poison
    ids = structured_run(request, logits)
    assert grammars_of(TINY, TINY_VOCABULARY, (0,)).refused_at(VOTE, ids) is None


def test_a_vocabulary_smaller_than_top_k_works():
    logits = logits_of(1, vocab=5)
    wanted = expected(logits[0], params(), 0)
    assert int(sampler_with((0, params(), [5], [])).apply(logits).argmax()) == wanted


def test_the_processor_declares_that_it_changes_the_argmax():
    assert not sampler_with().is_argmax_invariant()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"extra_args": {"seed": 1}}, "temperature_milli"),
        ({"temperature": 1.0}, "temperature 0"),
        ({"min_tokens": 3}, "min_tokens"),
        ({"logit_bias": {4: 2.0}}, "logit_bias"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"allowed_token_ids": [4, 5]}, "allowed_token_ids"),
        ({"thinking_token_budget": 0}, "thinking_token_budget"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_requests_that_could_not_be_verified_are_refused_by_name(change, complaint):
    base = {"temperature": 0.0, "max_tokens": 8, "extra_args": params().extra_args}
    with pytest.raises(ValueError, match=complaint):
        SeededSampler.validate_params(vllm.SamplingParams(**{**base, **change}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("top_k", 65), ("top_k", 0), ("top_p_milli", 0), ("temperature_milli", 2001), ("seed", -1)],
)
def test_parameters_outside_their_range_are_refused(key, value):
    request = params()
    request.extra_args[key] = value
    with pytest.raises(ValueError, match=key):
        SeededSampler.validate_params(request)


def test_plain_requests_pass():
    SeededSampler.validate_params(vllm.SamplingParams(temperature=0.7))
    SeededSampler.validate_params(params(seed=2**64 - 1))
