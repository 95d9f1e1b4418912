"""Calls, events, constants and runtime APIs of the devnet's metadata.

Call names and argument names are what the SDK's generated builders compose; indexes inside a
pallet are ours, since nothing outside the metadata depends on them.
"""

from dataclasses import dataclass, field
from typing import Any

from subnet.devnet.schema.hyperparameters import PARAMETERS
from subnet.devnet.schema.types import IDENTITY_FIELDS

Fields = dict[str, str]
_STAKE = {"hotkey": "AccountId", "netuid": "u16"}
_AXON = {
    "netuid": "u16",
    "version": "u32",
    "ip": "u128",
    "port": "u16",
    "ip_type": "u8",
}
_LIMIT = {"limit_price": "u64", "allow_partial": "bool"}
_WEIGHTS = {"dests": "Vec<u16>", "weights": "Vec<u16>", "version_key": "u64"}

CALLS: dict[str, dict[str, Fields]] = {
    "Timestamp": {"set": {"now": "Compact<u64>"}},
    "Balances": {
        "transfer_allow_death": {"dest": "MultiAddress", "value": "Compact<u64>"},
        "transfer_keep_alive": {"dest": "MultiAddress", "value": "Compact<u64>"},
        "transfer_all": {"dest": "MultiAddress", "keep_alive": "bool"},
    },
    "SubtensorModule": {
        "set_weights": {"netuid": "u16", **_WEIGHTS},
        "set_mechanism_weights": {"netuid": "u16", "mecid": "u8", **_WEIGHTS},
        "commit_timelocked_mechanism_weights": {
            "netuid": "u16",
            "mecid": "u8",
            "commit": "Vec<u8>",
            "reveal_round": "u64",
            "commit_reveal_version": "u16",
        },
        "add_stake": {**_STAKE, "amount_staked": "u64"},
        "add_stake_limit": {**_STAKE, "amount_staked": "u64", **_LIMIT},
        "remove_stake": {**_STAKE, "amount_unstaked": "u64"},
        "remove_stake_limit": {**_STAKE, "amount_unstaked": "u64", **_LIMIT},
        "add_collateral": {
            "netuid": "u16",
            "hotkey": "AccountId",
            "alpha": "u64",
            "limit_price": "u64",
        },
        "set_min_collateral": {"netuid": "u16", "hotkey": "AccountId", "min_locked": "u64"},
        "decrease_take": {"hotkey": "AccountId", "take": "PerU16"},
        "increase_take": {"hotkey": "AccountId", "take": "PerU16"},
        "serve_axon": {
            **_AXON,
            "protocol": "u8",
            "placeholder1": "u8",
            "placeholder2": "u8",
        },
        "serve_prometheus": dict(_AXON),
        "burned_register": {"netuid": "u16", "hotkey": "AccountId"},
        "register_network": {"hotkey": "AccountId"},
        "start_call": {"netuid": "u16"},
        "trigger_epoch": {"netuid": "u16"},
        "set_subnet_identity": {
            "netuid": "u16",
            "subnet_name": "Vec<u8>",
            **dict.fromkeys(IDENTITY_FIELDS, "Vec<u8>"),
            "logo_url": "Vec<u8>",
            "additional": "Vec<u8>",
        },
    },
    "Sudo": {"sudo": {"call": "RuntimeCall"}},
    "Commitments": {"set_commitment": {"netuid": "u16", "info": "CommitmentInfo"}},
    "AdminUtils": {
        **{
            parameter.setter: {"netuid": "u16", parameter.argument: parameter.kind}
            for parameter in PARAMETERS
            if parameter.setter
        },
        "sudo_set_alpha_values": {"netuid": "u16", "alpha_low": "u16", "alpha_high": "u16"},
        "sudo_set_stake_threshold": {"min_stake": "u64"},
        "sudo_set_mechanism_count": {"netuid": "u16", "mechanism_count": "u8"},
        "sudo_set_mechanism_emission_split": {"netuid": "u16", "maybe_split": "Option<Vec<u16>>"},
        "sudo_set_tx_delegate_take_rate_limit": {"tx_rate_limit": "u64"},
    },
    "MevShield": {"submit_encrypted": {"ciphertext": "Vec<u8>"}},
}

