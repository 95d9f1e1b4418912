"""What a validator keeps of its stakers' dividends, and the two calls that change it."""

from typing import Any

from subnet.devnet.context import Context, DispatchError, Handler, ensure
from subnet.devnet.schema.storage import ACCOUNT_ZERO

_LAST_CHANGE = "Devnet.LastTakeChange"


def check_take(context: Context, arguments: dict[str, Any]) -> None:
    """Fail a change outside the chain's bounds, or of a hotkey that the signer does not own."""
    hotkey, take = arguments["hotkey"], arguments["take"]
    ensure(take >= context.get("MinDelegateTake"), "DelegateTakeTooLow")
    ensure(take <= context.get("MaxDelegateTake"), "DelegateTakeTooHigh")
    owner = context.get("Owner", hotkey)
    ensure(owner != ACCOUNT_ZERO, "HotKeyAccountNotExists")
    ensure(owner == context.signer, "NonAssociatedColdKey")


def decrease_take(context: Context, arguments: dict[str, Any]) -> None:
    """Keep less from now on; allowed at any time."""
    check_take(context, arguments)
    hotkey, take = arguments["hotkey"], arguments["take"]
    chosen = context.state.get(_LAST_CHANGE, hotkey) is not None
    ensure(not chosen or take < context.get("Delegates", hotkey), "DelegateTakeTooLow")
    _set(context, hotkey, take)
    context.emit("TakeDecreased", (context.signer, hotkey, take))


def increase_take(context: Context, arguments: dict[str, Any]) -> None:
    """Keep more from now on; not soon after the last change."""
    check_take(context, arguments)
    hotkey, take = arguments["hotkey"], arguments["take"]
    last = context.state.get(_LAST_CHANGE, hotkey)
    ensure(last is None or take > context.get("Delegates", hotkey), "DelegateTakeTooLow")
    limit = context.get("TxDelegateTakeRateLimit")
    too_soon = limit and last is not None and context.number - last <= limit
    ensure(not too_soon, "DelegateTxRateLimitExceeded")
    _set(context, hotkey, take)
    context.emit("TakeIncreased", (context.signer, hotkey, take))


def set_take_rate_limit(context: Context, arguments: dict[str, Any]) -> None:
    """Set the blocks between a change of take and an increase. Root only."""
    if not context.root:
        raise DispatchError("BadOrigin")
    context.put("TxDelegateTakeRateLimit", arguments["tx_rate_limit"])


def _set(context: Context, hotkey: str, take: int) -> None:
    context.put("Delegates", hotkey, take)
    context.state.put(_LAST_CHANGE, hotkey, context.number)


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "decrease_take"): decrease_take,
    ("SubtensorModule", "increase_take"): increase_take,
    ("AdminUtils", "sudo_set_tx_delegate_take_rate_limit"): set_take_rate_limit,
}
