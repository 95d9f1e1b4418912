"""Weights: what a validator may set, in the chain's order of checks."""

from typing import Any

from subnet.devnet.context import Context, Handler, ensure, module_error
from subnet.devnet.params import U16_MAX
from subnet.devnet.registration import registered_uid, stake_weight


def set_weights(context: Context, arguments: dict[str, Any]) -> None:
    """Store one validator's row of weights, scaled so that its largest is 65,535."""
    netuid, uids, values = arguments["netuid"], arguments["dests"], arguments["weights"]
    ensure(len(uids) == len(values), "WeightVecNotEqualSize")
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    ensure(netuid != 0, "CanNotSetRootNetworkWeights")
    ensure(arguments.get("mecid", 0) == 0, "MechanismDoesNotExist")
    ensure(not context.get("CommitRevealWeightsEnabled", netuid), "CommitRevealEnabled")
    _store(context, context.signer, netuid, uids, values, arguments["version_key"])


def _store(
    context: Context,
    hotkey: str,
    netuid: int,
    uids: list[int],
    values: list[int],
    version_key: int,
) -> None:
    size = context.get("SubnetworkN", netuid)
    ensure(len(uids) <= size, "UidsLengthExceedUidsInSubNet")
    uid = registered_uid(context, netuid, hotkey)
    ensure(
        stake_weight(context.state, netuid, uid) >= context.get("StakeThreshold"),
        "NotEnoughStakeToSetWeights",
    )
    required = context.get("WeightsVersionKey", netuid)
    ensure(required == 0 or version_key >= required, "IncorrectWeightVersionKey")
    last_update = context.get("LastUpdate", netuid)
    since = context.number - last_update[uid]
    ensure(
        last_update[uid] == 0 or since >= context.get("WeightsSetRateLimit", netuid),
        "SettingWeightsTooFast",
    )
    only_self = uids == [uid]
    ensure(only_self or context.get("ValidatorPermit", netuid)[uid], "NeuronNoValidatorPermit")
    ensure(len(set(uids)) == len(uids), "DuplicateUids")
    ensure(all(target < size for target in uids), "UidVecContainInvalidOne")
    floor = min(context.get("MinAllowedWeights", netuid), size)
    ensure(only_self or len(uids) >= floor, "WeightVecLengthIsLow")
    row = _upscaled(uids, values)
    total = sum(value for _, value in row)
    top = max((value for _, value in row), default=0)
    within = top * U16_MAX <= context.get("MaxWeightsLimit", netuid) * total
    ensure(only_self or within, "MaxWeightExceeded")
    context.put("Weights", netuid, uid, row)
    context.put("LastUpdate", netuid, [*last_update[:uid], context.number, *last_update[uid + 1 :]])
    context.emit("WeightsSet", (netuid, uid))


def _upscaled(uids: list[int], values: list[int]) -> list[list[int]]:
    top = max(values, default=0)
    if top == 0:
        return [[uid, 0] for uid in uids]
    return [[uid, value * U16_MAX // top] for uid, value in zip(uids, values, strict=True)]


def commit_timelocked(context: Context, arguments: dict[str, Any]) -> None:
    """Refused: this devnet cannot open what is sealed to a drand round."""
    registered_uid(context, arguments["netuid"], context.signer)
    raise module_error("CommitRevealDisabled")


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "set_weights"): set_weights,
    ("SubtensorModule", "set_mechanism_weights"): set_weights,
    ("SubtensorModule", "commit_timelocked_mechanism_weights"): commit_timelocked,
}
