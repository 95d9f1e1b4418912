"""Who may set a subnet's hyperparameter and to what, and what a change brings about at once.

The chain's order: who asks, whether the subnet exists, the value's own bounds, then its bounds
against other parameters. Not here: the owner's rate limits and the freeze window before an epoch.
"""

from subnet.devnet import mechanisms
from subnet.devnet.context import Context, DispatchError, ensure
from subnet.devnet.schema.hyperparameters import ADMIN, Parameter

_NOT_ON_ROOT = {
    "network_pow_registration_allowed",
    "burn_half_life",
    "burn_increase_mult",
    "owner_cut_enabled",
    "collateral_lock_share",
    "collateral_drain_ratio",
}
_OTHER_REGISTRATION = {
    "registration_allowed": "NetworkPowRegistrationAllowed",
    "network_pow_registration_allowed": "NetworkRegistrationAllowed",
}


def ensure_origin(context: Context, netuid: int, *, root: bool = False) -> None:
    """Let the subnet's owner and root through, or root alone."""
    owner = not root and context.get("SubnetOwner", netuid) == context.signer
    if not (context.root or owner):
        raise DispatchError("BadOrigin")
    ensure(context.get("NetworksAdded", netuid), "SubnetDoesNotExist", ADMIN)


def ensure_value(context: Context, netuid: int, parameter: Parameter, number: int) -> None:
    """Fail the call with the chain's own error for a value that the subnet may not have."""
    ensure(netuid != 0 or parameter.name not in _NOT_ON_ROOT, "NotPermittedOnRootSubnet", ADMIN)
    low, high = parameter.minimum, parameter.maximum
    if context.root and parameter.root_bounds:
        low, high = parameter.root_bounds
    pallet, error = parameter.error
    if number < low and parameter.error_below:
        pallet, error = parameter.error_below
    ensure(low <= number <= high, error, pallet)
    _ensure_consistent(context, netuid, parameter.name, number)


def _ensure_consistent(context: Context, netuid: int, name: str, number: int) -> None:
    if name == "min_burn":
        ensure(number < context.get("MaxBurn", netuid), "ValueNotInBounds", ADMIN)
    elif name == "max_burn":
        ensure(number > context.get("MinBurn", netuid), "ValueNotInBounds", ADMIN)
    elif name == "max_allowed_uids":
        taken = context.get("SubnetworkN", netuid)
        ensure(number >= taken, "MaxAllowedUIdsLessThanCurrentUIds", ADMIN)
        count = mechanisms.mechanism_count(context.state, netuid)
        mechanisms.ensure_uids(context, netuid, number, count)
    elif name == "max_validators":
        places = context.get("MaxAllowedUids", netuid)
        ensure(number <= places, "MaxValidatorsLargerThanMaxUIds", ADMIN)
    elif name in _OTHER_REGISTRATION and netuid:
        # One way to register must stay open.
        other = context.get(_OTHER_REGISTRATION[name], netuid)
        ensure(bool(number) or other, "InvalidValue", ADMIN)


def after_change(context: Context, netuid: int, parameter: Parameter) -> None:
    """A new tempo counts from the block that sets it; what was minted until then is still due."""
    if parameter.name == "tempo":
        context.put("LastEpochBlock", netuid, context.number)
