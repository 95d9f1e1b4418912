"""Named types of the devnet's metadata.

Names, field order and variant indexes follow the chain that the SDK was generated from, so that
values decoded here look the same as values decoded there. Variant indexes of errors and fields of
commitments matter most: clients branch on them.
"""

from bittensor._generated.errors import ERRORS

from subnet.devnet.registry import Enum, Named, Struct, Variant

COMMITMENT_RAW_BYTES_MAX = 128
PALLETS = {
    "System": 0,
    "Timestamp": 2,
    "Aura": 3,
    "Balances": 5,
    "TransactionPayment": 6,
    "SubtensorModule": 7,
    "Sudo": 12,
    "Commitments": 18,
    "AdminUtils": 19,
    "MevShield": 30,
}


def _units(*names: str, path: str = "") -> Enum:
    return Enum({name: Variant(index) for index, name in enumerate(names)}, path)


def _era() -> Enum:
    mortal = {f"Mortal{index}": Variant(index, ("u8",)) for index in range(1, 256)}
    return Enum({"Immortal": Variant(0), **mortal}, "sp_runtime::generic::era::Era")


def _commitment_data() -> Enum:
    raw = {
        f"Raw{size}": Variant(size + 1, (f"[u8;{size}]",))
        for size in range(COMMITMENT_RAW_BYTES_MAX + 1)
    }
    hashes = ("BlakeTwo256", "Sha256", "Keccak256", "ShaThree256")
    return Enum(
        {
            "None": Variant(0),
            **raw,
            **{name: Variant(130 + place, ("[u8;32]",)) for place, name in enumerate(hashes)},
            "TimelockEncrypted": Variant(134, {"encrypted": "Vec<u8>", "reveal_round": "u64"}),
            "ResetBondsFlag": Variant(135),
            "BigRaw": Variant(136, ("Vec<u8>",)),
        },
        "pallet_commitments::types::Data",
    )


def _errors() -> dict[str, Named]:
    pallets: dict[str, dict[str, Variant]] = {}
    for (pallet_index, error_index), info in ERRORS.items():
        if PALLETS.get(info.pallet) == pallet_index:
            pallets.setdefault(info.pallet, {})[info.name] = Variant(error_index, docs=info.docs)
    return {f"{pallet}Error": Enum(variants) for pallet, variants in pallets.items()}


COMPACT_COLUMNS = {
    "pruning_score": "u16",
    "last_update": "u64",
    "emission": "u64",
    "dividends": "PerU16",
    "incentives": "PerU16",
    "consensus": "PerU16",
    "trust": "PerU16",
    "rank": "u16",
    "block_at_registration": "u64",
    "alpha_stake": "u64",
    "tao_stake": "u64",
    "total_stake": "u64",
}
METAGRAPH_SCALARS = {
    "block": "u64",
    "tempo": "u16",
    "last_step": "u64",
    "blocks_since_last_step": "u64",
    "subnet_emission": "u64",
    "alpha_in": "u64",
    "alpha_out": "u64",
    "tao_in": "u64",
    "alpha_out_emission": "u64",
    "alpha_in_emission": "u64",
    "tao_in_emission": "u64",
    "pending_alpha_emission": "u64",
    "pending_root_emission": "u64",
    "subnet_volume": "u128",
}
METAGRAPH_PARAMETERS = {
    "rho": "Compact<u16>",
    "kappa": "Compact<u16>",
    "min_allowed_weights": "Compact<u16>",
    "max_weights_limit": "Compact<u16>",
    "weights_version": "Compact<u64>",
    "weights_rate_limit": "Compact<u64>",
    "activity_cutoff": "Compact<u64>",
    "max_validators": "Compact<u16>",
    "num_uids": "Compact<u16>",
    "max_uids": "Compact<u16>",
    "burn": "Compact<u64>",
    "difficulty": "Compact<u64>",
    "registration_allowed": "bool",
    "pow_registration_allowed": "bool",
    "immunity_period": "Compact<u16>",
    "min_difficulty": "Compact<u64>",
    "max_difficulty": "Compact<u64>",
    "min_burn": "Compact<u64>",
    "max_burn": "Compact<u64>",
    "adjustment_alpha": "Compact<u64>",
    "adjustment_interval": "Compact<u16>",
    "target_regs_per_interval": "Compact<u16>",
    "max_regs_per_block": "Compact<u16>",
    "serving_rate_limit": "Compact<u64>",
    "commit_reveal_weights_enabled": "bool",
    "commit_reveal_period": "Compact<u64>",
    "liquid_alpha_enabled": "bool",
    "alpha_high": "Compact<u16>",
    "alpha_low": "Compact<u16>",
    "bonds_moving_avg": "Compact<u64>",
}
METAGRAPH = {
    "netuid": "Compact<u16>",
    "name": "Vec<Compact<u8>>",
    "symbol": "Vec<Compact<u8>>",
    "identity": "Option<SubnetIdentityV3>",
    "network_registered_at": "Compact<u64>",
    "owner_hotkey": "AccountId",
    "owner_coldkey": "AccountId",
    **{name: f"Compact<{kind}>" for name, kind in METAGRAPH_SCALARS.items()},
    "moving_price": "I96F32",
    **METAGRAPH_PARAMETERS,
    "hotkeys": "Vec<AccountId>",
    "coldkeys": "Vec<AccountId>",
    "identities": "Vec<Option<ChainIdentityV2>>",
    "axons": "Vec<AxonInfo>",
    "active": "Vec<bool>",
    "validator_permit": "Vec<bool>",
    **{name: f"Vec<Compact<{kind}>>" for name, kind in COMPACT_COLUMNS.items()},
    "tao_dividends_per_hotkey": "Vec<(AccountId,Compact<u64>)>",
    "alpha_dividends_per_hotkey": "Vec<(AccountId,Compact<u64>)>",
    "collateral_locked": "Vec<Compact<u64>>",
    "collateral_min": "Vec<Compact<u64>>",
    "collateral_earned": "Vec<Compact<u64>>",
}
NEURON_HEAD = {
    "hotkey": "AccountId",
    "coldkey": "AccountId",
    "uid": "Compact<u16>",
    "netuid": "Compact<u16>",
    "active": "bool",
    "axon_info": "AxonInfo",
    "prometheus_info": "PrometheusInfo",
    "stake": "Vec<(AccountId,Compact<u64>)>",
    "rank": "Compact<u16>",
    "emission": "Compact<u64>",
    "incentive": "Compact<PerU16>",
    "consensus": "Compact<PerU16>",
    "trust": "Compact<PerU16>",
    "validator_trust": "Compact<PerU16>",
    "dividends": "Compact<PerU16>",
    "last_update": "Compact<u64>",
    "validator_permit": "bool",
}
NEURON_ROWS = {
    "weights": "Vec<(Compact<u16>,Compact<u16>)>",
    "bonds": "Vec<(Compact<u16>,Compact<u16>)>",
}
IDENTITY_FIELDS = ("github_repo", "subnet_contact", "subnet_url", "discord", "description")