EVENTS: dict[str, dict[str, Fields | tuple[str, ...]]] = {
    "System": {
        "ExtrinsicSuccess": {"dispatch_info": "DispatchInfo"},
        "ExtrinsicFailed": {"dispatch_error": "DispatchError", "dispatch_info": "DispatchInfo"},
        "NewAccount": {"account": "AccountId"},
    },
    "Balances": {
        "Endowed": {"account": "AccountId", "free_balance": "u64"},
        "Transfer": {"from": "AccountId", "to": "AccountId", "amount": "u64"},
        "Withdraw": {"who": "AccountId", "amount": "u64"},
        "Deposit": {"who": "AccountId", "amount": "u64"},
    },
    "TransactionPayment": {
        "TransactionFeePaid": {"who": "AccountId", "actual_fee": "u64", "tip": "u64"},
    },
    "SubtensorModule": {
        "NetworkAdded": ("u16", "u16"),
        "StakeAdded": ("AccountId", "AccountId", "u64", "u64", "u16", "u64"),
        "StakeRemoved": ("AccountId", "AccountId", "u64", "u64", "u16", "u64"),
        "CollateralLocked": {
            "netuid": "u16",
            "hotkey": "AccountId",
            "locked": "u64",
            "total_locked": "u64",
        },
        "MinCollateralSet": {"netuid": "u16", "hotkey": "AccountId", "min_locked": "u64"},
        "TakeDecreased": ("AccountId", "AccountId", "PerU16"),
        "TakeIncreased": ("AccountId", "AccountId", "PerU16"),
        "WeightsSet": ("u16", "u16"),
        "TimelockedWeightsCommitted": ("AccountId", "u16", "H256", "u64"),
        "TimelockedWeightsRevealed": ("u16", "AccountId"),
        "NeuronRegistered": ("u16", "u16", "AccountId"),
        "AxonServed": ("u16", "AccountId"),
        "PrometheusServed": ("u16", "AccountId"),
        "FirstEmissionBlockNumberSet": ("u16", "u64"),
        "SubnetIdentitySet": ("u16",),
        "EpochTriggered": {"netuid": "u16", "at": "u64"},
        "EpochRan": {"netuid": "u16", "epoch_index": "u64"},
    },
    "Sudo": {"Sudid": {"sudo_result": "Result<(),DispatchError>"}},
    "Commitments": {"Commitment": {"netuid": "u16", "who": "AccountId"}},
    "AdminUtils": {"HyperparameterSet": {"netuid": "u16", "name": "Vec<u8>"}},
    "MevShield": {"EncryptedSubmitted": {"id": "H256", "who": "AccountId"}},
}


@dataclass(frozen=True)
class Api:
    """One runtime API method: inputs in order, and the output type."""

    output: str
    inputs: Fields = field(default_factory=dict)


