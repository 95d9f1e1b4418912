"""What a chain tells: events, heads, subscriptions, and its past."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import bittensor as bt
import pytest
from bittensor import calls

from tests.contract.chains import (
    TAO,
    ChainUnderTest,
    Wallet,
    find,
    fund,
    join,
    must,
    new_subnet,
    stake,
    weights_call,
)

pytestmark = pytest.mark.timeout(60)
SUBTENSOR = "SubtensorModule"


class Subnet(NamedTuple):
    netuid: int
    validator: Wallet
    newcomer: Wallet


@pytest.fixture(scope="module")
def subnet(chain: ChainUnderTest) -> Iterator[Subnet]:
    """A subnet with a staked validator, and a funded account without a place."""

    async def set_up() -> Subnet:
        validator, newcomer = chain.wallet("val"), chain.wallet("newcomer")
        async with chain.connected() as client:
            await fund(client, chain, validator, newcomer)
            netuid = await new_subnet(client, chain)
            await join(client, netuid, validator)
            await stake(client, netuid, validator, 100)
        return Subnet(netuid, validator, newcomer)

    yield asyncio.run(set_up())


async def take(headers: AsyncIterator[Any], count: int) -> list[Any]:
    seen = []
    async for header in headers:
        seen.append(header)
        if len(seen) == count:
            break
    return seen


def block_of(result: bt.ExtrinsicResult) -> int:
    return int(result.extrinsic_id.partition("-")[0])


async def test_every_call_that_a_subnet_makes_leaves_its_event(client, chain, subnet) -> None:
    netuid, validator, newcomer = subnet
    pallet = calls.SubtensorModule
    one_tao = {"hotkey": validator.hot, "netuid": netuid}
    info = {"fields": [{"Raw1": "0x41"}]}
    axon = pallet.serve_axon(netuid, 1, 0xC6336407, 8091, 4, 4, 0, 0)
    own = [await client.neurons.uid(validator.hot, netuid)]
    register = pallet.burned_register(netuid=netuid, hotkey=newcomer.hot)
    transfer = calls.Balances.transfer_keep_alive(dest=newcomer.cold, value=TAO)
    for call, wallet, signer, module, event in (
        (transfer, validator, "coldkey", "Balances", "Transfer"),
        (register, newcomer, "coldkey", SUBTENSOR, "NeuronRegistered"),
        (
            pallet.add_stake(**one_tao, amount_staked=TAO),
            validator,
            "coldkey",
            SUBTENSOR,
            "StakeAdded",
        ),
        (
            pallet.remove_stake(**one_tao, amount_unstaked=TAO // 2),
            validator,
            "coldkey",
            SUBTENSOR,
            "StakeRemoved",
        ),
        (
            pallet.decrease_take(validator.hot, 5_000),
            validator,
            "coldkey",
            SUBTENSOR,
            "TakeDecreased",
        ),
        (axon, validator, "hotkey", SUBTENSOR, "AxonServed"),
        (weights_call(netuid, own), validator, "hotkey", SUBTENSOR, "WeightsSet"),
        (
            calls.Commitments.set_commitment(netuid=netuid, info=info),
            validator,
            "hotkey",
            "Commitments",
            "Commitment",
        ),
        (pallet.trigger_epoch(netuid=netuid), chain.root, "coldkey", SUBTENSOR, "EpochTriggered"),
    ):
        result = await must(client, call, wallet, signer)
        assert len(find(result.events, module, event)) == 1, event
        assert len(find(result.events, "System", "ExtrinsicSuccess")) == 1
        (index,) = {record.get("extrinsic_idx") for record in result.events}
        assert int(result.extrinsic_id.partition("-")[2]) == index


async def test_a_refused_call_leaves_its_failure_and_no_other_event(client, chain, subnet) -> None:
    again = calls.SubtensorModule.burned_register(netuid=subnet.netuid, hotkey=subnet.validator.hot)
    result = await client.submit_call(again, subnet.validator)
    block, _, index = result.extrinsic_id.partition("-")
    block_hash = await client._substrate.block_hash(int(block))
    events = [
        record
        for record in await client._substrate.events(block_hash)
        if record.get("extrinsic_idx") == int(index)
    ]
    assert len(find(events, "System", "ExtrinsicFailed")) == 1
    assert not find(events, SUBTENSOR, "NeuronRegistered")
    assert not find(events, "System", "ExtrinsicSuccess")


async def test_an_epoch_leaves_its_event_in_its_block(client, chain, subnet) -> None:
    epoch = await chain.epoch(client, subnet.netuid)
    status = await client.read("epoch_status", netuid=subnet.netuid)
    assert status["tempo"] > 0 and epoch.block > epoch.previous
    at = await client.at(epoch.block)
    before = await client.at(epoch.block - 1)
    item = (SUBTENSOR, "SubnetEpochIndex")
    indexes = [await view.query(item, [subnet.netuid]) for view in (before, at)]
    assert indexes[1] == indexes[0] + 1
    assert await at.query((SUBTENSOR, "LastEpochBlock"), [subnet.netuid]) == epoch.block
    assert epoch.previous == await before.query((SUBTENSOR, "LastEpochBlock"), [subnet.netuid])


async def test_headers_follow_one_another_and_name_their_parents(client, chain) -> None:
    seen = await chain.wait(take(client.blocks(), 3))
    assert [header.number - seen[0].number for header in seen] == [0, 1, 2]
    parent = await client.query(("System", "ParentHash"), block=seen[2].number)
    assert parent == seen[2].parent_hash
    assert seen[2].parent_hash == await client._substrate.block_hash(seen[1].number)
    info = await client.block_info(seen[1].number)
    assert info.hash == seen[2].parent_hash
    assert info.timestamp == await client.timestamp(seen[1].number)
    times = [await client.timestamp(header.number) for header in seen]
    assert times[0] < times[1] < times[2]


async def test_finalised_headers_are_the_chains_own(client, chain) -> None:
    seen = await chain.wait(take(client.blocks(finalized=True), 3))
    numbers = [header.number for header in seen]
    assert numbers == sorted(set(numbers))
    assert await client.finalized_block() >= numbers[-1]
    for header in seen:
        canonical = await client.block_info(header.number)
        assert canonical.header["parentHash"] == header.parent_hash


async def test_what_a_client_is_told_is_final_is_below_the_finalised_head(
    client, chain, subnet
) -> None:
    call = calls.Balances.transfer_keep_alive(dest=chain.root.cold, value=1)
    result = await must(client, call, subnet.validator)
    assert block_of(result) <= await client.finalized_block() <= await client.block()
    assert result.block_hash == await client._substrate.block_hash(block_of(result))


async def test_two_subscriptions_of_one_client_see_the_same_blocks(client, chain) -> None:
    both = asyncio.gather(take(client.blocks(), 4), take(client.blocks(), 4))
    first, second = await chain.wait(both)
    hashes = [{header.number: header.parent_hash for header in seen} for seen in (first, second)]
    shared = hashes[0].keys() & hashes[1].keys()
    assert len(shared) >= 2
    assert all(hashes[0][number] == hashes[1][number] for number in shared)


async def test_waiting_for_a_block_ends_at_that_block(client, chain) -> None:
    target = await client.block() + 3
    header = await chain.wait(client.wait_for_block(target))
    assert header.number >= target
    assert await client.block() >= target


async def test_the_past_stays_as_it_was(client, chain, subnet) -> None:
    netuid, validator, _ = subnet
    call = calls.SubtensorModule.add_stake(
        hotkey=validator.hot, netuid=netuid, amount_staked=10 * TAO
    )
    block = block_of(await must(client, call, validator))
    free, held, totals = [], [], []
    for number in (block - 1, block):
        view = await client.at(number)
        free.append((await view.balances.get(validator.cold)).rao)
        held.append((await view.staking.get(validator.cold, validator.hot, netuid)).rao)
        graph = await view.subnets.metagraph(netuid)
        totals.append(graph.by_hotkey(validator.hot).alpha_stake.rao)
        assert await client.subnets.metagraph(netuid, block=number) == graph
    assert free[0] - free[1] > 10 * TAO
    assert held[1] > held[0]
    assert totals == held
    await must(client, call, validator)
    view = await client.at(block)
    assert (await view.balances.get(validator.cold)).rao == free[1]
    assert (await view.staking.get(validator.cold, validator.hot, netuid)).rao == held[1]
    item = ("System", "Account")
    nonces = [
        (await client.query(item, [validator.cold], block=number))["nonce"]
        for number in (block - 1, block)
    ]
    assert nonces[1] == nonces[0] + 1


async def test_reads_of_many_agree_with_reads_of_one(client, chain, subnet) -> None:
    netuid = subnet.netuid
    view = await client.at()
    uids = dict(await view.query_map((SUBTENSOR, "Uids"), [netuid]))
    single = {key: await view.query((SUBTENSOR, "Uids"), [netuid, key]) for key in uids}
    batch = await view.query_batch((SUBTENSOR, "Uids"), [[netuid, key] for key in uids])
    assert uids == single
    assert list(uids.values()) == batch
    assert len(uids) == await view.query((SUBTENSOR, "SubnetworkN"), [netuid])
