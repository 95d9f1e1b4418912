"""Tiers 3 to 5 of `transaction`: an execution trace with amounts in smallest units.

Tier 3: one call with a token transfer and an approval. Tier 4: several transfers, some of them in a
call that reverted. Tier 5: dozens of transfers in calls within calls; who ended up with what has to
be added up over all that was not undone.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from subnet.core.benchmark.draws import Draws

HEX: Final = "0123456789abcdef"
ADDRESS_DIGITS: Final = 10
SHARED_DIGITS: Final = 6
"""Addresses of one trace begin alike, as look-alikes that thieves make do."""
TOKENS: Final = {"TAO": 9, "USDX": 6, "WETH": 18}
METHODS = ("multicall", "settle", "swapExact", "rebalance", "batchPay", "claimAll", "execute")
TRANSFERS: Final = {3: 1, 4: 6, 5: 24}
PARTIES: Final = {3: 3, 4: 5, 5: 8}
LABELS: Final = {
    3: ("From", "To", "Method", "Value", "Fee", "Token sent", "Approved spender", "Status"),
    4: ("From", "To", "Method", "Fee", "Net TAO", "Net USDX", "Approved spender",
        "Approved amount", "Status"),
    5: ("From", "To", "Method", "Fee", "Net TAO", "Net USDX", "Net WETH", "Largest receiver",
        "Reverted calls", "Status"),
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """The whole text, and the facts by label."""

    text: str
    facts: dict[str, str]


def decimal(units: int, decimals: int) -> str:
    """An amount in whole tokens, without trailing zeros."""
    sign, (whole, part) = "-" if units < 0 else "", divmod(abs(units), 10**decimals)
    return f"{sign}{whole}" + (f".{part:0{decimals}d}".rstrip("0") if part else "")


def trace(draws: Draws, tier: int) -> Trace:
    """A transaction of that tier, with what it did for its sender."""
    parties = _addresses(draws, PARTIES[tier])
    sender, contract = parties[:2]
    method = draws.choice(METHODS)
    status = "failed" if draws.chance(1, 6) else "success"
    gas, price = draws.between(21_000, 900_000), draws.between(2, 90)
    value = _amount(draws, "TAO")
    net: Counter[tuple[str, str]] = Counter({(sender, "TAO"): -value})
    lines = [
        f"from {sender}, to {contract}, method {method}, value {value} of TAO",
        f"gas used {gas}, gas price {price} units of TAO",
    ]
    moves, (spender, approved), reverted = _moves(draws, tier, parties, net)
    lines += moves
    largest = max(parties, key=lambda one: (net[one, "USDX"], one))
    if status == "failed":
        net.clear()
        spender, approved, largest = "none", 0, "none"
    fee = gas * price
    tokens = {token: net[sender, token] for token in TOKENS}
    tokens["TAO"] -= fee
    facts = {
        "From": sender,
        "To": contract,
        "Method": method,
        "Value": f"{decimal(value, TOKENS['TAO'])} TAO",
        "Fee": f"{decimal(fee, TOKENS['TAO'])} TAO",
        "Token sent": f"{decimal(-tokens['USDX'], TOKENS['USDX'])} USDX",
        "Approved spender": spender,
        "Approved amount": f"{decimal(approved, TOKENS['USDX'])} USDX",
        "Largest receiver": largest,
        "Reverted calls": str(reverted),
        "Status": status,
        **{f"Net {token}": f"{decimal(n, TOKENS[token])} {token}" for token, n in tokens.items()},
    }
    decimals = ", ".join(f"{token} has {n}" for token, n in TOKENS.items())
    rules = (
        f"Decimals: {decimals}; amounts below are in smallest units, give yours in whole tokens "
        "without trailing zeros. Whatever lies inside a call that reverted is undone."
    )
    rules += (
        " If the result is failed, all is undone but the fee, and spender and receiver are none."
    )
    if tier > 3:
        rules += (
            " Net is what the sender gained or lost, with the value sent along and the fee. Of the "
            "approvals that stand the last one counts."
        )
    if tier > 4:
        rules += (
            " The largest receiver is whose USDX grew most. Reverted calls are those that say so "
            "themselves."
        )
    text = "\n".join([rules, *lines, f"result {status}"])
    return Trace(text, {label: facts[label] for label in LABELS[tier]})


def _addresses(draws: Draws, count: int) -> tuple[str, ...]:
    shared = "".join(draws.choice(HEX) for _ in range(SHARED_DIGITS))
    found: dict[str, None] = {}
    while len(found) < count:
        rest = "".join(draws.choice(HEX) for _ in range(ADDRESS_DIGITS - SHARED_DIGITS))
        found[f"0x{shared}{rest}"] = None
    return tuple(found)


def _amount(draws: Draws, token: str) -> int:
    """In smallest units, with three to five digits that count."""
    size: int = 10 ** (TOKENS[token] - draws.between(1, 4))
    return draws.between(101, 99_999) * size


def _moves(
    draws: Draws, tier: int, parties: tuple[str, ...], net: Counter[tuple[str, str]]
) -> tuple[list[str], tuple[str, int], int]:
    """(lines, (approved spender, approved amount), reverted calls); what stands moves `net`."""
    sender, contract = parties[:2]
    lines: list[str] = []
    open_calls: list[bool] = []  # Whether each call that is open will revert.
    reverted = 0
    approved = (parties[2], 0)
    token_names = tuple(TOKENS) if tier > 4 else ("USDX",) if tier == 3 else ("TAO", "USDX")
    for place in range(TRANSFERS[tier]):
        if tier > 3 and len(open_calls) < tier - 2 and draws.chance(1, 2):
            open_calls.append(draws.chance(1, 3))
            reverted += open_calls[-1]
            callee = draws.choice(parties[1:])
            fate = ", reverted" if open_calls[-1] else ""
            lines.append(f"{'  ' * len(open_calls)}call {callee} {draws.choice(METHODS)}{fate}")
        indent = "  " * (len(open_calls) + 1)
        is_undone = any(open_calls)
        giver, taker = (sender, contract) if place == 0 else draws.sample(parties, 2)
        token = "USDX" if place == 0 else draws.choice(token_names)
        amount = _amount(draws, token)
        lines.append(f"{indent}transfer {amount} of {token} from {giver} to {taker}")
        if not is_undone:
            net[giver, token] -= amount
            net[taker, token] += amount
        if place == 0 or (tier > 3 and draws.chance(1, 4)):
            spender, allowance = draws.choice(parties[1:]), _amount(draws, "USDX")
            lines.append(f"{indent}approve {allowance} of USDX by {sender} for {spender}")
            if not is_undone:
                approved = (spender, allowance)
        while open_calls and draws.chance(1, 3):
            open_calls.pop()
            lines.append(f"{'  ' * (len(open_calls) + 1)}return")
    return lines, approved, reverted
