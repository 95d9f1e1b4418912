"""Miner collateral through the unmodified SDK, over the wire."""

from collections.abc import AsyncIterator, Iterator

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from subnet.devnet.params import DevnetParams
from subnet.edge.sdk_client import connected, sdk_client

pytestmark = pytest.mark.timeout(60)
TAO = 10**9
# Long epochs: a bond is stake, and so earns and drains at each one.
SLOW = DevnetParams(block_time_seconds=0.05, tempo_blocks=10_000, burn_initial_rao=10 * TAO)


class DevWallet:
    """A wallet of well-known keys: `//Name` and `//Name//hot`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, MINER, OUTSIDER = DevWallet("Alice"), DevWallet("Dave"), DevWallet("Ferdie")


@pytest.fixture(scope="module")
def endpoint(devnet_in_thread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with devnet_in_thread(tmp_path_factory.mktemp("devnet") / "chain.sqlite", SLOW) as url:
        yield url


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[bt.Client]:
    async with connected(sdk_client(endpoint)) as opened:
        yield opened


async def succeed(client: bt.Client, intent: object, wallet: DevWallet) -> bt.ExtrinsicResult:
    result = await client.execute(intent, wallet)
    if not result.success and result.error and result.error.name == "Stale":
        # The SDK forgets that a shielded call spent two nonces; the retry reads the chain's.
        result = await client.execute(intent, wallet)
    assert result.success, (result.message, result.error)
    return result


async def refusal(client: bt.Client, intent: object, wallet: DevWallet) -> str:
    result = await client.execute(intent, wallet)
    assert not result.success
    if result.error.name == "Stale":
        result = await client.execute(intent, wallet)
    return str(result.error.name)


async def new_subnet(client: bt.Client, lock_share: float, drain_ratio: float) -> int:
    result = await succeed(client, bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    netuid = int(result.data["netuid"])
    terms = {"collateral_lock_share": lock_share, "collateral_drain_ratio": drain_ratio}
    for name, value in terms.items():
        await succeed(client, bt.SetHyperparameter(netuid, name, value), OWNER)
    return netuid


async def test_the_owners_terms_read_back(client: bt.Client) -> None:
    netuid = await new_subnet(client, 0.5, 2.5)
    policy = await client.collateral.collateral_policy(netuid)
    assert policy["lock_share"] == pytest.approx(0.5, abs=1e-4)
    assert policy["drain_ratio"] == 2.5
    read = await client.read("subnet_hyperparameters", netuid=netuid)
    assert read["collateral_lock_share"] == 32_768
    assert read["collateral_drain_ratio"] == 5 << 63


async def test_a_registration_locks_its_share_and_a_top_up_and_a_floor_read_back(
    client: bt.Client,
) -> None:
    netuid = await new_subnet(client, 0.5, 2.5)
    assert await client.collateral.miner_collateral(netuid, MINER.hot) is None
    register = bt.BurnedRegister(netuid=netuid, hotkey_ss58=MINER.hot)
    await succeed(client, register, MINER)
    first = await client.collateral.miner_collateral(netuid, MINER.hot)
    held = await client.staking.get(MINER.cold, MINER.hot, netuid)
    assert held.rao == first["locked_alpha"].rao > 4 * TAO

    more = bt.AddCollateral(netuid=netuid, amount_alpha=3, hotkey_ss58=MINER.hot)
    await succeed(client, more, MINER)
    floor = bt.SetMinCollateral(netuid=netuid, min_alpha=2, hotkey_ss58=MINER.hot)
    await succeed(client, floor, MINER)
    locked = first["locked_alpha"].rao + 3 * TAO
    bond = await client.collateral.miner_collateral(netuid, MINER.hot)
    assert bond["locked_alpha"].rao == locked
    assert bond["min_locked_alpha"].rao == 2 * TAO
    assert bond["headroom_alpha"].rao == locked - 2 * TAO
    assert bond["drain_ratio"] == 2.5
    assert bond["coldkey"] == MINER.cold

    (record,) = await client.collateral.subnet_collateral(netuid)
    assert (record["hotkey"], record["uid"]) == (MINER.hot, 1)
    neuron = (await client.subnets.metagraph(netuid)).by_hotkey(MINER.hot)
    columns = (neuron.collateral_locked, neuron.collateral_min, neuron.collateral_earned)
    assert [column.rao for column in columns] == [locked, 2 * TAO, 0]
    own = (await client.subnets.metagraph(netuid)).by_hotkey(OWNER.hot)
    assert own.collateral_locked.rao == 0


async def test_locked_alpha_is_unavailable_by_the_chains_own_name(client: bt.Client) -> None:
    netuid = await new_subnet(client, 0.9, 1.0)
    await succeed(client, bt.BurnedRegister(netuid=netuid, hotkey_ss58=MINER.hot), MINER)
    stake = bt.AddStake(hotkey_ss58=MINER.hot, netuid=netuid, amount_tao=2)
    await succeed(client, stake, MINER)

    def remove(amount: float) -> object:
        return bt.RemoveStake(hotkey_ss58=MINER.hot, netuid=netuid, amount_alpha=amount)

    assert await refusal(client, remove(2.5), MINER) == "StakeUnavailable"
    await succeed(client, remove(1.5), MINER)
    everything = bt.AddCollateral(netuid=netuid, amount_alpha="all", hotkey_ss58=MINER.hot)
    await succeed(client, everything, MINER)
    bond = await client.collateral.miner_collateral(netuid, MINER.hot)
    held = await client.staking.get(MINER.cold, MINER.hot, netuid)
    assert bond["locked_alpha"].rao == held.rao
    assert await refusal(client, remove(0.5), MINER) == "StakeUnavailable"


async def test_only_a_hotkeys_owner_locks_for_it(client: bt.Client) -> None:
    netuid = await new_subnet(client, 0.5, 1.0)
    await succeed(client, bt.BurnedRegister(netuid=netuid, hotkey_ss58=MINER.hot), MINER)
    floor = bt.SetMinCollateral(netuid=netuid, min_alpha=2, hotkey_ss58=MINER.hot)
    assert await refusal(client, floor, OUTSIDER) == "NonAssociatedColdKey"
    more = bt.AddCollateral(netuid=netuid, amount_alpha=3, hotkey_ss58=MINER.hot)
    assert await refusal(client, more, OUTSIDER) == "NonAssociatedColdKey"
