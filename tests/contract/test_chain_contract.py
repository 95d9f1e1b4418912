"""The unmodified SDK against a chain: what the subnet does on it, whatever the transport."""

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
    refused,
    stake,
    succeed,
)

pytestmark = pytest.mark.timeout(60)


class Subnet(NamedTuple):
    netuid: int
    big: Wallet
    small: Wallet
    miner: Wallet
    idle: Wallet
    outsider: Wallet


@pytest.fixture(scope="module")
def subnet(chain: ChainUnderTest) -> Iterator[Subnet]:
    """Two validators with stake, two miners, and a funded account without a place."""

    async def set_up() -> Subnet:
        people = [chain.wallet(name) for name in ("big", "small", "miner", "idle", "outsider")]
        async with chain.connected() as client:
            await fund(client, chain, *people)
            netuid = await new_subnet(client, chain)
            await join(client, netuid, *people[:4])
            await stake(client, netuid, people[0], 100)
            await stake(client, netuid, people[1], 50)
        return Subnet(netuid, *people)

    yield asyncio.run(set_up())


async def test_a_transfer_moves_exactly_what_it_says_and_the_sender_pays_the_fee(
    client, chain, subnet
) -> None:
    target = chain.wallet("nobody").cold
    before = await client.balances.get(subnet.outsider.cold)
    result = await succeed(client, bt.Transfer(dest_ss58=target, amount_tao=3), subnet.outsider)
    after = await client.balances.get(subnet.outsider.cold)
    assert (await client.balances.get(target)).rao == 3 * TAO
    assert before.rao - after.rao == 3 * TAO + result.fee.rao
    assert result.fee.rao > 0


async def test_an_epoch_turns_stake_into_permits_and_weights_into_emission(
    client, chain, subnet
) -> None:
    netuid, big, small, miner, idle, _ = subnet
    endpoint = bt.ServeAxon(netuid=netuid, ip="198.51.100.7", port=8091)
    await succeed(client, endpoint, miner)
    event = await chain.epoch(client, netuid)
    graph = await client.subnets.metagraph(netuid, block=event.block)
    uid = {neuron.hotkey: neuron.uid for neuron in graph}
    permits = {neuron.hotkey for neuron in graph.validators}
    assert permits == {chain.root.hot, big.hot, small.hot}
    assert graph.by_hotkey(miner.hot).axon == "198.51.100.7:8091"

    for wallet in (big, small):
        await succeed(client, bt.SetWeights(netuid=netuid, weights={uid[miner.hot]: 1.0}), wallet)
    for _ in range(2):
        event = await chain.epoch(client, netuid)
    before = await client.subnets.metagraph(netuid, block=event.block - 1)
    graph = await client.subnets.metagraph(netuid, block=event.block)
    paid, poor, rich, modest = (graph.by_hotkey(who.hot) for who in (miner, idle, big, small))
    assert (paid.incentive, poor.incentive) == (1.0, 0.0)
    assert poor.emission.rao == 0 and poor.alpha_stake.rao == 0
    assert rich.dividends > modest.dividends > 0
    assert paid.emission.rao > 0
    assert paid.emission.rao == pytest.approx(rich.emission.rao + modest.emission.rao, rel=1e-3)
    earned = paid.alpha_stake.rao - before.by_hotkey(miner.hot).alpha_stake.rao
    assert earned == paid.emission.rao

    neurons = await client.neurons.all(netuid)
    (lite,) = (neuron for neuron in neurons if neuron.hotkey == miner.hot)
    assert lite.raw["incentive"] == 65_535
    assert await client.weights.weights(netuid) == {
        uid[big.hot]: {uid[miner.hot]: 1.0},
        uid[small.hot]: {uid[miner.hot]: 1.0},
    }
    snapshot = await client.at(event.block)
    held = await snapshot.staking.get(miner.cold, miner.hot, netuid)
    assert held.rao == paid.alpha_stake.rao


async def test_only_the_owner_sets_hyperparameters(client, chain, subnet) -> None:
    setting = calls.AdminUtils.sudo_set_activity_cutoff_factor
    assert await refused(client, setting(subnet.netuid, 2_000), subnet.outsider) == "BadOrigin"
    intent = bt.SetHyperparameter(subnet.netuid, "activity_cutoff_factor", 2_000)
    await succeed(client, intent, chain.root)
    read = await client.read("subnet_hyperparameters", netuid=subnet.netuid)
    assert read["activity_cutoff"] == read["tempo"] * 2


async def test_a_shielded_registration_takes_a_place_and_shows_the_inner_failure(
    client, chain, subnet
) -> None:
    late = chain.wallet("late")
    await fund(client, chain, late)
    intent = bt.BurnedRegister(netuid=subnet.netuid, hotkey_ss58=late.hot)
    await succeed(client, intent, late)
    assert await client.neurons.uid(late.hot, subnet.netuid) is not None
    async with chain.connected() as fresh:
        again = await fresh.execute(intent, subnet.outsider)
    assert (again.success, again.error.name) == (False, "HotKeyAlreadyRegisteredInSubNet")


async def test_a_commitment_reads_back_byte_for_byte_at_its_block(client, subnet) -> None:
    netuid, hotkey = subnet.netuid, subnet.miner.hot
    values = {"Raw3": b"\xff\x00!", "Raw5": b"first", "BigRaw": b"0x41" + b"0" * 400}
    blocks = []
    for name, value in values.items():
        field = {name: "0x" + value.hex()}
        call = calls.Commitments.set_commitment(netuid=netuid, info={"fields": [field]})
        result = await must(client, call, subnet.miner, "hotkey")
        blocks.append(int(result.extrinsic_id.partition("-")[0]))
    item = ("Commitments", "CommitmentOf")
    for (name, value), block in zip(values.items(), blocks, strict=True):
        record = await client.query(item, [netuid, hotkey], block=block)
        assert record["block"] == block
        ((variant, stored),) = record["info"]["fields"][0].items()
        assert variant == name
        assert stored == (value.decode() if name == "BigRaw" else "0x" + value.hex())
    assert await client.query(item, [netuid, hotkey], block=blocks[0] - 1) is None


async def test_two_clients_may_sign_for_one_account_in_turn(chain, subnet) -> None:
    target = chain.wallet("shared").cold
    async with chain.connected() as one, chain.connected() as two:
        for client in (one, two, two):
            await succeed(client, bt.Transfer(dest_ss58=target, amount_tao=1), subnet.outsider)
        assert (await one.balances.get(target)).rao == 3 * TAO


async def test_a_validator_changes_its_take(client, chain, subnet) -> None:
    name = subnet.big.hot
    before = await client.read("delegate_take", hotkey_ss58=name)
    assert before["min"] <= before["take"] == before["max"]
    await succeed(client, bt.SetTake(take=0.05, hotkey_ss58=name), subnet.big)
    after = await client.read("delegate_take", hotkey_ss58=name)
    assert after["take"] == pytest.approx(0.05, abs=1e-4)