NAMED: dict[str, Named] = {
    "AccountId": Struct(("[u8;32]",), "sp_core::crypto::AccountId32"),
    "H256": Struct(("[u8;32]",), "primitive_types::H256"),
    "PerU16": Struct(("u16",), "sp_arithmetic::per_things::PerU16"),
    "MultiAddress": Enum(
        {
            "Id": Variant(0, ("AccountId",)),
            "Index": Variant(1, ("Compact<u32>",)),
            "Raw": Variant(2, ("Vec<u8>",)),
            "Address32": Variant(3, ("[u8;32]",)),
            "Address20": Variant(4, ("[u8;20]",)),
        },
        "sp_runtime::multiaddress::MultiAddress",
    ),
    "MultiSignature": Enum(
        {
            "Ed25519": Variant(0, ("[u8;64]",)),
            "Sr25519": Variant(1, ("[u8;64]",)),
            "Ecdsa": Variant(2, ("[u8;65]",)),
        },
        "sp_runtime::MultiSignature",
    ),
    "Era": _era(),
    "CheckMetadataMode": _units("Disabled", "Enabled", path="frame_metadata_hash_extension::Mode"),
    "Weight": Struct(
        {"ref_time": "Compact<u64>", "proof_size": "Compact<u64>"},
        "sp_weights::weight_v2::Weight",
    ),
    "DispatchClass": _units(
        "Normal", "Operational", "Mandatory", path="frame_support::dispatch::DispatchClass"
    ),
    "Pays": _units("Yes", "No", path="frame_support::dispatch::Pays"),
    "DispatchInfo": Struct(
        {"weight": "Weight", "class": "DispatchClass", "pays_fee": "Pays"},
        "frame_system::DispatchEventInfo",
    ),
    "ModuleError": Struct({"index": "u8", "error": "[u8;4]"}, "sp_runtime::ModuleError"),
    "TokenError": _units(
        "FundsUnavailable",
        "OnlyProvider",
        "BelowMinimum",
        "CannotCreate",
        "UnknownAsset",
        "Frozen",
        "Unsupported",
        "CannotCreateHold",
        "NotExpendable",
        "Blocked",
        path="sp_runtime::TokenError",
    ),
    "ArithmeticError": _units(
        "Underflow", "Overflow", "DivisionByZero", path="sp_arithmetic::ArithmeticError"
    ),
    "DispatchError": Enum(
        {
            "Other": Variant(0),
            "CannotLookup": Variant(1),
            "BadOrigin": Variant(2),
            "Module": Variant(3, ("ModuleError",)),
            "ConsumerRemaining": Variant(4),
            "NoProviders": Variant(5),
            "TooManyConsumers": Variant(6),
            "Token": Variant(7, ("TokenError",)),
            "Arithmetic": Variant(8, ("ArithmeticError",)),
        },
        "sp_runtime::DispatchError",
    ),
    "Phase": Enum(
        {
            "ApplyExtrinsic": Variant(0, ("u32",)),
            "Finalization": Variant(1),
            "Initialization": Variant(2),
        },
        "frame_system::Phase",
    ),
    "EventRecord": Struct(
        {"phase": "Phase", "event": "RuntimeEvent", "topics": "Vec<H256>"},
        "frame_system::EventRecord",
    ),
    "AccountData": Struct(
        {"free": "u64", "reserved": "u64", "frozen": "u64", "flags": "u128"},
        "pallet_balances::types::AccountData",
    ),
    "AccountInfo": Struct(
        {
            "nonce": "u32",
            "consumers": "u32",
            "providers": "u32",
            "sufficients": "u32",
            "data": "AccountData",
        },
        "frame_system::AccountInfo",
    ),
    "AxonInfo": Struct(
        {
            "block": "u64",
            "version": "u32",
            "ip": "u128",
            "port": "u16",
            "ip_type": "u8",
            "protocol": "u8",
            "placeholder1": "u8",
            "placeholder2": "u8",
        }
    ),
    "PrometheusInfo": Struct(
        {"block": "u64", "version": "u32", "ip": "u128", "port": "u16", "ip_type": "u8"}
    ),
    "I96F32": Struct({"bits": "i128"}, "substrate_fixed::FixedI128"),
    "I32F32": Struct({"bits": "i64"}, "substrate_fixed::FixedI64"),
    "U64F64": Struct({"bits": "u128"}, "substrate_fixed::FixedU128"),
    "MinerCollateralState": Struct(
        {"locked": "u64", "drain_ratio": "U64F64", "min_locked": "u64", "earned": "u64"}
    ),
    "EpochConsensus": _units("Yuma", "Null"),
    "SubnetIdentityV3": Struct(
        {
            "subnet_name": "Vec<u8>",
            **dict.fromkeys(IDENTITY_FIELDS, "Vec<u8>"),
            "logo_url": "Vec<u8>",
            "additional": "Vec<u8>",
        }
    ),
    "ChainIdentityV2": Struct(
        dict.fromkeys(
            ("name", "url", "github_repo", "image", "discord", "description", "additional"),
            "Vec<u8>",
        )
    ),
    "Data": _commitment_data(),
    "CommitmentInfo": Struct({"fields": "Vec<Data>"}, "pallet_commitments::types::CommitmentInfo"),
    "Registration": Struct(
        {"deposit": "u64", "block": "u32", "info": "CommitmentInfo"},
        "pallet_commitments::types::Registration",
    ),
    "RuntimeDispatchInfo": Struct(
        {"weight": "Weight", "class": "DispatchClass", "partial_fee": "u64"}
    ),
    "Metagraph": Struct(METAGRAPH),
    "NeuronInfoLite": Struct({**NEURON_HEAD, "pruning_score": "Compact<u16>"}),
    "NeuronInfo": Struct({**NEURON_HEAD, **NEURON_ROWS, "pruning_score": "Compact<u16>"}),
    "HyperparamValue": Enum(
        {
            "Bool": Variant(0, ("bool",)),
            "U16": Variant(1, ("Compact<u16>",)),
            "U32": Variant(2, ("Compact<u32>",)),
            "U64": Variant(3, ("Compact<u64>",)),
            "U128": Variant(4, ("Compact<u128>",)),
            "TaoBalance": Variant(5, ("Compact<u64>",)),
            "I32F32": Variant(6, ("I32F32",)),
            "U64F64": Variant(7, ("U64F64",)),
        }
    ),
    "HyperparamEntry": Struct({"name": "Vec<u8>", "value": "HyperparamValue"}),
    "StakeInfo": Struct(
        {
            "hotkey": "AccountId",
            "coldkey": "AccountId",
            "netuid": "Compact<u16>",
            "stake": "Compact<u64>",
            "locked": "Compact<u64>",
            "emission": "Compact<u64>",
            "tao_emission": "Compact<u64>",
            "drain": "Compact<u64>",
            "is_registered": "bool",
        }
    ),
    "LockState": Struct({"locked_mass": "u64", "conviction": "U64F64", "last_update": "u64"}),
    "NetworkRegistrationInfo": Struct({"coldkey": "AccountId", "hotkey": "AccountId"}),
    "DelegateInfo": Struct(
        {
            "delegate_ss58": "AccountId",
            "take": "Compact<u16>",
            "nominators": "Vec<(AccountId,Vec<(Compact<u16>,Compact<u64>)>)>",
            "owner_ss58": "AccountId",
            "registrations": "Vec<Compact<u16>>",
            "validator_permits": "Vec<Compact<u16>>",
            "return_per_1000": "Compact<u64>",
            "total_daily_return": "Compact<u64>",
        }
    ),
    "StakeAvailability": Struct(dict.fromkeys(("total", "locked", "available"), "Compact<u64>")),
    "SimSwapResult": Struct(
        dict.fromkeys(
            (
                "tao_amount",
                "alpha_amount",
                "tao_fee",
                "alpha_fee",
                "tao_slippage",
                "alpha_slippage",
            ),
            "u64",
        )
    ),
    "SubnetPrice": Struct({"netuid": "u16", "price": "u64"}),
    **_errors(),
}
