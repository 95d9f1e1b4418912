"""Weights rules that no public call can reach, and the numbers that are stored."""

from typing import Any

import pytest

from subnet.devnet.chain import Chain
from subnet.devnet.context import Context, DispatchError, module_error
from subnet.devnet.registration import append_neuron
from subnet.devnet.weights import set_weights

NETUID, VALIDATOR, OWNER = 7, "validator", "owner"


@pytest.fixture
def context(chain: Chain) -> Context:
    context = Context(chain.state, chain.params, 1, signer=VALIDATOR)
    context.put("NetworksAdded", NETUID, True)
    context.put("SubnetOwnerHotkey", NETUID, OWNER)
    for hotkey in (OWNER, VALIDATOR, "miner", "idle"):
        append_neuron(context, NETUID, hotkey)
    context.put("ValidatorPermit", NETUID, [False, True, False, False])
    context.put("WeightsSetRateLimit", NETUID, 0)
    return context


def row(uids: list[int], values: list[int]) -> dict[str, Any]:
    return {"netuid": NETUID, "dests": uids, "weights": values, "version_key": 0}


def stored(context: Context, uid: int = 1) -> list[list[int]]:
    return [list(pair) for pair in context.get("Weights", NETUID, uid)]


def test_a_weight_above_the_subnets_limit_is_refused_unless_it_is_ones_own(
    context: Context,
) -> None:
    context.put("MaxWeightsLimit", NETUID, 32_768)
    with pytest.raises(DispatchError) as caught:
        set_weights(context, row([2, 3], [2, 1]))
    assert caught.value.value == module_error("MaxWeightExceeded").value
    set_weights(context, row([2, 3], [1, 1]))
    set_weights(context, row([1], [1]))
    assert stored(context) == [[1, 65_535]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 2], [65_535, 43_690]),
        ([7, 4], [65_535, 37_449]),  # 37,448.57
        ([65_535, 1], [65_535, 1]),
        ([40_000, 20_000], [65_535, 32_767]),  # The ratio is cut first: 32,767.49...
        ([32_768, 16_384], [65_535, 32_768]),  # 32,767.5
        ([0, 0], [0, 0]),
    ],
)
def test_rows_are_scaled_and_rounded_as_the_chain_does(
    context: Context, values: list[int], expected: list[int]
) -> None:
    set_weights(context, row([2, 3], values))
    assert stored(context) == [[2, expected[0]], [3, expected[1]]]


def test_the_owners_hotkey_needs_neither_permit_nor_stake(context: Context) -> None:
    context.put("StakeThreshold", 1)
    context.signer = OWNER
    set_weights(context, row([2], [1]))
    assert stored(context, 0) == [[2, 65_535]]
    context.signer = VALIDATOR
    with pytest.raises(DispatchError) as caught:
        set_weights(context, row([2], [1]))
    assert caught.value.value == module_error("NotEnoughStakeToSetWeights").value
