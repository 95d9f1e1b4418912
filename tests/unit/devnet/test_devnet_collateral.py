"""Miner collateral on the chain: what a registration locks, and how earning gives it back."""

from typing import Any

import bittensor as bt
import pytest
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.params import DevnetParams

TAO = 10**9
HALF = 32_768
ONE = 1 << 64
SHARE = HALF * ONE // 65_535


class DevWallet:
    def __init__(self, name: str, hotkey: str = "hot") -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//{hotkey}")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, VALIDATOR, MINER = DevWallet("Alice"), DevWallet("Bob"), DevWallet("Dave")


async def send(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "coldkey") -> Any:
    result = await client.submit_call(call, wallet, signer=signer)
    assert result.success, result.message
    return result


async def refusal(client: bt.Client, call: Any, wallet: DevWallet) -> str:
    result = await client.submit_call(call, wallet)
    assert not result.success
    return str(result.error.name)


async def register(client: bt.Client, netuid: int, wallet: DevWallet) -> Any:
    return await send(client, calls.SubtensorModule.burned_register(netuid, wallet.hot), wallet)


@pytest.fixture
def params() -> DevnetParams:
    """Epochs so rare that none comes between two calls: even a lone bond earns dividends."""
    return DevnetParams(
        tempo_blocks=50, immunity_period_blocks=6, max_allowed_uids=3, burn_initial_rao=TAO
    )


@pytest.fixture
async def netuid(client: bt.Client) -> int:
    result = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    number = int(result.data["netuid"])
    call = calls.AdminUtils.sudo_set_collateral_lock_share(number, HALF)
    await send(client, call, OWNER)
    return number


def bond(chain: Chain, netuid: int, wallet: DevWallet = MINER) -> dict[str, Any]:
    row: dict[str, Any] = chain.state.get(
        "SubtensorModule.MinerCollateral", netuid, wallet.hot, wallet.cold
    )
    return row


def held(chain: Chain, netuid: int, wallet: DevWallet = MINER) -> int:
    return int(chain.state.get("Devnet.Stake", wallet.hot, netuid, wallet.cold) or 0)


def accounted(chain: Chain) -> int:
    free = sum(info["data"]["free"] for _, info in chain.state.entries("System.Account"))
    return int(free + chain.state.get("SubtensorModule.TotalStake"))


def add_collateral(netuid: int, alpha: int, limit_price: int = TAO) -> Any:
    return calls.SubtensorModule.add_collateral(netuid, MINER.hot, alpha, limit_price)


async def earn_epochs(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int, epochs: int
) -> None:
    """Let the validator weigh the miner, then run that many epochs that pay it."""
    if not chain.state.get("SubtensorModule.Weights", netuid, 1):
        await register(client, netuid, VALIDATOR)
        await send(
            client, calls.SubtensorModule.add_stake(VALIDATOR.hot, netuid, 50 * TAO), VALIDATOR
        )
        run_epoch(chain, substrate, netuid)
        uid = chain.state.get("SubtensorModule.Uids", netuid, MINER.hot)
        weights = calls.SubtensorModule.set_mechanism_weights(netuid, 0, [uid], [1], 0)
        await send(client, weights, VALIDATOR, "hotkey")
    for _ in range(epochs):
        run_epoch(chain, substrate, netuid)


def run_epoch(chain: Chain, substrate: DevnetSubstrate, netuid: int) -> None:
    index = chain.state.get("SubtensorModule.SubnetEpochIndex", netuid)
    while chain.state.get("SubtensorModule.SubnetEpochIndex", netuid) == index:
        substrate.advance()


async def register_for(client: bt.Client, chain: Chain, netuid: int) -> tuple[int, int]:
    """Register the miner; what was burned and what was newly locked."""
    issued, before = chain.state.get("Balances.TotalIssuance"), held(chain, netuid)
    result = await register(client, netuid, MINER)
    burned = issued - chain.state.get("Balances.TotalIssuance") - result.fee.rao
    return burned, held(chain, netuid) - before


