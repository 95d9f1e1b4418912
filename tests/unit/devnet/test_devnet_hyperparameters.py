"""Hyperparameters: who may set them, within which bounds, and what a change does at once."""

from typing import Any

import bittensor as bt
import pytest
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.schema.calls import CALLS
from subnet.devnet.schema.hyperparameters import PARAMETERS, Parameter

TAO = 10**9
ONE = 1 << 64


class DevWallet:
    def __init__(self, name: str) -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


ROOT, OWNER, OUTSIDER = DevWallet("Alice"), DevWallet("Bob"), DevWallet("Eve")
SETTABLE = [parameter for parameter in PARAMETERS if parameter.setter]


def setter(parameter: Parameter, netuid: int, value: Any) -> Any:
    arguments = {"netuid": netuid, parameter.argument: value}
    return calls.Call("AdminUtils", parameter.setter, arguments)


def admin(name: str, netuid: int, value: Any) -> Any:
    parameter = next(parameter for parameter in SETTABLE if parameter.name == name)
    return setter(parameter, netuid, value)


async def send(client: bt.Client, call: Any, wallet: DevWallet) -> None:
    result = await client.submit_call(call, wallet)
    assert result.success, result.message


async def refusal(client: bt.Client, call: Any, wallet: DevWallet = OWNER) -> str:
    result = await client.submit_call(call, wallet)
    assert not result.success
    return str(result.error.name)


async def sudo(client: bt.Client, name: str, netuid: int, value: Any) -> Any:
    return calls.Sudo.sudo(call=await client.compose(admin(name, netuid, value)))


@pytest.fixture
async def netuid(client: bt.Client) -> int:
    await send(client, calls.SubtensorModule.register_network(OWNER.hot), OWNER)
    return 1


def same(parameter: Parameter) -> Any:
    """A value that every subnet may have."""
    if parameter.name in ("tempo", "max_allowed_uids", "max_validators"):
        return 3
    return True if parameter.name == "registration_allowed" else parameter.default


async def test_the_owner_sets_all_but_what_is_roots_and_nobody_else_sets_anything(
    client: bt.Client, netuid: int
) -> None:
    for parameter in SETTABLE:
        call = setter(parameter, netuid, same(parameter))
        assert await refusal(client, call, OUTSIDER) == "BadOrigin"
        if parameter.root:
            assert await refusal(client, call) == "BadOrigin"
            call = await sudo(client, parameter.name, netuid, same(parameter))
            await send(client, call, ROOT)
        else:
            await send(client, call, OWNER)
    for wallet in (OUTSIDER, ROOT):
        trigger = calls.SubtensorModule.trigger_epoch(netuid)
        assert await refusal(client, trigger, wallet) == "BadOrigin"
    roots = {parameter.name for parameter in SETTABLE if parameter.root}
    assert roots == {"kappa", "weights_rate_limit", "max_validators"}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("tempo", 1, "TempoOutOfBounds"),
        ("tempo", 50_401, "TempoOutOfBounds"),
        ("activity_cutoff_factor", 999, "ActivityCutoffFactorMilliOutOfBounds"),
        ("activity_cutoff_factor", 50_001, "ActivityCutoffFactorMilliOutOfBounds"),
        ("registration_allowed", False, "InvalidValue"),
        ("min_burn", TAO, "ValueNotInBounds"),
        ("max_burn", TAO // 10, "ValueNotInBounds"),
        ("burn_half_life", 0, "InvalidValue"),
        ("burn_half_life", 36_101, "InvalidValue"),
        ("burn_increase_mult", {"bits": ONE - 1}, "InvalidValue"),
        ("burn_increase_mult", {"bits": 3 * ONE + 1}, "InvalidValue"),
        ("bonds_moving_avg", 975_001, "BondsMovingAverageMaxReached"),
        ("max_allowed_uids", 1, "MaxAllowedUidsLessThanMinAllowedUids"),
        ("max_allowed_uids", 2, "MaxAllowedUIdsLessThanCurrentUIds"),
        ("max_allowed_uids", 257, "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids"),
        ("commit_reveal_period", 0, "RevealPeriodTooSmall"),
        ("commit_reveal_period", 101, "RevealPeriodTooLarge"),
        ("alpha_sigmoid_steepness", -1, "NegativeSigmoidSteepness"),
        ("collateral_lock_share", 62_259, "CollateralLockShareTooHigh"),
        ("collateral_drain_ratio", {"bits": 0}, "CollateralDrainRatioOutOfBounds"),
        ("collateral_drain_ratio", {"bits": 10 * ONE + 1}, "CollateralDrainRatioOutOfBounds"),
    ],
)
async def test_a_value_out_of_bounds_is_refused_by_the_chains_own_name(
    client: bt.Client, chain: Chain, netuid: int, name: str, value: Any, error: str
) -> None:
    for hotkey in ("one", "two"):
        key = str(Keypair.create_from_uri(f"//Bob//{hotkey}").ss58_address)
        await send(client, calls.SubtensorModule.burned_register(netuid, key), OWNER)
    item = next(parameter.item for parameter in SETTABLE if parameter.name == name)
    before = chain.state.get(f"SubtensorModule.{item}", netuid)
    assert await refusal(client, admin(name, netuid, value)) == error
    assert chain.state.get(f"SubtensorModule.{item}", netuid) == before


