"""Delegation as readers see it: who backs a hotkey, and what a coldkey holds behind others."""

from collections.abc import Callable
from typing import Any

from subnet.devnet.schema.storage import ACCOUNT_ZERO
from subnet.devnet.staking import STAKE
from subnet.devnet.state import Reader

_SUBTENSOR = "SubtensorModule."


def get_delegates(reader: Reader) -> list[dict[str, Any]]:
    """Every hotkey that has an owner."""
    return [_delegate(reader, key[0]) for key, _ in reader.entries(_SUBTENSOR + "Owner")]


def get_delegate(reader: Reader, hotkey: str) -> dict[str, Any] | None:
    """One hotkey and its backers; None for a hotkey that nobody owns."""
    known = reader.get(_SUBTENSOR + "Owner", hotkey) != ACCOUNT_ZERO
    return _delegate(reader, hotkey) if known else None


def get_delegated(reader: Reader, coldkey: str) -> list[list[Any]]:
    """Every position of a coldkey, with the hotkey that it is held behind."""
    return [
        [_delegate(reader, hotkey), [netuid, amount]]
        for hotkey in reader.get(_SUBTENSOR + "StakingHotkeys", coldkey)
        for (_, netuid, holder), amount in sorted(reader.entries(STAKE, hotkey))
        if holder == coldkey
    ]


def get_coldkey_lock(reader: Reader, coldkey: str, netuid: int) -> None:
    """Stake locked for conviction: this chain locks none."""
    return


def _delegate(reader: Reader, hotkey: str) -> dict[str, Any]:
    nominators: dict[str, list[list[int]]] = {}
    for (_, netuid, coldkey), amount in sorted(reader.entries(STAKE, hotkey)):
        nominators.setdefault(coldkey, []).append([netuid, amount])
    joined = reader.entries(_SUBTENSOR + "IsNetworkMember", hotkey)
    registrations = sorted(key[1] for key, member in joined if member)
    return {
        "delegate_ss58": hotkey,
        "take": reader.get(_SUBTENSOR + "Delegates", hotkey),
        "nominators": [list(entry) for entry in nominators.items()],
        "owner_ss58": reader.get(_SUBTENSOR + "Owner", hotkey),
        "registrations": registrations,
        "validator_permits": [
            netuid for netuid in registrations if _permit(reader, netuid, hotkey)
        ],
        "return_per_1000": 0,
        "total_daily_return": 0,
    }


def _permit(reader: Reader, netuid: int, hotkey: str) -> bool:
    uid = reader.get(_SUBTENSOR + "Uids", netuid, hotkey)
    return bool(reader.get(_SUBTENSOR + "ValidatorPermit", netuid)[uid])


VIEWS: dict[str, Callable[..., Any]] = {
    "DelegateInfoRuntimeApi_get_delegates": get_delegates,
    "DelegateInfoRuntimeApi_get_delegate": get_delegate,
    "DelegateInfoRuntimeApi_get_delegated": get_delegated,
    "StakeInfoRuntimeApi_get_coldkey_lock": get_coldkey_lock,
}
