"""Who backs whom, as btcli reads it; and the start of a subnet, which happens once."""

import bittensor as bt
from bittensor import calls
from bittensor.sp_core import Keypair


class DevWallet:
    """Well-known keys."""

    def __init__(self, name: str) -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, BACKER = DevWallet("Alice"), DevWallet("Bob")


async def open_subnet(client: bt.Client) -> int:
    done = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    return int(done.data["netuid"])


async def test_a_position_names_the_delegate_that_it_is_held_behind(client: bt.Client) -> None:
    netuid = await open_subnet(client)
    assert await client.read("delegated", coldkey_ss58=BACKER.cold) == []
    stake = bt.AddStake(hotkey_ss58=OWNER.hot, netuid=netuid, amount_tao=7)
    assert (await client.execute(stake, BACKER)).success
    (position,) = await client.read("delegated", coldkey_ss58=BACKER.cold)
    assert (position.netuid, position.stake.rao) == (netuid, 7 * 10**9)
    delegate = await client.read("delegate", hotkey_ss58=OWNER.hot)
    assert position.delegate == delegate
    assert (delegate.owner, delegate.registrations) == (OWNER.cold, [netuid])
    assert await client.read("delegates") == [delegate]
    assert await client.read("delegate", hotkey_ss58=BACKER.hot) is None


async def test_a_backer_counts_once_however_many_subnets_it_backs(client: bt.Client) -> None:
    netuid = await open_subnet(client)
    for where in (0, netuid):
        stake = bt.AddStake(hotkey_ss58=OWNER.hot, netuid=where, amount_tao=7)
        assert (await client.execute(stake, BACKER)).success
    delegate = await client.read("delegate", hotkey_ss58=OWNER.hot)
    held = await client.read("delegated", coldkey_ss58=BACKER.cold)
    assert delegate.nominators == 1
    assert [one.netuid for one in held] == [0, netuid]


async def test_a_subnet_is_started_once_and_by_its_owner(client: bt.Client) -> None:
    netuid = await open_subnet(client)
    start = calls.SubtensorModule.start_call(netuid)
    assert (await client.submit_call(start, BACKER)).error.name == "BadOrigin"
    done = await client.submit_call(start, OWNER)
    assert done.success
    first = await client.query(("SubtensorModule", "FirstEmissionBlockNumber"), [netuid])
    assert first == int(done.extrinsic_id.partition("-")[0]) + 1
    again = await client.submit_call(start, OWNER)
    assert again.error.name == "FirstEmissionBlockNumberAlreadySet"


async def test_take_has_the_bounds_that_btcli_shows(client: bt.Client) -> None:
    await open_subnet(client)
    take = await client.read("delegate_take", hotkey_ss58=OWNER.hot)
    assert 0 == take["min"] < take["take"] == take["max"]