async def test_bounds_between_parameters_hold_from_both_sides(
    client: bt.Client, netuid: int
) -> None:
    await send(client, admin("max_burn", netuid, TAO // 2), OWNER)
    assert await refusal(client, admin("min_burn", netuid, TAO // 2)) == "ValueNotInBounds"
    await send(client, admin("min_burn", netuid, TAO // 2 - 1), OWNER)
    assert await refusal(client, admin("max_burn", netuid, TAO // 2 - 1)) == "ValueNotInBounds"
    too_many = await sudo(client, "max_validators", netuid, 4)
    assert await refusal(client, too_many, ROOT) == "MaxValidatorsLargerThanMaxUIds"
    await send(client, await sudo(client, "max_validators", netuid, 3), ROOT)
    await send(client, admin("network_pow_registration_allowed", netuid, True), OWNER)
    await send(client, admin("registration_allowed", netuid, False), OWNER)
    last_way = admin("network_pow_registration_allowed", netuid, False)
    assert await refusal(client, last_way) == "InvalidValue"


async def test_root_may_go_where_the_owner_may_not(client: bt.Client, netuid: int) -> None:
    for name, value in (
        ("tempo", 1),
        ("bonds_moving_avg", 975_001),
        ("alpha_sigmoid_steepness", -1),
    ):
        await send(client, await sudo(client, name, netuid, value), ROOT)
    root_net = await sudo(client, "collateral_lock_share", 0, 1)
    assert await refusal(client, root_net, ROOT) == "NotPermittedOnRootSubnet"
    nowhere = await sudo(client, "rho", 9, 1)
    assert await refusal(client, nowhere, ROOT) == "SubnetDoesNotExist"


async def test_alpha_values_need_liquid_alpha_and_keep_their_order(
    client: bt.Client, netuid: int
) -> None:
    set_alpha = calls.AdminUtils.sudo_set_alpha_values
    assert await refusal(client, set_alpha(netuid, 2_000, 60_000)) == "LiquidAlphaDisabled"
    await send(client, admin("liquid_alpha_enabled", netuid, True), OWNER)
    assert await refusal(client, set_alpha(netuid, 1_637, 60_000)) == "AlphaLowOutOfRange"
    assert await refusal(client, set_alpha(netuid, 60_001, 60_000)) == "AlphaLowOutOfRange"
    assert await refusal(client, set_alpha(netuid, 1_000, 1_637)) == "AlphaHighTooLow"
    assert await refusal(client, set_alpha(netuid, 2_000, 60_000), OUTSIDER) == "BadOrigin"
    await send(client, set_alpha(netuid, 2_000, 60_000), OWNER)


async def test_a_new_tempo_starts_the_cycle_anew_and_loses_no_emission(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    registered = chain.head.number
    substrate.advance(2)
    await send(client, admin("tempo", netuid, 6), OWNER)
    changed = chain.head.number
    assert chain.state.get("SubtensorModule.LastEpochBlock", netuid) == changed
    substrate.advance(5)
    assert chain.state.get("SubtensorModule.SubnetEpochIndex", netuid) == 0
    assert chain.state.get("SubtensorModule.SubnetAlphaOut", netuid) == 0
    substrate.advance()
    assert chain.state.get("SubtensorModule.SubnetEpochIndex", netuid) == 1
    minted = (chain.head.number - registered) * TAO
    cut = minted * 11_796 // 65_535
    assert chain.state.get("SubtensorModule.SubnetAlphaOut", netuid) == cut


async def test_the_price_stays_between_its_bounds(
    client: bt.Client, chain: Chain, substrate: DevnetSubstrate, netuid: int
) -> None:
    await send(client, admin("max_burn", netuid, TAO // 2), OWNER)
    substrate.advance()
    assert chain.state.get("SubtensorModule.Burn", netuid) <= TAO // 2
    await send(client, admin("min_burn", netuid, TAO // 2 - 1), OWNER)
    await send(client, admin("burn_half_life", netuid, 1), OWNER)
    substrate.advance(3)
    assert chain.state.get("SubtensorModule.Burn", netuid) == TAO // 2 - 1


def test_every_setter_is_a_call_of_the_metadata() -> None:
    assert {parameter.setter for parameter in SETTABLE} <= set(CALLS["AdminUtils"])
