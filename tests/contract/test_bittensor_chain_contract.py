"""`ports.Chain` over the unmodified SDK against the devnet: what roles ask for, over the wire."""

import asyncio

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from subnet.config import ChainSettings
from subnet.edge.bittensor_chain import BittensorChain
from subnet.edge.sdk_client import connected, sdk_client
from subnet.ports import ChainError, Endpoint

pytestmark = pytest.mark.timeout(60)


class DevWallet:
    """Well-known keys."""

    def __init__(self, name):
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")


OWNER, MINER, OUTSIDER = DevWallet("Alice"), DevWallet("Dave"), DevWallet("Ferdie")


@pytest.fixture(scope="module")
def endpoint(devnet_in_thread, tmp_path_factory):
    with devnet_in_thread(tmp_path_factory.mktemp("devnet") / "chain.sqlite") as url:
        yield url


@pytest.fixture(scope="module")
def netuid(endpoint):
    async def set_up():
        async with connected(sdk_client(endpoint)) as client:
            hot = OWNER.hotkey.ss58_address
            done = await client.execute(bt.RegisterSubnet(hotkey_ss58=hot), OWNER)
            number = int(done.data["netuid"])
            await client.execute(bt.AddStake(hotkey_ss58=hot, netuid=number, amount_tao=100), OWNER)
        async with connected(sdk_client(endpoint)) as client:
            hot = MINER.hotkey.ss58_address
            await client.execute(bt.BurnedRegister(netuid=number, hotkey_ss58=hot), MINER)
        return number

    return asyncio.run(set_up())


@pytest.fixture
async def chains(endpoint, netuid):
    settings = ChainSettings(network=endpoint, netuid=netuid, timeout_seconds=20)
    opened = [await BittensorChain.connect(settings, one) for one in (OWNER, MINER, OUTSIDER)]
    yield opened
    for chain in opened:
        await chain.close()


async def test_an_endpoint_is_published_once(chains):
    _, miner, _ = chains
    hotkey = MINER.hotkey.ss58_address
    assert await miner.publish_endpoint("10.1.2.3", 8091)
    assert not await miner.publish_endpoint("10.1.2.3", 8091)
    row = (await miner.metagraph()).neuron(hotkey)
    assert row.endpoint == Endpoint(hotkey, "10.1.2.3", 8091)


async def test_an_outsider_cannot_publish(chains):
    with pytest.raises(ChainError, match="not registered"):
        await chains[2].publish_endpoint("10.1.2.3", 8091)


async def test_a_commitment_comes_back_byte_for_byte_and_the_latest_wins(chains):
    owner, miner, _ = chains
    for data in (bytes(range(89)), b"plain text", bytes(range(128, 256))):
        await owner.commit(data)
        assert await miner.commitment(OWNER.hotkey.ss58_address) == data
    assert await miner.commitment(MINER.hotkey.ss58_address) is None


async def test_a_final_block_has_the_hash_that_everybody_sees(chains):
    owner, miner, _ = chains
    block = await owner.block_number() + 1
    assert await owner.wait_for_block(block) >= block
    assert await owner.block_hash(block) == await miner.block_hash(block)
    assert len(await owner.block_hash(block)) == 32


async def test_weights_set_after_an_epoch_pay_the_miner_at_the_next(chains):
    owner, _, _ = chains
    await owner.wait_for_epoch()
    graph = await owner.metagraph()
    assert graph.neuron(OWNER.hotkey.ss58_address).has_validator_permit
    uid = graph.neuron(MINER.hotkey.ss58_address).uid
    await owner.set_weights({uid: 65_535_000}, 1 << 32)
    await owner.wait_for_epoch()
    row = (await owner.metagraph()).neuron(MINER.hotkey.ss58_address)
    assert row.incentive == pytest.approx(1.0, abs=1e-4)
    assert row.emission_rao > 0


async def test_a_refusal_carries_the_chains_own_word(chains):
    with pytest.raises(ChainError, match=r"(?i)not.?registered"):
        await chains[2].set_weights({0: 1}, 0)
