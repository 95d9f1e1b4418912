"""Free balances: transfers, fees, and the burn of what leaves circulation."""

from typing import Any

from subnet.devnet.context import Context, Handler, token_error
from subnet.devnet.schema.calls import EXISTENTIAL_DEPOSIT_RAO
from subnet.devnet.state import Reader, State

FEE_BASE_RAO = 100_000
FEE_PER_BYTE_RAO = 100


def free_rao(reader: Reader, account: str) -> int:
    """What an account can spend."""
    return int(reader.get("System.Account", account)["data"]["free"])


def spendable_rao(reader: Reader, account: str) -> int:
    """What an account can spend and still exist."""
    return max(free_rao(reader, account) - EXISTENTIAL_DEPOSIT_RAO, 0)


def nonce_of(reader: Reader, account: str) -> int:
    """The next nonce that an account's extrinsics must carry."""
    return int(reader.get("System.Account", account)["nonce"])


def set_account(
    state: State, account: str, *, free: int | None = None, nonce: int | None = None
) -> None:
    """Rewrite an account's balance or nonce."""
    info = state.get("System.Account", account)
    data = info["data"] if free is None else {**info["data"], "free": free}
    state.put(
        "System.Account",
        account,
        {
            **info,
            "data": data,
            "nonce": info["nonce"] if nonce is None else nonce,
            "providers": 1 if data["free"] else 0,
        },
    )


def issue(state: State, account: str, amount_rao: int) -> None:
    """Add newly issued (or returned) rao to an account."""
    set_account(state, account, free=free_rao(state, account) + amount_rao)
    for item in ("Balances.TotalIssuance", "SubtensorModule.TotalIssuance"):
        state.put(item, state.get(item) + amount_rao)


def destroy(state: State, account: str, amount_rao: int) -> None:
    """Take rao out of an account and out of circulation; the caller has checked the balance."""
    free = free_rao(state, account)
    assert amount_rao <= free
    set_account(state, account, free=free - amount_rao)
    for item in ("Balances.TotalIssuance", "SubtensorModule.TotalIssuance"):
        state.put(item, state.get(item) - amount_rao)


def fee_rao(length_bytes: int) -> int:
    """The fee of an extrinsic: linear in its length. The chain's own depends on weight too."""
    return FEE_BASE_RAO + FEE_PER_BYTE_RAO * length_bytes


def _transfer(context: Context, source: str, target: str, amount_rao: int, keep: bool) -> None:
    free = free_rao(context.state, source)
    if amount_rao > free:
        raise token_error("FundsUnavailable")
    left = free - amount_rao
    if keep and left < EXISTENTIAL_DEPOSIT_RAO:
        raise token_error("NotExpendable")
    if source == target:
        return
    before = free_rao(context.state, target)
    if before + amount_rao < EXISTENTIAL_DEPOSIT_RAO:
        raise token_error("BelowMinimum")
    set_account(context.state, source, free=left if left >= EXISTENTIAL_DEPOSIT_RAO else 0)
    set_account(context.state, target, free=before + amount_rao)
    if not before:
        context.emit("NewAccount", {"account": target}, "System")
        context.emit("Endowed", {"account": target, "free_balance": amount_rao}, "Balances")
    context.emit("Transfer", {"from": source, "to": target, "amount": amount_rao}, "Balances")


def _target(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("Id")
    if not isinstance(value, str):
        raise token_error("CannotCreate")
    return value


def transfer_keep_alive(context: Context, arguments: dict[str, Any]) -> None:
    """Send, leaving at least the existential deposit."""
    _transfer(context, context.signer, _target(arguments["dest"]), arguments["value"], keep=True)


def transfer_allow_death(context: Context, arguments: dict[str, Any]) -> None:
    """Send; an emptied account goes."""
    _transfer(context, context.signer, _target(arguments["dest"]), arguments["value"], keep=False)


def transfer_all(context: Context, arguments: dict[str, Any]) -> None:
    """Send everything, or everything but the existential deposit."""
    keep = bool(arguments["keep_alive"])
    amount = free_rao(context.state, context.signer) - (EXISTENTIAL_DEPOSIT_RAO if keep else 0)
    _transfer(context, context.signer, _target(arguments["dest"]), max(amount, 0), keep)


CALLS: dict[tuple[str, str], Handler] = {
    ("Balances", "transfer_keep_alive"): transfer_keep_alive,
    ("Balances", "transfer_allow_death"): transfer_allow_death,
    ("Balances", "transfer_all"): transfer_all,
}
