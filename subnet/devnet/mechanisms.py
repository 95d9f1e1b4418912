"""Mechanisms: incentive markets side by side in one subnet, each with its own weights and bonds.

Mechanism m of subnet n is stored under `m * 4096 + n`; so mechanism 0 is where a subnet with one
mechanism has always been. Permits, stake and emission belong to the subnet: the epoch runs once
per mechanism on its part of the emission, and the results are added up.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bittensor.settings import GLOBAL_MAX_SUBNET_COUNT

from subnet.core.yuma import EpochResult
from subnet.devnet.context import Context, ensure
from subnet.devnet.params import U16_MAX
from subnet.devnet.state import Reader

UIDS_OVER_ALL_MAX = 256
# Columns that each mechanism has, and what a newcomer's value is; None is the block number.
COLUMNS: dict[str, Any] = {"Incentive": 0, "LastUpdate": None}
_MATRICES = ("Weights", "Bonds")
_WEIGHT_BITS = 64


def storage_index(netuid: int, mecid: int) -> int:
    """The key under which a mechanism's own values are stored."""
    return mecid * GLOBAL_MAX_SUBNET_COUNT + netuid


def mechanism_count(reader: Reader, netuid: int) -> int:
    """How many mechanisms a subnet runs."""
    return int(reader.get("SubtensorModule.MechanismCountCurrent", netuid))


def mechanism_exists(reader: Reader, netuid: int, mecid: int) -> bool:
    """Whether the subnet exists and runs the mechanism."""
    added = bool(reader.get("SubtensorModule.NetworksAdded", netuid))
    return added and mecid < mechanism_count(reader, netuid)


def column(reader: Reader, item: str, netuid: int, mecid: int) -> list[Any]:
    """A mechanism's column with a value for each uid: zero where a new mechanism has none."""
    size = int(reader.get("SubtensorModule.SubnetworkN", netuid))
    row = list(reader.get(f"SubtensorModule.{item}", storage_index(netuid, mecid)))
    return row + [0] * (size - len(row))


def put_cell(context: Context, item: str, netuid: int, mecid: int, uid: int, value: int) -> None:
    """Set one uid's value in a mechanism's column."""
    row = column(context.state, item, netuid, mecid)
    row[uid] = value
    context.put(item, storage_index(netuid, mecid), row)


def seat(context: Context, netuid: int, uid: int) -> None:
    """Begin a newcomer's columns in every mechanism."""
    for mecid in range(mechanism_count(context.state, netuid)):
        for item, newcomer in COLUMNS.items():
            value = context.number if newcomer is None else newcomer
            put_cell(context, item, netuid, mecid, uid, value)


def unseat(context: Context, netuid: int, uid: int) -> None:
    """Forget what a uid weighed and what others weighed it, in every mechanism."""
    for mecid in range(mechanism_count(context.state, netuid)):
        index = storage_index(netuid, mecid)
        for item in _MATRICES:
            context.put(item, index, uid, None)
        for key, row in context.state.entries("SubtensorModule.Weights", index):
            if any(target == uid for target, _ in row):
                kept = [[target, 0 if target == uid else value] for target, value in row]
                context.put("Weights", *key, kept)


def set_count(context: Context, netuid: int, count: int) -> None:
    """Open mechanisms or remove the last ones with all they hold; the split becomes even."""
    ensure(context.get("NetworksAdded", netuid), "MechanismDoesNotExist")
    ensure(0 < count <= context.get("MaxMechanismCount"), "InvalidValue")
    ensure_uids(context, netuid, context.get("MaxAllowedUids", netuid), count)
    old = mechanism_count(context.state, netuid)
    if count == old:
        return
    for mecid in range(count, old):
        index = storage_index(netuid, mecid)
        for item in COLUMNS:
            context.put(item, index, None)
        for item in (*_MATRICES, "TimelockedWeightCommits"):
            for key, _ in context.state.entries(f"SubtensorModule.{item}", index):
                context.put(item, *key, None)
    context.put("MechanismCountCurrent", netuid, count)
    context.put("MechanismEmissionSplit", netuid, None)


def ensure_uids(context: Context, netuid: int, max_uids: int, count: int) -> None:
    """Fail the call when a subnet's places, counted once per mechanism, are too many.

    One mechanism is always allowed: a devnet may be started with larger subnets.
    """
    within = count == 1 or max_uids * count <= UIDS_OVER_ALL_MAX
    ensure(within, "TooManyUIDsPerMechanism")


def set_split(context: Context, netuid: int, split: Sequence[int] | None) -> None:
    """Set each mechanism's share of the emission in u16, in all 65,535; None is even shares."""
    ensure(context.get("NetworksAdded", netuid), "MechanismDoesNotExist")
    if split is not None:
        ensure(len(split) == mechanism_count(context.state, netuid), "InvalidValue")
        ensure(sum(split) == U16_MAX, "InvalidValue")
        split = list(split)
    context.put("MechanismEmissionSplit", netuid, split)


def split_emission(emission_rao: int, count: int, split: Sequence[int] | None) -> list[int]:
    """Each mechanism's part of an epoch's emission; what rounding loses goes to mechanism 0."""
    if split is not None and len(split) == count:
        parts = [emission_rao * share // U16_MAX for share in split]
    else:
        parts = [emission_rao // count] * count
    parts[0] += emission_rao - sum(parts)
    return parts


def combine(results: Sequence[EpochResult], parts_rao: Sequence[int]) -> EpochResult:
    """The subnet's result: emissions added, permits and activity joined, shares weighed.

    The weights are the parts of the emission, as 64 bit fractions. Incentive and bonds are each
    mechanism's own; here they are those of mechanism 0.
    """
    total = sum(parts_rao)
    weights = [(part << _WEIGHT_BITS) // total for part in parts_rao] if total else []
    weights = weights or [1 << _WEIGHT_BITS, *(0 for _ in parts_rao[1:])]

    def weighed(*values: int) -> int:
        pairs = zip(values, weights, strict=True)
        return sum(value * weight >> _WEIGHT_BITS for value, weight in pairs)

    return replace(
        results[0],
        stake_weight=tuple(map(weighed, *(result.stake_weight for result in results))),
        consensus=tuple(map(weighed, *(result.consensus for result in results))),
        dividends=tuple(map(weighed, *(result.dividends for result in results))),
        validator_trust=tuple(map(weighed, *(result.validator_trust for result in results))),
        emission_rao=tuple(map(weighed, *(result.emission_rao for result in results))),
        active=tuple(map(_any, *(result.active for result in results))),
        permits=tuple(map(_any, *(result.permits for result in results))),
        server_emission_rao=tuple(map(_sum, *(r.server_emission_rao for r in results))),
        validator_emission_rao=tuple(map(_sum, *(r.validator_emission_rao for r in results))),
    )


def _any(*values: bool) -> bool:
    return any(values)


def _sum(*values: int) -> int:
    return sum(values)
