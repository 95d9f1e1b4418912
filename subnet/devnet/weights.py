"""Weights: what a validator may set, in the chain's order of checks."""

from typing import Any

from subnet.devnet.context import Context, Handler, ensure
from subnet.devnet.mechanisms import column, mechanism_exists, put_cell, storage_index
from subnet.devnet.params import U16_MAX
from subnet.devnet.registration import registered_uid
from subnet.devnet.staking import total_stake

_FRACTION_BITS = 32
_HALF = 1 << (_FRACTION_BITS - 1)
_DIVIDE_FIRST_ABOVE = 32_768


def set_weights(context: Context, arguments: dict[str, Any]) -> None:
    """Set the signer's weights in a mechanism, 0 unless the call names one."""
    netuid, uids, values = arguments["netuid"], arguments["dests"], arguments["weights"]
    ensure(not context.get("CommitRevealWeightsEnabled", netuid), "CommitRevealEnabled")
    mecid = arguments.get("mecid", 0)
    store_weights(context, context.signer, netuid, mecid, uids, values, arguments["version_key"])


def store_weights(
    context: Context,
    hotkey: str,
    netuid: int,
    mecid: int,
    uids: list[int],
    values: list[int],
    version_key: int,
) -> None:
    """Store one validator's row of weights, scaled so that its largest is 65,535.

    Raises DispatchError before anything has changed.
    """
    ensure(netuid != 0, "CanNotSetRootNetworkWeights")
    ensure(len(uids) == len(values), "WeightVecNotEqualSize")
    ensure(mechanism_exists(context.state, netuid, mecid), "MechanismDoesNotExist")
    size = context.get("SubnetworkN", netuid)
    ensure(len(uids) <= size, "UidsLengthExceedUidsInSubNet")
    uid = registered_uid(context, netuid, hotkey)
    check_stake(context, netuid, hotkey)
    required = context.get("WeightsVersionKey", netuid)
    ensure(required == 0 or version_key >= required, "IncorrectWeightVersionKey")
    # Revealed weights were limited, and counted as an update, when they were committed.
    revealed = context.get("CommitRevealWeightsEnabled", netuid)
    ensure(revealed or is_due(context, netuid, mecid, uid), "SettingWeightsTooFast")
    only_self = uids == [uid]
    permitted = only_self or hotkey == context.get("SubnetOwnerHotkey", netuid)
    ensure(permitted or context.get("ValidatorPermit", netuid)[uid], "NeuronNoValidatorPermit")
    ensure(len(set(uids)) == len(uids), "DuplicateUids")
    ensure(all(target < size for target in uids), "UidVecContainInvalidOne")
    floor = min(context.get("MinAllowedWeights", netuid), size)
    ensure(only_self or len(uids) >= floor, "WeightVecLengthIsLow")
    row = _upscaled(uids, values)
    total = sum(value for _, value in row)
    top = max((value for _, value in row), default=0)
    within = top * U16_MAX <= context.get("MaxWeightsLimit", netuid) * total
    ensure(only_self or within, "MaxWeightExceeded")
    index = storage_index(netuid, mecid)
    context.put("Weights", index, uid, row)
    if not revealed:
        put_cell(context, "LastUpdate", netuid, mecid, uid, context.number)
    context.emit("WeightsSet", (index, uid))


def check_stake(context: Context, netuid: int, hotkey: str) -> None:
    """Fail the call of a hotkey whose stake is below the threshold; the owner's always passes."""
    owner = context.get("SubnetOwnerHotkey", netuid)
    if hotkey == owner and context.get("Uids", netuid, owner) is not None:
        return
    enough = total_stake(context.state, hotkey, netuid) >= context.get("StakeThreshold")
    ensure(enough, "NotEnoughStakeToSetWeights")


def check_rate(context: Context, netuid: int, mecid: int) -> None:
    """Fail the call of a signer that set weights less than the rate limit ago."""
    uid = context.get("Uids", netuid, context.signer)
    ensure(uid is None or is_due(context, netuid, mecid, uid), "SettingWeightsTooFast")


def is_due(context: Context, netuid: int, mecid: int, uid: int) -> bool:
    """Whether the rate limit lets a uid set or commit weights now."""
    last = column(context.state, "LastUpdate", netuid, mecid)[uid]
    return last == 0 or context.number - last >= context.get("WeightsSetRateLimit", netuid)


def _upscaled(uids: list[int], values: list[int]) -> list[list[int]]:
    """Rows as the chain stores them: its 32.32 fixed point, divisions cut, results rounded."""
    top = max(values, default=0)
    if top == 0:
        return [[uid, 0] for uid in uids]
    if top > _DIVIDE_FIRST_ABOVE:
        scaled = [value * ((U16_MAX << _FRACTION_BITS) // top) for value in values]
    else:
        scaled = [(value * U16_MAX << _FRACTION_BITS) // top for value in values]
    rounded = [(value + _HALF) >> _FRACTION_BITS for value in scaled]
    return [[uid, value] for uid, value in zip(uids, rounded, strict=True)]


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "set_weights"): set_weights,
    ("SubtensorModule", "set_mechanism_weights"): set_weights,
}
