"""Who is paid what at an epoch, through the SDK in one process."""

from collections.abc import AsyncIterator

import bittensor as bt
import pytest
from bittensor import calls

from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.params import DevnetParams
from tests.contract.chains import TAO, Wallet, must, sudo_call, weights_call

ALICE = Wallet("//Alice")
BIG, MIDDLE, SMALL, MINER = (Wallet(f"//{name}") for name in ("Bob", "Charlie", "Dave", "Eve"))
TEMPO = 5
OWNER_CUT = 11_796
pallet, admin = calls.SubtensorModule, calls.AdminUtils


@pytest.fixture
def params() -> DevnetParams:
    return DevnetParams(tempo_blocks=TEMPO)


@pytest.fixture
async def netuid(client: bt.Client, substrate: DevnetSubstrate) -> AsyncIterator[int]:
    """Three validators whose stakes are 40, 30 and 20, and a miner."""
    await must(client, pallet.register_network(hotkey=ALICE.hot), ALICE)
    for wallet in (BIG, MIDDLE, SMALL, MINER):
        await must(client, pallet.burned_register(netuid=1, hotkey=wallet.hot), wallet)
    for wallet, tao in ((BIG, 40), (MIDDLE, 30), (SMALL, 20)):
        await must(client, pallet.add_stake(wallet.hot, 1, tao * TAO), wallet)
    yield 1


def to_epoch(substrate: DevnetSubstrate, chain: Chain, netuid: int) -> int:
    """Make blocks until the next epoch has run; how many blocks it paid for."""
    last = chain.state.get("SubtensorModule.LastEpochBlock", netuid)
    while chain.state.get("SubtensorModule.LastEpochBlock", netuid) == last:
        substrate.advance()
    return int(chain.head.number - last)


async def weigh(client: bt.Client, *wallets: Wallet) -> None:
    for wallet in wallets:
        await must(client, weights_call(1, [4]), wallet, "hotkey")


async def permitted(client: bt.Client) -> set[str]:
    return {neuron.hotkey for neuron in (await client.subnets.metagraph(1)).validators}


async def test_emission_is_split_18_41_41_and_credited_as_stake(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    to_epoch(substrate, chain, netuid)
    await weigh(client, BIG, MIDDLE, SMALL)
    to_epoch(substrate, chain, netuid)
    before = await client.subnets.metagraph(netuid)
    minted = to_epoch(substrate, chain, netuid) * TAO
    after = await client.subnets.metagraph(netuid)
    gains = {
        neuron.hotkey: neuron.alpha_stake.rao - before.by_hotkey(neuron.hotkey).alpha_stake.rao
        for neuron in after
    }
    cut = minted * OWNER_CUT // 65_535
    validators = sum(gains[wallet.hot] for wallet in (BIG, MIDDLE, SMALL))
    assert gains[ALICE.hot] == cut
    assert gains[MINER.hot] == pytest.approx((minted - cut) / 2, abs=2)
    assert validators == pytest.approx((minted - cut) / 2, abs=4)
    assert sum(gains.values()) <= minted


async def test_permits_go_to_the_largest_stakes_and_the_owner(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    to_epoch(substrate, chain, netuid)
    assert await permitted(client) == {ALICE.hot, BIG.hot, MIDDLE.hot, SMALL.hot}
    await sudo_call(client, admin.sudo_set_max_allowed_validators(netuid, 2), ALICE)
    to_epoch(substrate, chain, netuid)
    assert await permitted(client) == {ALICE.hot, BIG.hot, MIDDLE.hot}
    await must(client, pallet.add_stake(SMALL.hot, netuid, 100 * TAO), SMALL)
    to_epoch(substrate, chain, netuid)
    assert await permitted(client) == {ALICE.hot, BIG.hot, SMALL.hot}


async def test_stake_below_the_threshold_gives_no_permit(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    await sudo_call(client, admin.sudo_set_stake_threshold(25 * TAO), ALICE)
    to_epoch(substrate, chain, netuid)
    assert await permitted(client) == {ALICE.hot, BIG.hot, MIDDLE.hot}


@pytest.mark.parametrize(("cutoff_blocks", "counts"), [(13, True), (12, False)])
async def test_weights_count_until_the_activity_cutoff_has_passed(
    client: bt.Client,
    substrate: DevnetSubstrate,
    chain: Chain,
    netuid: int,
    cutoff_blocks: int,
    counts: bool,
) -> None:
    factor = cutoff_blocks * 1_000 // TEMPO
    await must(client, admin.sudo_set_activity_cutoff_factor(netuid, factor), ALICE)
    to_epoch(substrate, chain, netuid)
    await weigh(client, BIG, SMALL)
    set_at = chain.head.number
    for _ in range(3):
        await weigh(client, BIG)
        to_epoch(substrate, chain, netuid)
    assert chain.head.number - set_at == 13
    graph = await client.subnets.metagraph(netuid)
    assert graph.by_hotkey(BIG.hot).active
    assert graph.by_hotkey(SMALL.hot).active == counts


async def test_a_lower_take_leaves_a_staker_more(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    await must(client, pallet.add_stake(BIG.hot, netuid, 40 * TAO), MINER)
    to_epoch(substrate, chain, netuid)
    await weigh(client, BIG)
    to_epoch(substrate, chain, netuid)

    async def shared() -> tuple[int, int, float]:
        held = chain.state.get("SubtensorModule.TotalHotkeyAlpha", BIG.hot, netuid)
        before = (await client.staking.get(MINER.cold, BIG.hot, netuid)).rao
        to_epoch(substrate, chain, netuid)
        after = (await client.staking.get(MINER.cold, BIG.hot, netuid)).rao
        paid = chain.state.get("SubtensorModule.AlphaDividendsPerSubnet", netuid, BIG.hot)
        return after - before, paid, before / held

    gain, paid, share = await shared()
    assert gain == pytest.approx((paid - paid * OWNER_CUT // 65_535) * share, abs=2)
    await must(client, pallet.decrease_take(BIG.hot, 0), BIG)
    gain, paid, share = await shared()
    assert gain == pytest.approx(paid * share, abs=2)


async def test_eviction_takes_the_lowest_emission_before_the_older_place(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    idle = Wallet("//Eve", "idle")
    await must(client, pallet.burned_register(netuid=netuid, hotkey=idle.hot), MINER)
    await must(client, admin.sudo_set_max_allowed_uids(netuid, 6), ALICE)
    await must(client, admin.sudo_set_immunity_period(netuid, 0), ALICE)
    to_epoch(substrate, chain, netuid)
    await weigh(client, BIG, MIDDLE, SMALL)
    for _ in range(2):
        to_epoch(substrate, chain, netuid)
    newcomer = Wallet("//Eve", "newcomer")
    await must(client, pallet.burned_register(netuid=netuid, hotkey=newcomer.hot), MINER)
    hotkeys = (await client.subnets.metagraph(netuid)).hotkeys
    assert hotkeys == [ALICE.hot, BIG.hot, MIDDLE.hot, SMALL.hot, MINER.hot, newcomer.hot]
