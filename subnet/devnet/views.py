"""Runtime APIs: what the node computes for a reader, at any block."""

from collections.abc import Callable
from typing import Any

from subnet.devnet import balances, collateral, delegates, mechanisms, staking
from subnet.devnet.context import as_bytes
from subnet.devnet.epoch import activity_cutoff, next_epoch_block, pending_emission
from subnet.devnet.params import U16_MAX
from subnet.devnet.registration import network_cost
from subnet.devnet.schema.hyperparameters import PARAMETERS
from subnet.devnet.schema.types import METAGRAPH_PARAMETERS
from subnet.devnet.state import Reader, netuids

_NO_AXON = {
    "block": 0,
    "version": 0,
    "ip": 0,
    "port": 0,
    "ip_type": 0,
    "protocol": 0,
    "placeholder1": 0,
    "placeholder2": 0,
}
_NO_PROMETHEUS = {key: _NO_AXON[key] for key in ("block", "version", "ip", "port", "ip_type")}
_I32F32_ONE = 1 << 32
_SUBTENSOR = "SubtensorModule."


def _exists(reader: Reader, netuid: int) -> bool:
    return bool(reader.get(_SUBTENSOR + "NetworksAdded", netuid))


def _hotkeys(reader: Reader, netuid: int) -> list[str]:
    size = reader.get(_SUBTENSOR + "SubnetworkN", netuid)
    return [reader.get(_SUBTENSOR + "Keys", netuid, uid) for uid in range(size)]


def parameters(reader: Reader, netuid: int) -> dict[str, Any]:
    """A subnet's hyperparameters by the names that reads use."""
    low, high = reader.get(_SUBTENSOR + "AlphaValues", netuid)
    values = {
        parameter.name: reader.get(_SUBTENSOR + parameter.item, netuid) for parameter in PARAMETERS
    }
    return {
        **values,
        "activity_cutoff": activity_cutoff(reader, netuid),
        "alpha_low": low,
        "alpha_high": high,
    }


def get_subnet_hyperparams_v3(reader: Reader, netuid: int) -> list[dict[str, Any]] | None:
    """All hyperparameters as tagged values, or None for an unknown subnet."""
    if not _exists(reader, netuid):
        return None
    values = parameters(reader, netuid)
    tags = {parameter.name: parameter.tag for parameter in PARAMETERS}
    tags.update(activity_cutoff="U64", alpha_low="U16", alpha_high="U16")
    values["alpha_sigmoid_steepness"] = {"bits": values["alpha_sigmoid_steepness"] * _I32F32_ONE}
    entries = [{"name": name, "value": {tag: values[name]}} for name, tag in tags.items()]
    entries.append({"name": "yuma_version", "value": {"U16": 3 if values["yuma3_enabled"] else 2}})
    entries.append({"name": "subnet_is_active", "value": {"Bool": True}})
    return entries


def get_next_epoch_start_block(reader: Reader, netuid: int) -> int | None:
    """When the next epoch is due."""
    return next_epoch_block(reader, netuid)


def get_subnet_to_prune(reader: Reader) -> int | None:
    """Which subnet would make room for a new one: none, since this chain dissolves no subnet."""
    return None


def get_metagraph(reader: Reader, netuid: int) -> dict[str, Any] | None:
    """A subnet and all its neurons, column by column; None for an unknown subnet."""
    if not _exists(reader, netuid):
        return None

    def value(item: str) -> Any:
        return reader.get(_SUBTENSOR + item, netuid)

    hotkeys = _hotkeys(reader, netuid)
    identity = value("SubnetIdentitiesV3")
    values = {
        **parameters(reader, netuid),
        "num_uids": len(hotkeys),
        "max_uids": value("MaxAllowedUids"),
        "burn": value("Burn"),
        "pow_registration_allowed": value("NetworkPowRegistrationAllowed"),
    }
    last_step = value("LastMechansimStepBlock")
    return {
        "netuid": netuid,
        "name": list(as_bytes(identity["subnet_name"])) if identity else [],
        "symbol": list(as_bytes(value("TokenSymbol"))),
        "identity": identity,
        "network_registered_at": value("NetworkRegisteredAt"),
        "owner_hotkey": value("SubnetOwnerHotkey"),
        "owner_coldkey": value("SubnetOwner"),
        "block": reader.number,
        "tempo": value("Tempo"),
        "last_step": last_step,
        "blocks_since_last_step": reader.number - last_step,
        "subnet_emission": 0,
        "alpha_in": value("SubnetAlphaIn"),
        "alpha_out": value("SubnetAlphaOut"),
        "tao_in": value("SubnetAlphaIn"),
        "alpha_out_emission": value("SubnetAlphaOutEmission"),
        "alpha_in_emission": 0,
        "tao_in_emission": 0,
        "pending_alpha_emission": pending_emission(reader, netuid, reader.number),
        "pending_root_emission": 0,
        "subnet_volume": value("SubnetVolume"),
        "moving_price": {"bits": _I32F32_ONE},
        **{name: values[name] for name in METAGRAPH_PARAMETERS},
        **_neuron_columns(reader, netuid, hotkeys),
    }


