"""What the pool refuses before a call runs.

The chain checks some calls when they are submitted and again when a block takes them in; such an
extrinsic is never included and pays nothing. The refusal is a number, which stands for a family
of the pallet's errors, so a client sees the family's name and not the pallet's own.
"""

from collections.abc import Callable
from typing import Any

from subnet.devnet import commit_reveal, registration, takes, weights
from subnet.devnet.context import Context, DispatchError, ensure
from subnet.devnet.extrinsics import Extrinsic, custom_error

Guard = Callable[[Context, dict[str, Any]], None]

BAD_REQUEST = 255
CODES = {
    "AmountTooLow": 1,
    "NotEnoughStakeToSetWeights": 1,
    "NotEnoughBalanceToStake": 2,
    "SubnetNotExists": 3,
    "HotKeyAccountNotExists": 4,
    "SettingWeightsTooFast": 6,
    "CommittingWeightsTooFast": 6,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidIpAddress": 11,
    "ServingRateLimitExceeded": 12,
    "InvalidPort": 13,
    "InvalidRevealRound": 15,
    "HotKeyNotRegisteredInSubNet": 19,
    "NonAssociatedColdKey": 25,
    "DelegateTakeTooLow": 26,
    "DelegateTakeTooHigh": 27,
}


def check_guards(context: Context, extrinsic: Extrinsic) -> None:
    """Refuse what the chain's transaction extension refuses.

    Raises InvalidTransactionError with the chain's number.
    """
    guard = GUARDS.get((extrinsic.pallet, extrinsic.function))
    if guard is None:
        return
    try:
        guard(context, extrinsic.arguments)
    except DispatchError as error:
        raise custom_error(CODES.get(error.name, BAD_REQUEST)) from error


def _weights(context: Context, arguments: dict[str, Any]) -> None:
    netuid = arguments["netuid"]
    weights.check_stake(context, netuid, context.signer)
    if not context.get("CommitRevealWeightsEnabled", netuid):
        weights.check_rate(context, netuid, arguments.get("mecid", 0))


def _commitment(context: Context, arguments: dict[str, Any]) -> None:
    netuid = arguments["netuid"]
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    registered = context.get("Uids", netuid, context.signer) is not None
    ensure(registered, "HotKeyNotRegisteredInSubNet")


GUARDS: dict[tuple[str, str], Guard] = {
    ("SubtensorModule", "set_weights"): _weights,
    ("SubtensorModule", "set_mechanism_weights"): _weights,
    ("SubtensorModule", "commit_timelocked_mechanism_weights"): commit_reveal.check_commit,
    ("SubtensorModule", "serve_axon"): registration.check_axon,
    ("SubtensorModule", "serve_prometheus"): registration.check_prometheus,
    ("SubtensorModule", "decrease_take"): takes.check_take,
    ("SubtensorModule", "increase_take"): takes.check_take,
    ("Commitments", "set_commitment"): _commitment,
}
