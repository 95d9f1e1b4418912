"""Owners' and root's settings, and the commitments that hotkeys publish."""

from typing import Any

from subnet.devnet import mechanisms
from subnet.devnet.context import Context, DispatchError, Handler, ensure
from subnet.devnet.hyperparameter_rules import after_change, ensure_origin, ensure_value
from subnet.devnet.schema.hyperparameters import SETTERS, U16_MAX, Parameter

COMMITMENT_FIELDS_MAX = 3
COMMITMENT_BIG_BYTES_MAX = 512
COMMITMENT_BYTES_PER_INTERVAL_MAX = 3100
_CALL_HEAD_BYTES = 4  # Pallet, call, netuid.


def _setter(parameter: Parameter) -> Handler:
    def handle(context: Context, arguments: dict[str, Any]) -> None:
        netuid, value = arguments["netuid"], arguments[parameter.argument]
        ensure_origin(context, netuid, root=parameter.root)
        number = value["bits"] if isinstance(value, dict) else int(value)
        ensure_value(context, netuid, parameter, number)
        context.put(parameter.item, netuid, value)
        after_change(context, netuid, parameter)
        _announce(context, netuid, parameter.name)

    return handle


def _announce(context: Context, netuid: int, name: str) -> None:
    context.emit("HyperparameterSet", {"netuid": netuid, "name": name}, "AdminUtils")


def set_alpha_values(context: Context, arguments: dict[str, Any]) -> None:
    """Set the bounds of liquid alpha."""
    netuid, low, high = arguments["netuid"], arguments["alpha_low"], arguments["alpha_high"]
    ensure_origin(context, netuid)
    ensure(context.get("LiquidAlphaOn", netuid), "LiquidAlphaDisabled")
    ensure(high >= U16_MAX // 40, "AlphaHighTooLow")
    ensure(U16_MAX // 40 <= low <= high, "AlphaLowOutOfRange")
    context.put("AlphaValues", netuid, [low, high])
    _announce(context, netuid, "alpha_values")


def set_stake_threshold(context: Context, arguments: dict[str, Any]) -> None:
    """Set the stake below which a validator counts for nothing. Root only."""
    if not context.root:
        raise DispatchError("BadOrigin")
    context.put("StakeThreshold", arguments["min_stake"])


def set_mechanism_count(context: Context, arguments: dict[str, Any]) -> None:
    """Set how many mechanisms a subnet runs."""
    ensure_origin(context, arguments["netuid"])
    mechanisms.set_count(context, arguments["netuid"], arguments["mechanism_count"])


def set_mechanism_emission_split(context: Context, arguments: dict[str, Any]) -> None:
    """Set how a subnet's mechanisms share its emission."""
    ensure_origin(context, arguments["netuid"])
    mechanisms.set_split(context, arguments["netuid"], arguments["maybe_split"])


def trigger_epoch(context: Context, arguments: dict[str, Any]) -> None:
    """Pull a subnet's next epoch to the coming block. Owner only."""
    netuid = arguments["netuid"]
    if context.get("SubnetOwner", netuid) != context.signer:
        raise DispatchError("BadOrigin")
    ensure(
        not context.get("CommitRevealWeightsEnabled", netuid), "DynamicTempoBlockedByCommitReveal"
    )
    ensure(context.get("PendingEpochAt", netuid) == 0, "EpochTriggerAlreadyPending")
    context.put("PendingEpochAt", netuid, context.number + 1)
    context.emit("EpochTriggered", {"netuid": netuid, "at": context.number + 1})


def set_commitment(context: Context, arguments: dict[str, Any]) -> None:
    """Publish a hotkey's commitment on a subnet; it replaces the last one.

    The bytes are stored as they were signed: decoding and encoding again may change them.
    """
    netuid = arguments["netuid"]
    registered = context.get("Uids", netuid, context.signer) is not None
    ensure(registered, "AccountNotAllowedCommit", "Commitments")
    fields = arguments["info"]["fields"]
    ensure(len(fields) <= COMMITMENT_FIELDS_MAX, "TooManyFieldsInCommitmentInfo", "Commitments")
    info = context.call_data[_CALL_HEAD_BYTES:]
    limit = COMMITMENT_FIELDS_MAX * (COMMITMENT_BIG_BYTES_MAX + 3) + 1
    ensure(len(info) <= limit, "SpaceLimitExceeded", "Commitments")
    record = (0).to_bytes(8, "little") + context.number.to_bytes(4, "little") + info
    context.state.put(
        "Commitments.CommitmentOf", netuid, context.signer, {"scale": "0x" + record.hex()}
    )
    context.state.put("Commitments.LastCommitment", netuid, context.signer, context.number)
    context.emit("Commitment", {"netuid": netuid, "who": context.signer}, "Commitments")


CALLS: dict[tuple[str, str], Handler] = {
    **{("AdminUtils", name): _setter(parameter) for name, parameter in SETTERS.items()},
    ("AdminUtils", "sudo_set_alpha_values"): set_alpha_values,
    ("AdminUtils", "sudo_set_stake_threshold"): set_stake_threshold,
    ("AdminUtils", "sudo_set_mechanism_count"): set_mechanism_count,
    ("AdminUtils", "sudo_set_mechanism_emission_split"): set_mechanism_emission_split,
    ("SubtensorModule", "trigger_epoch"): trigger_epoch,
    ("Commitments", "set_commitment"): set_commitment,
}