def _neuron_columns(reader: Reader, netuid: int, hotkeys: list[str]) -> dict[str, Any]:
    def column(item: str) -> list[Any]:
        return list(reader.get(_SUBTENSOR + item, netuid))

    size = len(hotkeys)
    coldkeys = [reader.get(_SUBTENSOR + "Owner", hotkey) for hotkey in hotkeys]
    alpha = [staking.hotkey_stake(reader, hotkey, netuid) for hotkey in hotkeys]
    root = [staking.hotkey_stake(reader, hotkey, 0) for hotkey in hotkeys]
    weighed = [staking.tao_share(reader, hotkey) for hotkey in hotkeys]
    bonds = [
        collateral.row_of(reader, netuid, hotkey, coldkey)
        for hotkey, coldkey in zip(hotkeys, coldkeys, strict=True)
    ]
    zeros = [0] * size
    dividends = reader.entries(_SUBTENSOR + "AlphaDividendsPerSubnet", netuid)
    return {
        "hotkeys": hotkeys,
        "coldkeys": coldkeys,
        "identities": [reader.get(_SUBTENSOR + "IdentitiesV2", key) for key in coldkeys],
        "axons": [reader.get(_SUBTENSOR + "Axons", netuid, key) or _NO_AXON for key in hotkeys],
        "active": column("Active"),
        "validator_permit": column("ValidatorPermit"),
        "pruning_score": [U16_MAX] * size,
        "last_update": column("LastUpdate"),
        "emission": column("Emission"),
        "dividends": column("Dividends"),
        "incentives": column("Incentive"),
        "consensus": column("Consensus"),
        "trust": zeros,
        "rank": zeros,
        "block_at_registration": [
            reader.get(_SUBTENSOR + "BlockAtRegistration", netuid, uid) for uid in range(size)
        ],
        "alpha_stake": alpha,
        "tao_stake": root,
        "total_stake": [own + tao for own, tao in zip(alpha, weighed, strict=True)],
        "tao_dividends_per_hotkey": [],
        "alpha_dividends_per_hotkey": [[key[1], amount] for key, amount in dividends],
        "collateral_locked": [bond["locked"] for bond in bonds],
        "collateral_min": [bond["min_locked"] for bond in bonds],
        "collateral_earned": [bond["earned"] for bond in bonds],
    }


def get_all_metagraphs(reader: Reader) -> list[dict[str, Any] | None]:
    """Every subnet's metagraph."""
    return [get_metagraph(reader, netuid) for netuid in netuids(reader)]


def get_mechagraph(reader: Reader, netuid: int, mecid: int) -> dict[str, Any] | None:
    """A subnet's metagraph with the columns of one mechanism; its netuid is the storage index."""
    if not mechanisms.mechanism_exists(reader, netuid, mecid):
        return None
    return {
        **(get_metagraph(reader, netuid) or {}),
        "netuid": mechanisms.storage_index(netuid, mecid),
        "last_update": mechanisms.column(reader, "LastUpdate", netuid, mecid),
        "incentives": mechanisms.column(reader, "Incentive", netuid, mecid),
    }


def get_all_mechagraphs(reader: Reader) -> list[dict[str, Any] | None]:
    """The metagraph of every mechanism of every subnet."""
    return [
        get_mechagraph(reader, netuid, mecid)
        for netuid in netuids(reader)
        for mecid in range(mechanisms.mechanism_count(reader, netuid))
    ]


