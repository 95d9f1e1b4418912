"""Structural laws: an answer that no honest engine can give is refused without any model."""

import pytest

from protocol.release import Release
from subnet.core.verification.structure import StructuralFault, structural_fault

RELEASE = Release(
    model="tiny",
    revision="1",
    weights_digest="0" * 64,
    tokenizer_digest="0" * 64,
    dtype="bfloat16",
    runtime="vllm-0.32.0-cpu",
    vocab_size=100,
    context_tokens_max=20,
    stop_token_ids=(2, 3),
)


def fault_of(ids, finish, prompt_tokens=4, tokens_max=5):
    return structural_fault(
        ids, finish, prompt_tokens=prompt_tokens, tokens_max=tokens_max, release=RELEASE
    )


@pytest.mark.parametrize(
    ("ids", "finish"),
    [
        ((7, 2), "stop"),
        ((3,), "stop"),
        ((7, 8, 9, 10, 2), "stop"),
        ((7, 8, 9, 10, 11), "length"),
    ],
    ids=["stopped", "at once", "eos is the last allowed token", "ran out of room"],
)
def test_what_an_honest_engine_returns_passes(ids, finish):
    assert fault_of(ids, finish) is None


def test_the_context_window_ends_an_answer_before_tokens_max_does():
    assert fault_of((7, 8), "length", prompt_tokens=18) is None
    assert fault_of((7, 8), "length", prompt_tokens=17) is StructuralFault.TOO_SHORT
    assert fault_of((7, 8, 9), "length", prompt_tokens=18) is StructuralFault.TOO_LONG


@pytest.mark.parametrize(
    ("ids", "finish", "fault"),
    [
        ((), "stop", StructuralFault.EMPTY_ANSWER),
        ((100, 2), "stop", StructuralFault.TOKEN_OUTSIDE_VOCABULARY),
        ((-1, 2), "stop", StructuralFault.TOKEN_OUTSIDE_VOCABULARY),
        ((2, 7, 3), "stop", StructuralFault.STOP_SKIPPED),
        ((7, 2, 3), "stop", StructuralFault.STOP_SKIPPED),
        ((7, 2, 8, 9, 10), "length", StructuralFault.STOP_SKIPPED),
        ((7, 8), "stop", StructuralFault.STOP_WITHOUT_STOP_TOKEN),
        ((7, 8, 9, 10, 2), "length", StructuralFault.LENGTH_WITH_STOP_TOKEN),
        ((7, 8, 9, 10), "length", StructuralFault.TOO_SHORT),
        ((7, 8, 9, 10, 11, 12), "length", StructuralFault.TOO_LONG),
        ((7, 8, 9, 10, 11, 2), "stop", StructuralFault.TOO_LONG),
    ],
)
def test_each_impossible_answer_has_its_own_stable_reason(ids, finish, fault):
    assert fault_of(ids, finish) is fault
