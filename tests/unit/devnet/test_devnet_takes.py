"""Validators' takes: who may change them, within which bounds, and how often."""

from typing import Any

import pytest

from subnet.devnet.chain import Chain
from subnet.devnet.context import Context, DispatchError, module_error
from subnet.devnet.params import U16_MAX
from subnet.devnet.takes import decrease_take, increase_take, set_take_rate_limit

HOTKEY, COLDKEY, OTHER = "hotkey", "coldkey", "other"
HALF = 5_898


@pytest.fixture
def context(chain: Chain) -> Context:
    chain.state.put("SubtensorModule.Owner", HOTKEY, COLDKEY)
    return Context(chain.state, chain.params, 1, signer=COLDKEY)


def take(value: int, hotkey: str = HOTKEY) -> dict[str, Any]:
    return {"hotkey": hotkey, "take": value}


def refusal(rule: Any, context: Context, arguments: dict[str, Any]) -> str:
    with pytest.raises(DispatchError) as caught:
        rule(context, arguments)
    return str(caught.value.value)


def error(name: str) -> str:
    return str(module_error(name).value)


def test_a_take_falls_at_once_and_rises_only_after_the_rate_limit(context: Context) -> None:
    limit = context.get("TxDelegateTakeRateLimit")
    decrease_take(context, take(HALF))
    assert context.get("Delegates", HOTKEY) == HALF
    assert refusal(decrease_take, context, take(HALF)) == error("DelegateTakeTooLow")
    decrease_take(context, take(HALF - 1))
    context.number += limit
    assert refusal(increase_take, context, take(HALF)) == error("DelegateTxRateLimitExceeded")
    context.number += 1
    increase_take(context, take(HALF))
    assert context.get("Delegates", HOTKEY) == HALF
    assert [name for _, name, _ in context.events] == [
        "TakeDecreased",
        "TakeDecreased",
        "TakeIncreased",
    ]


def test_a_take_that_does_not_rise_is_no_increase(context: Context) -> None:
    decrease_take(context, take(HALF))
    assert refusal(increase_take, context, take(HALF)) == error("DelegateTakeTooLow")


def test_a_take_stays_within_the_chains_bounds(context: Context) -> None:
    assert refusal(increase_take, context, take(U16_MAX)) == error("DelegateTakeTooHigh")
    context.put("MinDelegateTake", HALF)
    assert refusal(decrease_take, context, take(HALF - 1)) == error("DelegateTakeTooLow")


def test_only_the_owner_of_a_known_hotkey_changes_its_take(context: Context) -> None:
    unknown = take(HALF, "unknown")
    assert refusal(decrease_take, context, unknown) == error("HotKeyAccountNotExists")
    context.signer = OTHER
    assert refusal(decrease_take, context, take(HALF)) == error("NonAssociatedColdKey")


def test_only_root_sets_the_rate_limit(context: Context) -> None:
    assert refusal(set_take_rate_limit, context, {"tx_rate_limit": 0}) == "BadOrigin"
    context.root = True
    set_take_rate_limit(context, {"tx_rate_limit": 0})
    decrease_take(context, take(HALF))
    increase_take(context, take(HALF + 1))
    assert context.get("Delegates", HOTKEY) == HALF + 1