def _neurons(reader: Reader, netuid: int, uids: list[int], rows: bool) -> list[dict[str, Any]]:
    hotkeys = _hotkeys(reader, netuid)
    columns = {
        name: reader.get(_SUBTENSOR + item, netuid)
        for name, item in (
            ("active", "Active"),
            ("emission", "Emission"),
            ("incentive", "Incentive"),
            ("consensus", "Consensus"),
            ("validator_trust", "ValidatorTrust"),
            ("dividends", "Dividends"),
            ("last_update", "LastUpdate"),
            ("validator_permit", "ValidatorPermit"),
        )
    }
    neurons = []
    for uid in uids:
        hotkey = hotkeys[uid]
        coldkey = reader.get(_SUBTENSOR + "Owner", hotkey)
        neuron = {
            "hotkey": hotkey,
            "coldkey": coldkey,
            "uid": uid,
            "netuid": netuid,
            "axon_info": reader.get(_SUBTENSOR + "Axons", netuid, hotkey) or _NO_AXON,
            "prometheus_info": reader.get(_SUBTENSOR + "Prometheus", netuid, hotkey)
            or _NO_PROMETHEUS,
            "stake": [[coldkey, staking.total_stake(reader, hotkey, netuid)]],
            "rank": 0,
            "trust": 0,
            "pruning_score": U16_MAX,
            **{name: column[uid] for name, column in columns.items()},
        }
        if rows:
            for item in ("Weights", "Bonds"):
                pairs = reader.get(_SUBTENSOR + item, netuid, uid)
                neuron[item.lower()] = [pair for pair in pairs if pair[1]]
        neurons.append(neuron)
    return neurons


def _all_uids(reader: Reader, netuid: int) -> list[int]:
    return list(range(reader.get(_SUBTENSOR + "SubnetworkN", netuid)))


def get_neurons_lite(reader: Reader, netuid: int) -> list[dict[str, Any]]:
    """All neurons without weights and bonds."""
    return _neurons(reader, netuid, _all_uids(reader, netuid), rows=False)


def get_neurons(reader: Reader, netuid: int) -> list[dict[str, Any]]:
    """All neurons with weights and bonds."""
    return _neurons(reader, netuid, _all_uids(reader, netuid), rows=True)


def get_neuron_lite(reader: Reader, netuid: int, uid: int) -> dict[str, Any] | None:
    """One neuron without weights and bonds."""
    known = uid in _all_uids(reader, netuid)
    return _neurons(reader, netuid, [uid], rows=False)[0] if known else None


def get_neuron(reader: Reader, netuid: int, uid: int) -> dict[str, Any] | None:
    """One neuron with weights and bonds."""
    known = uid in _all_uids(reader, netuid)
    return _neurons(reader, netuid, [uid], rows=True)[0] if known else None


def get_stake_info_for_hotkey_coldkey_netuid(
    reader: Reader, hotkey: str, coldkey: str, netuid: int
) -> dict[str, Any]:
    """One position, zero when there is none."""
    return {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "netuid": netuid,
        "stake": staking.stake_of(reader, hotkey, coldkey, netuid),
        "locked": 0,
        "emission": 0,
        "tao_emission": 0,
        "drain": 0,
        "is_registered": reader.get(_SUBTENSOR + "Uids", netuid, hotkey) is not None,
    }


def get_stake_info_for_coldkey(reader: Reader, coldkey: str) -> list[dict[str, Any]]:
    """Every position of a coldkey."""
    return [
        get_stake_info_for_hotkey_coldkey_netuid(reader, hotkey, coldkey, netuid)
        for hotkey in reader.get(_SUBTENSOR + "StakingHotkeys", coldkey)
        for netuid in netuids(reader)
        if staking.stake_of(reader, hotkey, coldkey, netuid)
    ]


def get_stake_info_for_coldkeys(reader: Reader, coldkeys: list[str]) -> list[list[Any]]:
    """Every position of several coldkeys."""
    return [[coldkey, get_stake_info_for_coldkey(reader, coldkey)] for coldkey in coldkeys]


def get_stake_availability_for_coldkeys(
    reader: Reader, coldkeys: list[str], subnets: list[int]
) -> dict[str, dict[int, dict[str, int]]]:
    """Stake per coldkey and subnet; only collateral is ever kept from leaving."""
    result: dict[str, dict[int, dict[str, int]]] = {}
    for coldkey in coldkeys:
        held = dict.fromkeys(subnets, 0)
        for position in get_stake_info_for_coldkey(reader, coldkey):
            if position["netuid"] in held:
                held[position["netuid"]] += position["stake"]
        result[coldkey] = {
            netuid: {
                "total": total,
                "locked": 0,
                "available": total - collateral.locked_by(reader, netuid, coldkey),
            }
            for netuid, total in held.items()
        }
    return result