APIS: dict[str, dict[str, Api]] = {
    "TransactionPaymentApi": {
        "query_info": Api("RuntimeDispatchInfo", {"uxt": "[u8;0]", "len": "u32"}),
    },
    "SubnetInfoRuntimeApi": {
        "get_metagraph": Api("Option<Metagraph>", {"netuid": "u16"}),
        "get_all_metagraphs": Api("Vec<Option<Metagraph>>"),
        "get_mechagraph": Api("Option<Metagraph>", {"netuid": "u16", "mecid": "u8"}),
        "get_all_mechagraphs": Api("Vec<Option<Metagraph>>"),
        "get_subnet_hyperparams_v3": Api("Option<Vec<HyperparamEntry>>", {"netuid": "u16"}),
        "get_next_epoch_start_block": Api("Option<u64>", {"netuid": "u16"}),
        "get_subnet_to_prune": Api("Option<u16>"),
    },
    "DelegateInfoRuntimeApi": {
        "get_delegates": Api("Vec<DelegateInfo>"),
        "get_delegate": Api("Option<DelegateInfo>", {"delegate_account": "AccountId"}),
        "get_delegated": Api(
            "Vec<(DelegateInfo,(Compact<u16>,Compact<u64>))>", {"delegatee_account": "AccountId"}
        ),
    },
    "NeuronInfoRuntimeApi": {
        "get_neurons_lite": Api("Vec<NeuronInfoLite>", {"netuid": "u16"}),
        "get_neuron_lite": Api("Option<NeuronInfoLite>", {"netuid": "u16", "uid": "u16"}),
        "get_neurons": Api("Vec<NeuronInfo>", {"netuid": "u16"}),
        "get_neuron": Api("Option<NeuronInfo>", {"netuid": "u16", "uid": "u16"}),
    },
    "StakeInfoRuntimeApi": {
        "get_stake_info_for_coldkey": Api("Vec<StakeInfo>", {"coldkey_account": "AccountId"}),
        "get_stake_info_for_coldkeys": Api(
            "Vec<(AccountId,Vec<StakeInfo>)>", {"coldkey_accounts": "Vec<AccountId>"}
        ),
        "get_stake_info_for_hotkey_coldkey_netuid": Api(
            "Option<StakeInfo>",
            {"hotkey_account": "AccountId", "coldkey_account": "AccountId", "netuid": "u16"},
        ),
        "get_coldkey_lock": Api("Option<LockState>", {"coldkey": "AccountId", "netuid": "u16"}),
        "get_stake_availability_for_coldkeys": Api(
            "BTreeMap<AccountId,BTreeMap<u16,StakeAvailability>>",
            {"coldkeys": "Vec<AccountId>", "netuids": "Vec<u16>"},
        ),
    },
    "BetaBasketRuntimeApi": {
        "get_root_basket_owed": Api("u64", {"coldkey": "AccountId"}),
        "get_root_basket_positions": Api("Vec<(AccountId,u64,u64)>", {"coldkey": "AccountId"}),
    },
    "SwapRuntimeApi": {
        "current_alpha_price": Api("u64", {"netuid": "u16"}),
        "current_alpha_price_all": Api("Vec<SubnetPrice>"),
        "sim_swap_tao_for_alpha": Api("SimSwapResult", {"netuid": "u16", "tao": "u64"}),
        "sim_swap_alpha_for_tao": Api("SimSwapResult", {"netuid": "u16", "alpha": "u64"}),
    },
    "SubnetRegistrationRuntimeApi": {"get_network_registration_cost": Api("u64")},
}

EXISTENTIAL_DEPOSIT_RAO = 500

# Names and types the codec's extension encoder knows; order is the order on the wire.
EXTENSIONS: tuple[tuple[str, str, str], ...] = (
    ("CheckNonZeroSender", "()", "()"),
    ("CheckSpecVersion", "()", "u32"),
    ("CheckTxVersion", "()", "u32"),
    ("CheckGenesis", "()", "H256"),
    ("CheckMortality", "Era", "H256"),
    ("CheckNonce", "Compact<u32>", "()"),
    ("CheckWeight", "()", "()"),
    ("ChargeTransactionPayment", "Compact<u64>", "()"),
    ("CheckMetadataHash", "CheckMetadataMode", "Option<[u8;32]>"),
)


def constants(block_time_ms: int) -> dict[str, dict[str, tuple[str, Any]]]:
    """Pallet constants: name -> (type, value). Block time is the one that a devnet chooses."""
    return {
        "System": {"BlockHashCount": ("u32", 2400), "SS58Prefix": ("u16", 42)},
        "Timestamp": {"MinimumPeriod": ("u64", block_time_ms // 2)},
        "Aura": {"SlotDuration": ("u64", block_time_ms)},
        "Balances": {"ExistentialDeposit": ("u64", EXISTENTIAL_DEPOSIT_RAO)},
        "SubtensorModule": {
            "InitialStartCallDelay": ("u64", 0),
            "InitialTempo": ("u16", 360),
        },
    }