async def test_a_registration_burns_one_share_of_its_price_and_locks_the_other(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    before = chain.state.get("SubtensorModule.Burn", netuid)
    burned, locked = await register_for(client, chain, netuid)
    assert bond(chain, netuid)["locked"] == locked == (burned + locked) * SHARE // ONE
    assert 0.99 * before < burned + locked <= before
    assert accounted(chain) == chain.state.get("Balances.TotalIssuance")


async def test_locked_alpha_cannot_be_unstaked_and_the_rest_can(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await register(client, netuid, MINER)
    locked = bond(chain, netuid)["locked"]
    await send(client, calls.SubtensorModule.add_stake(MINER.hot, netuid, 2 * TAO), MINER)
    remove = calls.SubtensorModule.remove_stake
    assert (
        await refusal(client, remove(MINER.hot, netuid, 2 * TAO + 1), MINER) == "StakeUnavailable"
    )
    await send(client, remove(MINER.hot, netuid, 2 * TAO), MINER)
    assert held(chain, netuid) == locked == bond(chain, netuid)["locked"]
    available = await client.read("stake_availability", coldkey_ss58=MINER.cold, netuid=netuid)
    assert available["available"].rao == 0


async def test_another_stakers_alpha_behind_a_bonded_hotkey_stays_free(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await register(client, netuid, MINER)
    await send(client, calls.SubtensorModule.add_stake(MINER.hot, netuid, TAO), VALIDATOR)
    await send(client, calls.SubtensorModule.remove_stake(MINER.hot, netuid, TAO), VALIDATOR)


async def test_earning_drains_the_lock_at_the_ratio_of_the_registration(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    slow = calls.AdminUtils.sudo_set_collateral_drain_ratio(netuid, {"bits": ONE // 8})
    await send(client, slow, OWNER)
    await register(client, netuid, MINER)
    fast = calls.AdminUtils.sudo_set_collateral_drain_ratio(netuid, {"bits": 10 * ONE})
    await send(client, fast, OWNER)
    await send(client, add_collateral(netuid, 20 * TAO), MINER)
    await earn_epochs(client, chain, substrate, netuid, 1)
    before, stake = bond(chain, netuid), held(chain, netuid)
    run_epoch(chain, substrate, netuid)
    after = bond(chain, netuid)
    earned = held(chain, netuid) - stake
    assert earned == after["earned"] - before["earned"] > 0
    assert before["locked"] - after["locked"] == earned // 8


async def test_the_drain_stops_at_the_floor_and_ends_without_one(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    await register(client, netuid, MINER)
    floor = bond(chain, netuid)["locked"] // 3
    set_floor = calls.SubtensorModule.set_min_collateral
    await send(client, set_floor(netuid, MINER.hot, floor), MINER)
    await earn_epochs(client, chain, substrate, netuid, 3)
    assert bond(chain, netuid)["locked"] == floor
    await send(client, set_floor(netuid, MINER.hot, 0), MINER)
    run_epoch(chain, substrate, netuid)
    assert bond(chain, netuid) is None
    assert chain.state.peek("SubtensorModule.ColdkeyMinerCollateral", netuid, MINER.cold) is None
    assert chain.state.peek("SubtensorModule.ColdkeyCollateralHotkeys", netuid, MINER.cold) is None


async def test_below_the_floor_all_incentive_is_locked_until_it_is_met(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    await register(client, netuid, MINER)
    floor = bond(chain, netuid)["locked"] + 30 * TAO
    raise_floor = calls.SubtensorModule.set_min_collateral(netuid, MINER.hot, floor)
    await send(client, raise_floor, MINER)
    await earn_epochs(client, chain, substrate, netuid, 0)
    before, stake = bond(chain, netuid)["locked"], held(chain, netuid)
    run_epoch(chain, substrate, netuid)
    between = bond(chain, netuid)["locked"]
    assert between - before == held(chain, netuid) - stake > 0
    run_epoch(chain, substrate, netuid)
    assert between < bond(chain, netuid)["locked"] == floor < held(chain, netuid)


async def test_a_validators_floor_takes_its_take_and_never_its_stakers_share(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    await register(client, netuid, VALIDATOR)
    await send(client, calls.SubtensorModule.add_stake(VALIDATOR.hot, netuid, 50 * TAO), MINER)
    floor = calls.SubtensorModule.set_min_collateral(netuid, VALIDATOR.hot, 1_000 * TAO)
    await send(client, floor, VALIDATOR)
    run_epoch(chain, substrate, netuid)
    before = bond(chain, netuid, VALIDATOR)
    run_epoch(chain, substrate, netuid)
    after = bond(chain, netuid, VALIDATOR)
    paid = chain.state.get("SubtensorModule.AlphaDividendsPerSubnet", netuid, VALIDATOR.hot)
    assert after["locked"] - before["locked"] == paid * 11_796 // 65_535 > 0
    assert after["earned"] - before["earned"] == paid


async def test_a_lock_outlives_eviction_and_is_credited_at_the_next_registration(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    await register(client, netuid, MINER)
    standing = bond(chain, netuid)["locked"]
    substrate.advance(6)
    for index in range(2):
        await register(client, netuid, DevWallet("Eve", f"hot{index}"))
    assert chain.state.get("SubtensorModule.Uids", netuid, MINER.hot) is None
    assert bond(chain, netuid)["locked"] == standing
    (record,) = [
        row for row in await client.collateral.subnet_collateral(netuid) if row["uid"] is None
    ]
    assert record["hotkey"] == MINER.hot
    substrate.advance(6)
    burned, topped_up = await register_for(client, chain, netuid)
    locked = standing + topped_up
    assert topped_up > 0
    assert bond(chain, netuid)["locked"] == locked == (burned + locked) * SHARE // ONE


async def test_more_collateral_uses_free_stake_before_tao(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await register(client, netuid, MINER)
    locked = bond(chain, netuid)["locked"]
    await send(client, calls.SubtensorModule.add_stake(MINER.hot, netuid, 2 * TAO), MINER)
    await send(client, add_collateral(netuid, TAO), MINER)
    assert held(chain, netuid) == locked + 2 * TAO
    assert bond(chain, netuid)["locked"] == locked + TAO
    await send(client, add_collateral(netuid, 3 * TAO), MINER)
    assert held(chain, netuid) == bond(chain, netuid)["locked"] == locked + 4 * TAO
    assert accounted(chain) == chain.state.get("Balances.TotalIssuance")


async def test_collateral_calls_are_refused_by_the_chains_own_names(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await register(client, netuid, MINER)
    set_floor = calls.SubtensorModule.set_min_collateral
    unknown = DevWallet("Ferdie").hot
    add = calls.SubtensorModule.add_collateral
    for call, wallet, name in (
        (add_collateral(0, TAO), MINER, "RegistrationNotPermittedOnRootSubnet"),
        (add_collateral(9, TAO), MINER, "SubnetNotExists"),
        (add(netuid, unknown, TAO, TAO), MINER, "HotKeyAccountNotExists"),
        (add_collateral(netuid, TAO), VALIDATOR, "NonAssociatedColdKey"),
        (add_collateral(netuid, 0), MINER, "AmountTooLow"),
        (add_collateral(netuid, 1_999_999), MINER, "AmountTooLow"),
        (add_collateral(netuid, 10**7 * TAO), MINER, "NotEnoughBalanceToStake"),
        (add_collateral(netuid, TAO, TAO - 1), MINER, "SlippageTooHigh"),
        (set_floor(0, MINER.hot, TAO), MINER, "RegistrationNotPermittedOnRootSubnet"),
        (set_floor(9, MINER.hot, TAO), MINER, "SubnetNotExists"),
        (set_floor(netuid, unknown, TAO), MINER, "HotKeyAccountNotExists"),
        (set_floor(netuid, MINER.hot, TAO), VALIDATOR, "NonAssociatedColdKey"),
    ):
        assert await refusal(client, call, wallet) == name


async def test_a_coldkey_has_at_most_32_bonded_hotkeys_on_a_subnet(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await register(client, netuid, MINER)
    full = [f"hotkey-{index}" for index in range(31)]
    index = "SubtensorModule.ColdkeyCollateralHotkeys"
    chain.state.put(index, netuid, MINER.cold, [MINER.hot, *full])
    await send(client, add_collateral(netuid, TAO), MINER)
    other = DevWallet("Dave", "second")
    more = calls.SubtensorModule.burned_register(netuid, other.hot)
    assert await refusal(client, more, other) == "ColdkeyCollateralPositionsFull"
