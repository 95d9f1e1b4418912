"""Stake: what coldkeys hold behind hotkeys, subnet by subnet.

Simplified: alpha trades at one TAO each, always, so there is no slippage; what is staked into a
subnet is counted as its pool. Exact: who holds how much, and that nothing is made or lost.
"""

from typing import Any

from protocol.units import RAO_PER_TAO
from subnet.devnet import balances, collateral
from subnet.devnet.context import Context, Handler, ensure, module_error
from subnet.devnet.params import STAKE_MIN_RAO, U16_MAX
from subnet.devnet.schema.storage import ACCOUNT_ZERO
from subnet.devnet.state import Reader, State

STAKE = "Devnet.Stake"
ALPHA_PRICE_RAO = RAO_PER_TAO


def stake_of(reader: Reader, hotkey: str, coldkey: str, netuid: int) -> int:
    """Alpha (TAO on root) that a coldkey holds behind a hotkey, in rao."""
    return int(reader.get(STAKE, hotkey, netuid, coldkey) or 0)


def free_of(reader: Reader, hotkey: str, coldkey: str, netuid: int) -> int:
    """What a position holds beyond its collateral, in rao."""
    held = stake_of(reader, hotkey, coldkey, netuid)
    return held - collateral.locked_of(reader, netuid, hotkey, coldkey)


def hotkey_stake(reader: Reader, hotkey: str, netuid: int) -> int:
    """All stake behind a hotkey on a subnet, in rao."""
    return int(reader.get("SubtensorModule.TotalHotkeyAlpha", hotkey, netuid))


def tao_share(reader: Reader, hotkey: str) -> int:
    """What a hotkey's root stake counts for on a subnet: TAO times the TAO weight, in rao."""
    weight = int(reader.get("SubtensorModule.TaoWeight"))
    return hotkey_stake(reader, hotkey, 0) * weight // ((1 << 64) - 1)


def total_stake(reader: Reader, hotkey: str, netuid: int) -> int:
    """Stake weight of a hotkey on a subnet before thresholds, in rao."""
    return hotkey_stake(reader, hotkey, netuid) + tao_share(reader, hotkey)


def credit(state: State, hotkey: str, coldkey: str, netuid: int, amount_rao: int) -> None:
    """Add to a position, and to the hotkey's and the subnet's totals; negative takes away."""
    held = stake_of(state, hotkey, coldkey, netuid) + amount_rao
    total = hotkey_stake(state, hotkey, netuid) + amount_rao
    assert held >= 0 and total >= 0
    state.put(STAKE, hotkey, netuid, coldkey, held or None)
    state.put("SubtensorModule.TotalHotkeyAlpha", hotkey, netuid, total or None)
    out = "SubtensorModule.SubnetAlphaOut"
    state.put(out, netuid, state.get(out, netuid) + amount_rao)
    backed = state.get("SubtensorModule.StakingHotkeys", coldkey)
    if held and hotkey not in backed:
        state.put("SubtensorModule.StakingHotkeys", coldkey, [*backed, hotkey])


def take_of(reader: Reader, hotkey: str, amount_rao: int) -> int:
    """What of a validator's dividends is its owner's before its stakers share the rest."""
    return int(amount_rao * reader.get("SubtensorModule.Delegates", hotkey) // U16_MAX)


def share_out(state: State, hotkey: str, netuid: int, amount_rao: int) -> None:
    """Credit a validator's dividends: its owner's take first, the rest by stake."""
    owner = state.get("SubtensorModule.Owner", hotkey)
    take = take_of(state, hotkey, amount_rao)
    held = [(key[2], amount) for key, amount in state.entries(STAKE, hotkey, netuid)]
    total = sum(amount for _, amount in held)
    left = amount_rao
    for coldkey, amount in held:
        part = (amount_rao - take) * amount // total
        credit(state, hotkey, coldkey, netuid, part)
        left -= part
    credit(state, hotkey, owner, netuid, left)


def _check(context: Context, hotkey: str, netuid: int) -> None:
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    ensure(netuid == 0 or context.get("SubtokenEnabled", netuid), "SubtokenDisabled")
    ensure(context.get("Owner", hotkey) != ACCOUNT_ZERO, "HotKeyAccountNotExists")


def add_stake(context: Context, arguments: dict[str, Any]) -> None:
    """Turn a coldkey's TAO into stake behind a hotkey."""
    hotkey, netuid, amount = (
        arguments["hotkey"],
        arguments["netuid"],
        arguments["amount_staked"],
    )
    _check(context, hotkey, netuid)
    ensure(amount >= STAKE_MIN_RAO, "AmountTooLow")
    free = balances.free_rao(context.state, context.signer)
    ensure(amount <= free, "NotEnoughBalanceToStake")
    buy(context, hotkey, context.signer, netuid, amount)


def buy(context: Context, hotkey: str, coldkey: str, netuid: int, amount_rao: int) -> None:
    """Turn TAO that a coldkey has into stake, at the only price there is."""
    free = balances.free_rao(context.state, coldkey)
    balances.set_account(context.state, coldkey, free=free - amount_rao)
    credit(context.state, hotkey, coldkey, netuid, amount_rao)
    _pool(context, netuid, amount_rao)
    context.emit("StakeAdded", (coldkey, hotkey, amount_rao, amount_rao, netuid, 0))


def add_stake_limit(context: Context, arguments: dict[str, Any]) -> None:
    """As add_stake, unless the price is above the limit."""
    if arguments["limit_price"] < ALPHA_PRICE_RAO:
        raise module_error("SlippageTooHigh")
    add_stake(context, arguments)


def remove_stake(context: Context, arguments: dict[str, Any]) -> None:
    """Turn stake back into TAO; more than is held means all of it."""
    hotkey, netuid = arguments["hotkey"], arguments["netuid"]
    _check(context, hotkey, netuid)
    held = stake_of(context.state, hotkey, context.signer, netuid)
    ensure(held > 0, "NotEnoughStakeToWithdraw")
    amount = min(arguments["amount_unstaked"], held)
    ensure(amount >= STAKE_MIN_RAO or amount == held, "AmountTooLow")
    removable = free_of(context.state, hotkey, context.signer, netuid)
    ensure(amount <= removable, "StakeUnavailable")
    pool = held if netuid == 0 else context.get("SubnetTAO", netuid)
    ensure(amount <= pool, "InsufficientLiquidity")
    credit(context.state, hotkey, context.signer, netuid, -amount)
    _pool(context, netuid, -amount)
    free = balances.free_rao(context.state, context.signer)
    balances.set_account(context.state, context.signer, free=free + amount)
    context.emit("StakeRemoved", (context.signer, hotkey, amount, amount, netuid, 0))


def remove_stake_limit(context: Context, arguments: dict[str, Any]) -> None:
    """As remove_stake, unless the price is below the limit."""
    if arguments["limit_price"] > ALPHA_PRICE_RAO:
        raise module_error("SlippageTooHigh")
    remove_stake(context, arguments)


def _pool(context: Context, netuid: int, amount_rao: int) -> None:
    context.put("TotalStake", context.get("TotalStake") + amount_rao)
    if netuid:
        context.put("SubnetTAO", netuid, context.get("SubnetTAO", netuid) + amount_rao)
        context.put("SubnetVolume", netuid, context.get("SubnetVolume", netuid) + abs(amount_rao))


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "add_stake"): add_stake,
    ("SubtensorModule", "add_stake_limit"): add_stake_limit,
    ("SubtensorModule", "remove_stake"): remove_stake,
    ("SubtensorModule", "remove_stake_limit"): remove_stake_limit,
}
