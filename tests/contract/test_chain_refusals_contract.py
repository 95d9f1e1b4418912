"""What a chain refuses, by the chain's own names as the SDK decodes them.

The calls are raw: the SDK would stop or mend some of them before a chain saw them.
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import bittensor as bt
import pytest
from bittensor import calls

from tests.contract.chains import (
    TAO,
    ChainUnderTest,
    Wallet,
    fund,
    join,
    must,
    new_subnet,
    send,
    stake,
    sudo,
    weights_call,
)

pytestmark = pytest.mark.timeout(60)
Code = bt.ErrorCode
RATE_LIMIT_BLOCKS = 10_000


class Subnet(NamedTuple):
    netuid: int
    validator: Wallet
    miner: Wallet
    outsider: Wallet
    uids: dict[str, int]


@pytest.fixture(scope="module")
def subnet(chain: ChainUnderTest) -> Iterator[Subnet]:
    """A validator with a permit, a miner without stake, and an account without a place."""

    async def set_up() -> Subnet:
        validator, miner, outsider = (chain.wallet(name) for name in ("val", "miner", "outsider"))
        async with chain.connected() as client:
            await fund(client, chain, validator, miner, outsider)
            netuid = await new_subnet(client, chain)
            await join(client, netuid, validator, miner)
            await stake(client, netuid, validator, 100)
            # The first gives the permit, the second is the first in which it counts.
            for _ in range(2):
                await chain.epoch(client, netuid)
            graph = await client.subnets.metagraph(netuid)
            uids = {neuron.hotkey: neuron.uid for neuron in graph}
        return Subnet(netuid, validator, miner, outsider, uids)

    yield asyncio.run(set_up())


async def refusal(client, call, wallet, signer="coldkey") -> tuple[str, Code]:
    result = await send(client, call, wallet, signer)
    assert not result.success
    return result.error.name, result.error.code


async def test_weights_by_the_chains_rules_are_taken(client, subnet) -> None:
    everyone = sorted(subnet.uids.values())
    await must(client, weights_call(subnet.netuid, everyone), subnet.validator, "hotkey")


async def test_a_hotkey_without_a_place_sets_no_weights(client, subnet) -> None:
    call = weights_call(subnet.netuid, [0])
    assert await refusal(client, call, subnet.outsider) == (
        "HotKeyNotRegisteredInSubNet",
        Code.NOT_REGISTERED,
    )


async def test_a_hotkey_without_a_permit_weighs_nobody_but_itself(client, subnet) -> None:
    own = subnet.uids[subnet.miner.hot]
    other = weights_call(subnet.netuid, [subnet.uids[subnet.validator.hot]])
    assert await refusal(client, other, subnet.miner, "hotkey") == (
        "NeuronNoValidatorPermit",
        Code.NOT_AUTHORIZED,
    )
    await must(client, weights_call(subnet.netuid, [own]), subnet.miner, "hotkey")


@pytest.mark.parametrize(
    ("uids", "values", "name", "code"),
    [
        ([0, 0], [1, 2], "DuplicateUids", Code.INVALID_ARGUMENT),
        ([0, 999], [1, 2], "UidVecContainInvalidOne", Code.INVALID_ARGUMENT),
        ([0, 1], [1], "WeightVecNotEqualSize", Code.INVALID_ARGUMENT),
        (list(range(300)), [1] * 300, "UidsLengthExceedUidsInSubNet", Code.LIMIT_EXCEEDED),
    ],
)
async def test_a_malformed_row_of_weights_is_refused(
    client, subnet, uids, values, name, code
) -> None:
    call = weights_call(subnet.netuid, uids, values)
    assert await refusal(client, call, subnet.validator, "hotkey") == (name, code)


async def test_the_first_broken_rule_names_the_refusal(client, subnet) -> None:
    """Size before place, place before permit, permit before duplicates, these before uids."""
    netuid = subnet.netuid

    async def name(call, wallet, signer="hotkey") -> str:
        return (await refusal(client, call, wallet, signer))[0]

    unequal, missing = weights_call(9_999, [0, 1], [1]), weights_call(9_999, [0])
    assert await name(unequal, subnet.validator) == "WeightVecNotEqualSize"
    assert await name(missing, subnet.validator) == "MechanismDoesNotExist"
    assert await name(weights_call(0, [0, 1], [1]), subnet.validator) == (
        "CanNotSetRootNetworkWeights"
    )
    too_many = weights_call(netuid, list(range(300)))
    assert await name(too_many, subnet.outsider, "coldkey") == "UidsLengthExceedUidsInSubNet"
    assert await name(weights_call(netuid, [0, 0]), subnet.miner) == "NeuronNoValidatorPermit"
    assert await name(weights_call(netuid, [999, 999]), subnet.validator) == "DuplicateUids"


async def test_too_few_weights_and_an_old_version_are_refused(client, chain, subnet) -> None:
    netuid, admin = subnet.netuid, calls.AdminUtils
    await must(client, admin.sudo_set_min_allowed_weights(netuid, 2), chain.root)
    few = weights_call(netuid, [0])
    assert await refusal(client, few, subnet.validator, "hotkey") == (
        "WeightVecLengthIsLow",
        Code.INVALID_ARGUMENT,
    )
    await must(client, weights_call(netuid, [0, 1]), subnet.validator, "hotkey")
    await must(client, admin.sudo_set_min_allowed_weights(netuid, 1), chain.root)

    await must(client, admin.sudo_set_weights_version_key(netuid, 9), chain.root)
    old = weights_call(netuid, [0], version_key=8)
    assert await refusal(client, old, subnet.validator, "hotkey") == (
        "IncorrectWeightVersionKey",
        Code.INVALID_ARGUMENT,
    )
    for version in (9, 10):
        call = weights_call(netuid, [0], version_key=version)
        await must(client, call, subnet.validator, "hotkey")
    await must(client, admin.sudo_set_weights_version_key(netuid, 0), chain.root)


async def test_weights_sooner_than_the_rate_limit_are_refused(client, chain, subnet) -> None:
    call, limit = weights_call(subnet.netuid, [0]), calls.AdminUtils.sudo_set_weights_set_rate_limit
    await must(client, call, subnet.validator, "hotkey")
    await sudo(client, chain, limit(subnet.netuid, RATE_LIMIT_BLOCKS))
    assert await refusal(client, call, subnet.validator, "hotkey") == (
        "RateLimitExceeded",
        Code.RATE_LIMITED,
    )
    intent = bt.SetWeights(netuid=subnet.netuid, weights={0: 1.0})
    with pytest.raises(bt.BittensorError, match="rate limit"):
        await client.execute(intent, subnet.validator)
    await sudo(client, chain, limit(subnet.netuid, 0))
    await must(client, call, subnet.validator, "hotkey")


async def test_weights_with_less_stake_than_the_threshold_are_refused(
    client, chain, subnet
) -> None:
    threshold = calls.AdminUtils.sudo_set_stake_threshold
    before = await client.query(("SubtensorModule", "StakeThreshold"))
    own = weights_call(subnet.netuid, [subnet.uids[subnet.miner.hot]])
    graph = await client.subnets.metagraph(subnet.netuid)
    poor, rich = (graph.by_hotkey(who.hot) for who in (subnet.miner, subnet.validator))
    between = (poor.total_stake.rao + rich.total_stake.rao) // 2
    await sudo(client, chain, threshold(between))
    assert await refusal(client, own, subnet.miner, "hotkey") == (
        "StakeAmountTooLow",
        Code.LIMIT_EXCEEDED,
    )
    await must(client, weights_call(subnet.netuid, [0]), subnet.validator, "hotkey")
    await sudo(client, chain, threshold(int(before)))
    await must(client, own, subnet.miner, "hotkey")


def axon(netuid: int, **changes: int):
    fields = {
        "version": 1,
        "ip": 0xC6336407,
        "port": 8091,
        "ip_type": 4,
        "protocol": 4,
        "placeholder1": 0,
        "placeholder2": 0,
    }
    return calls.SubtensorModule.serve_axon(netuid=netuid, **{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ip": 0xFFFFFFFF}, "InvalidIpAddress"),
        ({"port": 0}, "InvalidPort"),
        ({"ip_type": 5}, "BadRequest"),
    ],
)
async def test_an_endpoint_that_nobody_could_reach_is_refused(
    client, subnet, changes, name
) -> None:
    call = axon(subnet.netuid, **changes)
    assert (await refusal(client, call, subnet.miner, "hotkey"))[0] == name


async def test_endpoints_without_a_place_or_too_often_are_refused(client, chain, subnet) -> None:
    netuid, limit = subnet.netuid, calls.AdminUtils.sudo_set_serving_rate_limit
    assert await refusal(client, axon(netuid), subnet.outsider) == (
        "HotKeyNotRegisteredInNetwork",
        Code.NOT_REGISTERED,
    )
    await must(client, axon(netuid), subnet.miner, "hotkey")
    await sudo(client, chain, limit(netuid, RATE_LIMIT_BLOCKS))
    assert await refusal(client, axon(netuid), subnet.miner, "hotkey") == (
        "ServingRateLimitExceeded",
        Code.RATE_LIMITED,
    )
    await sudo(client, chain, limit(netuid, 0))
    await must(client, axon(netuid), subnet.miner, "hotkey")


async def test_a_commitment_without_a_place_is_refused(client, subnet) -> None:
    info = {"fields": [{"Raw1": "0x41"}]}
    for netuid, name in (
        (subnet.netuid, "HotKeyNotRegisteredInSubNet"),
        (9_999, "SubnetNotExists"),
    ):
        call = calls.Commitments.set_commitment(netuid=netuid, info=info)
        assert (await refusal(client, call, subnet.outsider))[0] == name


async def test_a_place_is_refused_twice_and_on_no_subnet(client, subnet) -> None:
    register = calls.SubtensorModule.burned_register
    again = register(netuid=subnet.netuid, hotkey=subnet.miner.hot)
    assert await refusal(client, again, subnet.miner) == (
        "HotKeyAlreadyRegisteredInSubNet",
        Code.ALREADY_EXISTS,
    )
    nowhere = register(netuid=9_999, hotkey=subnet.miner.hot)
    assert await refusal(client, nowhere, subnet.miner) == (
        "SubnetNotExists",
        Code.SUBNET_NOT_EXISTS,
    )


async def test_money_that_is_not_there_is_refused(client, chain, subnet) -> None:
    held = (await client.balances.get(subnet.outsider.cold)).rao
    transfer = calls.Balances.transfer_keep_alive(dest=chain.root.cold, value=2 * held)
    assert await refusal(client, transfer, subnet.outsider) == (
        "FundsUnavailable",
        Code.INSUFFICIENT_BALANCE,
    )
    more = calls.SubtensorModule.add_stake(
        hotkey=subnet.validator.hot, netuid=subnet.netuid, amount_staked=2 * held
    )
    assert await refusal(client, more, subnet.outsider) == (
        "NotEnoughBalanceToStake",
        Code.INSUFFICIENT_BALANCE,
    )
    nothing_held = calls.SubtensorModule.remove_stake(
        hotkey=subnet.validator.hot, netuid=subnet.netuid, amount_unstaked=TAO
    )
    assert await refusal(client, nothing_held, subnet.outsider) == (
        "NotEnoughStakeToWithdraw",
        Code.INSUFFICIENT_BALANCE,
    )
    penniless = chain.wallet("penniless")
    fee = calls.Balances.transfer_keep_alive(dest=chain.root.cold, value=1)
    assert await refusal(client, fee, penniless) == ("Payment", Code.INSUFFICIENT_BALANCE)


async def test_takes_out_of_bounds_or_of_others_are_refused(client, subnet) -> None:
    validator, take = subnet.validator, calls.SubtensorModule.increase_take
    for call, wallet, name in (
        (take(hotkey=validator.hot, take=20_000), validator, "DelegateTakeTooHigh"),
        (take(hotkey=validator.hot, take=10_000), subnet.miner, "NonAssociatedColdKey"),
        (take(hotkey=subnet.outsider.hot, take=10_000), validator, "HotKeyAccountNotExists"),
    ):
        assert (await refusal(client, call, wallet))[0] == name


async def test_a_forged_signature_is_refused(client, chain, subnet) -> None:
    owner, forger = chain.root, subnet.outsider
    call = calls.Balances.transfer_keep_alive(dest=forger.cold, value=TAO)
    unsigned = await client.prepare_call(call, address=owner.cold)
    forged = await client.submit_signature(unsigned, forger.coldkey.sign(unsigned.payload))
    assert (forged.error.name, forged.error.code) == ("BadProof", Code.INVALID_ARGUMENT)
    double = calls.Balances.transfer_keep_alive(dest=forger.cold, value=2 * TAO)
    other = await client.prepare_call(double, address=owner.cold)
    moved = await client.submit_signature(other, owner.coldkey.sign(unsigned.payload))
    assert (moved.success, moved.error.name) == (False, "BadProof")
    honest = await client.submit_signature(unsigned, owner.coldkey.sign(unsigned.payload))
    assert honest.success


async def test_a_signature_dies_with_its_era(client, chain, subnet) -> None:
    call = calls.Balances.transfer_keep_alive(dest=chain.root.cold, value=TAO)
    period = 8
    unsigned = await client.prepare_call(call, address=subnet.outsider.cold, period=period)
    signature = subnet.outsider.coldkey.sign(unsigned.payload)
    await chain.wait(client.wait_for_block(await client.block() + period + 1))
    late = await client.submit_signature(unsigned, signature)
    assert (late.success, late.error.name) == (False, "BadProof")


async def test_a_spent_nonce_is_refused(client, chain, subnet) -> None:
    call = calls.Balances.transfer_keep_alive(dest=chain.root.cold, value=TAO)
    unsigned = await client.prepare_call(call, address=subnet.outsider.cold)
    signature = subnet.outsider.coldkey.sign(unsigned.payload)
    assert (await client.submit_signature(unsigned, signature)).success
    replayed = await client.submit_signature(unsigned, signature)
    assert (replayed.error.name, replayed.error.code) == ("Stale", Code.EXPIRED)
