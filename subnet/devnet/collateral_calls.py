"""What a miner may say about its collateral: lock more, and set the floor of the lock."""

from typing import Any

from subnet.devnet import balances, collateral, staking
from subnet.devnet.context import Context, Handler, ensure, module_error
from subnet.devnet.params import STAKE_MIN_RAO
from subnet.devnet.schema.storage import ACCOUNT_ZERO


def lock_bought(context: Context, netuid: int, hotkey: str, coldkey: str, tao_rao: int) -> None:
    """Stake a registration's collateral to its hotkey and lock it, on today's terms."""
    if not tao_rao:
        collateral.resnapshot(context.state, netuid, hotkey, coldkey)
        return
    staking.buy(context, hotkey, coldkey, netuid, tao_rao)
    total = collateral.lock(context.state, netuid, hotkey, coldkey, tao_rao, resnapshot=True)
    _announce_lock(context, netuid, hotkey, tao_rao, total)


def add_collateral(context: Context, arguments: dict[str, Any]) -> None:
    """Lock more alpha: what the position has free, then what the signer's TAO buys."""
    netuid, hotkey, amount = arguments["netuid"], arguments["hotkey"], arguments["alpha"]
    coldkey = context.signer
    ensure(netuid != 0, "RegistrationNotPermittedOnRootSubnet")
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    ensure(context.get("SubtokenEnabled", netuid), "SubtokenDisabled")
    _ensure_own(context, hotkey)
    ensure(amount > 0, "AmountTooLow")
    missing = amount - min(staking.free_of(context.state, hotkey, coldkey, netuid), amount)
    if missing:
        ensure(missing >= STAKE_MIN_RAO, "AmountTooLow")
        spendable = balances.spendable_rao(context.state, coldkey)
        ensure(missing <= spendable, "NotEnoughBalanceToStake")
        if arguments["limit_price"] < staking.ALPHA_PRICE_RAO:
            raise module_error("SlippageTooHigh")
        staking.buy(context, hotkey, coldkey, netuid, missing)
    total = collateral.lock(context.state, netuid, hotkey, coldkey, amount, resnapshot=False)
    _announce_lock(context, netuid, hotkey, amount, total)


def set_min_collateral(context: Context, arguments: dict[str, Any]) -> None:
    """Set the floor that the lock keeps itself at; zero clears it."""
    netuid, hotkey, floor = arguments["netuid"], arguments["hotkey"], arguments["min_locked"]
    ensure(netuid != 0, "RegistrationNotPermittedOnRootSubnet")
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    _ensure_own(context, hotkey)
    collateral.set_floor(context.state, netuid, hotkey, context.signer, floor)
    context.emit("MinCollateralSet", {"netuid": netuid, "hotkey": hotkey, "min_locked": floor})


def _ensure_own(context: Context, hotkey: str) -> None:
    owner = context.get("Owner", hotkey)
    ensure(owner != ACCOUNT_ZERO, "HotKeyAccountNotExists")
    ensure(owner == context.signer, "NonAssociatedColdKey")


def _announce_lock(context: Context, netuid: int, hotkey: str, locked: int, total: int) -> None:
    context.emit(
        "CollateralLocked",
        {"netuid": netuid, "hotkey": hotkey, "locked": locked, "total_locked": total},
    )


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "add_collateral"): add_collateral,
    ("SubtensorModule", "set_min_collateral"): set_min_collateral,
}