def get_root_basket_owed(reader: Reader, coldkey: str) -> int:
    """Root dividends to claim, in rao: this chain pays none."""
    return 0


def get_root_basket_positions(reader: Reader, coldkey: str) -> list[list[Any]]:
    """Shares in validators' baskets: this chain has none."""
    return []


def current_alpha_price(reader: Reader, netuid: int) -> int:
    """TAO for one alpha, in rao."""
    return staking.ALPHA_PRICE_RAO


def current_alpha_price_all(reader: Reader) -> list[dict[str, int]]:
    """The price on every subnet."""
    return [
        {"netuid": netuid, "price": current_alpha_price(reader, netuid)}
        for netuid in netuids(reader)
    ]


def _swap(tao: int, alpha: int) -> dict[str, int]:
    free = dict.fromkeys(("tao_fee", "alpha_fee", "tao_slippage", "alpha_slippage"), 0)
    return {"tao_amount": tao, "alpha_amount": alpha, **free}


def sim_swap_tao_for_alpha(reader: Reader, netuid: int, tao: int) -> dict[str, int]:
    """What staking would give."""
    return _swap(tao, tao)


def sim_swap_alpha_for_tao(reader: Reader, netuid: int, alpha: int) -> dict[str, int]:
    """What unstaking would give."""
    return _swap(alpha, alpha)


def get_network_registration_cost(reader: Reader) -> int:
    """The price of a new subnet, in rao."""
    return network_cost(reader, reader.number)


def fee_info(length_bytes: int) -> dict[str, Any]:
    """What an extrinsic of this length costs."""
    return {
        "weight": {"ref_time": 0, "proof_size": 0},
        "class": "Normal",
        "partial_fee": balances.fee_rao(length_bytes),
    }


View = Callable[..., Any]
VIEWS: dict[str, View] = {
    **delegates.VIEWS,
    "SubnetInfoRuntimeApi_get_metagraph": get_metagraph,
    "SubnetInfoRuntimeApi_get_all_metagraphs": get_all_metagraphs,
    "SubnetInfoRuntimeApi_get_mechagraph": get_mechagraph,
    "SubnetInfoRuntimeApi_get_all_mechagraphs": get_all_mechagraphs,
    "SubnetInfoRuntimeApi_get_subnet_hyperparams_v3": get_subnet_hyperparams_v3,
    "SubnetInfoRuntimeApi_get_next_epoch_start_block": get_next_epoch_start_block,
    "SubnetInfoRuntimeApi_get_subnet_to_prune": get_subnet_to_prune,
    "NeuronInfoRuntimeApi_get_neurons_lite": get_neurons_lite,
    "NeuronInfoRuntimeApi_get_neuron_lite": get_neuron_lite,
    "NeuronInfoRuntimeApi_get_neurons": get_neurons,
    "NeuronInfoRuntimeApi_get_neuron": get_neuron,
    "StakeInfoRuntimeApi_get_stake_info_for_coldkey": get_stake_info_for_coldkey,
    "StakeInfoRuntimeApi_get_stake_info_for_coldkeys": get_stake_info_for_coldkeys,
    "StakeInfoRuntimeApi_get_stake_info_for_hotkey_coldkey_netuid": (
        get_stake_info_for_hotkey_coldkey_netuid
    ),
    "StakeInfoRuntimeApi_get_stake_availability_for_coldkeys": get_stake_availability_for_coldkeys,
    "BetaBasketRuntimeApi_get_root_basket_owed": get_root_basket_owed,
    "BetaBasketRuntimeApi_get_root_basket_positions": get_root_basket_positions,
    "SwapRuntimeApi_current_alpha_price": current_alpha_price,
    "SwapRuntimeApi_current_alpha_price_all": current_alpha_price_all,
    "SwapRuntimeApi_sim_swap_tao_for_alpha": sim_swap_tao_for_alpha,
    "SwapRuntimeApi_sim_swap_alpha_for_tao": sim_swap_alpha_for_tao,
    "SubnetRegistrationRuntimeApi_get_network_registration_cost": get_network_registration_cost,
}
