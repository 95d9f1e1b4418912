"""Miner collateral: alpha of a miner's own position that earning alone gives back.

A row per subnet, hotkey and coldkey says how much of that position is locked. Nothing here moves
alpha: a lock is a floor under a position that `subnet.devnet.staking` keeps. Rows outlive the
place on the subnet, and count towards the price of the next one.
"""

from typing import Any

from subnet.devnet.context import module_error
from subnet.devnet.params import U16_MAX
from subnet.devnet.schema.hyperparameters import FIXED_ONE
from subnet.devnet.state import Reader, State

POSITIONS_MAX = 32
_ROWS = "SubtensorModule.MinerCollateral"
_TOTALS = "SubtensorModule.ColdkeyMinerCollateral"
_INDEX = "SubtensorModule.ColdkeyCollateralHotkeys"
_NO_ROW = {"locked": 0, "min_locked": 0, "earned": 0}

Row = dict[str, Any]


def row_of(reader: Reader, netuid: int, hotkey: str, coldkey: str) -> Row:
    """A position's lock, floor and lifetime earnings; all zero when it has no row."""
    return reader.get(_ROWS, netuid, hotkey, coldkey) or _NO_ROW


def locked_of(reader: Reader, netuid: int, hotkey: str, coldkey: str) -> int:
    """Alpha of a position that cannot leave it, in rao."""
    return int(row_of(reader, netuid, hotkey, coldkey)["locked"])


def locked_by(reader: Reader, netuid: int, coldkey: str) -> int:
    """Alpha that a coldkey has locked on a subnet behind all its hotkeys, in rao."""
    return int(reader.get(_TOTALS, netuid, coldkey))


def split_price(
    reader: Reader, netuid: int, hotkey: str, coldkey: str, price_rao: int
) -> tuple[int, int]:
    """What a registration burns and what it must lock anew, in rao.

    A lock that stands from an earlier registration is taken off the second, never off the first.
    """
    share = reader.get("SubtensorModule.CollateralLockShare", netuid) * FIXED_ONE // U16_MAX
    required = price_rao * share // FIXED_ONE
    standing = locked_of(reader, netuid, hotkey, coldkey)
    return price_rao - required, max(required - standing, 0)


def lock(
    state: State, netuid: int, hotkey: str, coldkey: str, amount_rao: int, *, resnapshot: bool
) -> int:
    """Lock alpha that the position holds, and return all that it has locked now.

    A registration takes the subnet's drain ratio of today (`resnapshot`); a later top-up keeps the
    one that the row has. Raises DispatchError when the coldkey has too many rows.
    """
    row = _row_or_new(state, netuid, hotkey, coldkey)
    ratio = _drain_ratio(state, netuid) if resnapshot else row["drain_ratio"]
    row = {**row, "locked": row["locked"] + amount_rao, "drain_ratio": ratio}
    _put(state, netuid, hotkey, coldkey, row)
    return int(row["locked"])


def resnapshot(state: State, netuid: int, hotkey: str, coldkey: str) -> None:
    """Give a standing row the subnet's drain ratio of today; nothing without a row."""
    if state.get(_ROWS, netuid, hotkey, coldkey) is not None:
        lock(state, netuid, hotkey, coldkey, 0, resnapshot=True)


def set_floor(state: State, netuid: int, hotkey: str, coldkey: str, floor_rao: int) -> None:
    """Set what a lock keeps itself at. Raises DispatchError when the coldkey has too many rows."""
    row = _row_or_new(state, netuid, hotkey, coldkey)
    _put(state, netuid, hotkey, coldkey, {**row, "min_locked": floor_rao})


def settle(
    state: State,
    netuid: int,
    hotkey: str,
    owner: str,
    emission_rao: int,
    capturable_rao: int,
) -> int:
    """Settle an owner's lock against what its hotkey earned; returns what was captured.

    Below the floor, earnings are locked until it is met, at most `capturable_rao`: what is the
    owner's own. At or above it, the lock gives back its drain ratio times the earnings, down to
    the floor. The caller credits all earnings to the position, captured or not.
    """
    if not emission_rao or state.get(_ROWS, netuid, hotkey, owner) is None:
        return 0
    row = row_of(state, netuid, hotkey, owner)
    locked, floor = row["locked"], row["min_locked"]
    captured = min(max(floor - locked, 0), capturable_rao)
    if locked >= floor:
        released = emission_rao * row["drain_ratio"]["bits"] // FIXED_ONE
        locked -= min(released, locked - floor)
    _put(
        state,
        netuid,
        hotkey,
        owner,
        {**row, "locked": locked + captured, "earned": row["earned"] + emission_rao},
    )
    return captured


def _drain_ratio(reader: Reader, netuid: int) -> Any:
    return reader.get("SubtensorModule.CollateralDrainRatio", netuid)


def _row_or_new(state: State, netuid: int, hotkey: str, coldkey: str) -> Row:
    standing = state.get(_ROWS, netuid, hotkey, coldkey)
    return standing or {**_NO_ROW, "drain_ratio": _drain_ratio(state, netuid)}


def _put(state: State, netuid: int, hotkey: str, coldkey: str, row: Row) -> None:
    """Write a row, or drop one that holds nothing, with the coldkey's total and index."""
    present = bool(row["locked"] or row["min_locked"])
    hotkeys = state.get(_INDEX, netuid, coldkey)
    if present and hotkey not in hotkeys:
        if len(hotkeys) >= POSITIONS_MAX:
            raise module_error("ColdkeyCollateralPositionsFull")
        state.put(_INDEX, netuid, coldkey, [*hotkeys, hotkey])
    elif not present:
        left = [key for key in hotkeys if key != hotkey]
        state.put(_INDEX, netuid, coldkey, left or None)
    before = locked_of(state, netuid, hotkey, coldkey)
    total = locked_by(state, netuid, coldkey) - before + row["locked"]
    state.put(_TOTALS, netuid, coldkey, total or None)
    state.put(_ROWS, netuid, hotkey, coldkey, row if present else None)
