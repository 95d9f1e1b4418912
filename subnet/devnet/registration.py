"""Subnets and the places in them: creation, paid registration, eviction, endpoints, identity."""

from typing import Any

from subnet.devnet import balances, collateral, mechanisms
from subnet.devnet.collateral_calls import lock_bought
from subnet.devnet.context import Context, DispatchError, Handler, ensure, module_error
from subnet.devnet.params import DevnetParams
from subnet.devnet.schema.hyperparameters import FIXED_ONE
from subnet.devnet.schema.storage import ACCOUNT_ZERO
from subnet.devnet.state import Reader, State

IPV4, IPV6 = 4, 6
IPV4_MAX, IPV6_MAX = (1 << 32) - 1, (1 << 128) - 1
# Columns of one value per uid, and what a newcomer's value is.
COLUMNS: dict[str, Any] = {
    "Active": True,
    "Emission": 0,
    "Consensus": 0,
    "Dividends": 0,
    "ValidatorTrust": 0,
    "ValidatorPermit": False,
}


def network_cost(reader: Reader, number: int) -> int:
    """The price of a new subnet in rao: twice the last one, falling back to the floor with time."""
    floor = reader.get("SubtensorModule.NetworkMinLockCost")
    last = reader.get("SubtensorModule.NetworkLastLockCost")
    if not last:
        return int(floor)
    interval = reader.get("SubtensorModule.NetworkLockReductionInterval")
    passed = number - reader.get("SubtensorModule.NetworkLastRegistered")
    return int(max(2 * last - 2 * last * passed // interval, floor))


def decay_burns(state: State, number: int) -> None:
    """Let every subnet's registration price fall by one block's share, within its bounds."""
    for (netuid,), burn in state.entries("SubtensorModule.Burn"):
        floor = state.get("SubtensorModule.MinBurn", netuid)
        half_life = max(state.get("SubtensorModule.BurnHalfLife", netuid), 1)
        ceiling = state.get("SubtensorModule.MaxBurn", netuid)
        fallen = int(burn * 0.5 ** (1 / half_life))
        state.put("SubtensorModule.Burn", netuid, min(max(fallen, floor), ceiling))


def create_root(state: State) -> None:
    """Netuid 0: it takes TAO as stake and has no places."""
    state.put("SubtensorModule.NetworksAdded", 0, True)
    state.put("SubtensorModule.TokenSymbol", 0, "0x" + "\u03a4".encode().hex())
    state.put("SubtensorModule.Tempo", 0, 100)
    state.put("SubtensorModule.TotalNetworks", 1)


def register_network(context: Context, arguments: dict[str, Any]) -> None:
    """Create a subnet with the signer as owner and its hotkey at uid 0.

    Simplified: it is active at once, and the chain never dissolves one to make room.
    """
    hotkey, coldkey = arguments["hotkey"], context.signer
    _claim_hotkey(context, hotkey, coldkey)
    added = dict(context.state.entries("SubtensorModule.NetworksAdded"))
    netuid = next(n for n in range(1, len(added) + 1) if not added.get((n,)))
    ensure(netuid <= context.get("SubnetLimit"), "SubnetLimitReached")
    cost = network_cost(context.state, context.number)
    ensure(balances.free_rao(context.state, coldkey) >= cost, "CannotAffordLockCost")
    balances.destroy(context.state, coldkey, cost)
    context.put("NetworkLastLockCost", cost)
    context.put("NetworkLastRegistered", context.number)
    context.put("TotalNetworks", context.get("TotalNetworks") + 1)
    _open_subnet(context, netuid, cost, coldkey, hotkey)
    append_neuron(context, netuid, hotkey)
    context.emit("NetworkAdded", (netuid, 0))


def _open_subnet(context: Context, netuid: int, cost: int, coldkey: str, hotkey: str) -> None:
    params: DevnetParams = context.params
    values = {
        "NetworksAdded": True,
        "SubnetOwner": coldkey,
        "SubnetOwnerHotkey": hotkey,
        "SubnetLocked": cost,
        "NetworkRegisteredAt": context.number,
        "SubtokenEnabled": True,
        "TokenSymbol": "0x" + chr(0x3B0 + netuid % 25 + 1).encode().hex(),
        "SubnetTAO": cost,
        "SubnetAlphaIn": cost,
        "SubnetAlphaOutEmission": params.alpha_per_block_rao,
        "Burn": params.burn_initial_rao,
        "LastEpochBlock": context.number,
        "Tempo": params.tempo_blocks,
        "ImmunityPeriod": params.immunity_period_blocks,
        "WeightsSetRateLimit": params.weights_rate_limit_blocks,
        "ServingRateLimit": params.serving_rate_limit_blocks,
        "MaxAllowedUids": params.max_allowed_uids,
    }
    for item, value in values.items():
        context.put(item, netuid, value)


def start_call(context: Context, arguments: dict[str, Any]) -> None:
    """Note that the owner started a subnet, once; here it is active from its first block."""
    netuid = arguments["netuid"]
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    if context.get("SubnetOwner", netuid) != context.signer:
        raise DispatchError("BadOrigin")
    ensure(
        context.get("FirstEmissionBlockNumber", netuid) is None,
        "FirstEmissionBlockNumberAlreadySet",
    )
    context.put("FirstEmissionBlockNumber", netuid, context.number + 1)
    context.emit("FirstEmissionBlockNumberSet", (netuid, context.number + 1))


def burned_register(context: Context, arguments: dict[str, Any]) -> None:
    """Buy a place on a subnet: the price is burned but for the share that is locked as collateral.

    A full subnet evicts its weakest.
    """
    netuid, hotkey, coldkey = arguments["netuid"], arguments["hotkey"], context.signer
    ensure(netuid != 0, "RegistrationNotPermittedOnRootSubnet")
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    ensure(context.get("NetworkRegistrationAllowed", netuid), "SubNetRegistrationDisabled")
    ensure(context.get("Uids", netuid, hotkey) is None, "HotKeyAlreadyRegisteredInSubNet")
    price = context.get("Burn", netuid)
    burned, locked = collateral.split_price(context.state, netuid, hotkey, coldkey, price)
    spendable = balances.spendable_rao(context.state, coldkey)
    ensure(spendable >= burned + locked, "NotEnoughBalanceToStake")
    _claim_hotkey(context, hotkey, coldkey)
    if context.get("SubnetworkN", netuid) < context.get("MaxAllowedUids", netuid):
        uid = append_neuron(context, netuid, hotkey)
    else:
        uid = _replace(context, netuid, hotkey)
    balances.destroy(context.state, coldkey, burned)
    lock_bought(context, netuid, hotkey, coldkey, locked)
    raised = price * context.get("BurnIncreaseMult", netuid)["bits"] // FIXED_ONE
    low, high = context.get("MinBurn", netuid), context.get("MaxBurn", netuid)
    context.put("Burn", netuid, min(max(raised, low), high))
    context.emit("NeuronRegistered", (netuid, uid, hotkey))


def _claim_hotkey(context: Context, hotkey: str, coldkey: str) -> None:
    owner = context.get("Owner", hotkey)
    ensure(owner in (ACCOUNT_ZERO, coldkey), "NonAssociatedColdKey")
    if owner == ACCOUNT_ZERO:
        context.put("Owner", hotkey, coldkey)
        context.put("OwnedHotkeys", coldkey, [*context.get("OwnedHotkeys", coldkey), hotkey])


def append_neuron(context: Context, netuid: int, hotkey: str) -> int:
    """Give a hotkey the next free uid."""
    uid = int(context.get("SubnetworkN", netuid))
    context.put("SubnetworkN", netuid, uid + 1)
    for column, newcomer in COLUMNS.items():
        context.put(column, netuid, [*context.get(column, netuid), newcomer])
    _seat(context, netuid, uid, hotkey)
    return uid


def _replace(context: Context, netuid: int, hotkey: str) -> int:
    uid = _weakest(context, netuid)
    old = context.get("Keys", netuid, uid)
    for item, *key in (
        ("Uids", netuid, old),
        ("IsNetworkMember", old, netuid),
        ("Axons", netuid, old),
        ("Prometheus", netuid, old),
    ):
        context.put(item, *key, None)
    mechanisms.unseat(context, netuid, uid)
    for column, newcomer in COLUMNS.items():
        row = list(context.get(column, netuid))
        row[uid] = newcomer
        context.put(column, netuid, row)
    _seat(context, netuid, uid, hotkey)
    return uid


def _seat(context: Context, netuid: int, uid: int, hotkey: str) -> None:
    context.put("Uids", netuid, hotkey, uid)
    context.put("Keys", netuid, uid, hotkey)
    context.put("IsNetworkMember", hotkey, netuid, True)
    context.put("BlockAtRegistration", netuid, uid, context.number)
    mechanisms.seat(context, netuid, uid)


def _weakest(context: Context, netuid: int) -> int:
    """The uid to evict: least emission, then the oldest, then the lowest uid; never the owner."""
    immunity = context.get("ImmunityPeriod", netuid)
    owner = context.get("SubnetOwnerHotkey", netuid)
    candidates = []
    for uid, emission in enumerate(context.get("Emission", netuid)):
        registered = context.get("BlockAtRegistration", netuid, uid)
        immune = context.number - registered < immunity
        if not immune and context.get("Keys", netuid, uid) != owner:
            candidates.append((emission, registered, uid))
    if not candidates:
        raise module_error("NoNeuronIdAvailable")
    return min(candidates)[2]


def check_axon(context: Context, arguments: dict[str, Any]) -> None:
    """Fail a call that would publish an endpoint that the chain does not take."""
    _check_endpoint(context, "Axons", arguments)


def check_prometheus(context: Context, arguments: dict[str, Any]) -> None:
    """Fail a call that would publish a metrics endpoint that the chain does not take."""
    _check_endpoint(context, "Prometheus", arguments)


def _check_endpoint(context: Context, item: str, arguments: dict[str, Any]) -> None:
    netuid = arguments["netuid"]
    ensure(context.get("Uids", netuid, context.signer) is not None, "HotKeyNotRegisteredInNetwork")
    ensure(arguments["ip_type"] in (IPV4, IPV6), "InvalidIpType")
    limit = IPV4_MAX if arguments["ip_type"] == IPV4 else IPV6_MAX
    ensure(arguments["ip"] < limit, "InvalidIpAddress")
    last = context.get(item, netuid, context.signer)
    rate = context.get("ServingRateLimit", netuid)
    ensure(
        not rate or last is None or context.number - last["block"] >= rate,
        "ServingRateLimitExceeded",
    )
    ensure(arguments["port"] != 0, "InvalidPort")


def serve_axon(context: Context, arguments: dict[str, Any]) -> None:
    """Publish where a hotkey listens."""
    check_axon(context, arguments)
    netuid = arguments.pop("netuid")
    context.put("Axons", netuid, context.signer, {"block": context.number, **arguments})
    context.emit("AxonServed", (netuid, context.signer))


def serve_prometheus(context: Context, arguments: dict[str, Any]) -> None:
    """Publish where a hotkey's metrics are."""
    check_prometheus(context, arguments)
    netuid = arguments.pop("netuid")
    context.put("Prometheus", netuid, context.signer, {"block": context.number, **arguments})
    context.emit("PrometheusServed", (netuid, context.signer))


def set_subnet_identity(context: Context, arguments: dict[str, Any]) -> None:
    """Name a subnet and say where its people are."""
    netuid = arguments.pop("netuid")
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    ensure(context.get("SubnetOwner", netuid) == context.signer, "NotSubnetOwner")
    context.put("SubnetIdentitiesV3", netuid, arguments)
    context.emit("SubnetIdentitySet", netuid)


def registered_uid(context: Context, netuid: int, hotkey: str) -> int:
    """A hotkey's uid. Fails the call when it has none."""
    ensure(context.get("NetworksAdded", netuid), "SubnetNotExists")
    uid = context.get("Uids", netuid, hotkey)
    ensure(uid is not None, "HotKeyNotRegisteredInSubNet")
    return int(uid)


CALLS: dict[tuple[str, str], Handler] = {
    ("SubtensorModule", "register_network"): register_network,
    ("SubtensorModule", "burned_register"): burned_register,
    ("SubtensorModule", "start_call"): start_call,
    ("SubtensorModule", "serve_axon"): serve_axon,
    ("SubtensorModule", "serve_prometheus"): serve_prometheus,
    ("SubtensorModule", "set_subnet_identity"): set_subnet_identity,
}
