"""Storage items of the devnet's metadata, by pallet.

An item without a default is optional: a miss reads as absent. Key hashers are the reversible ones
only, because the node finds the item behind a raw key by reading the key back.
"""

from dataclasses import dataclass
from typing import Any

from subnet.devnet.schema.hyperparameters import ALPHA_VALUES_DEFAULT, PARAMETERS

ACCOUNT_ZERO = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"


@dataclass(frozen=True)
class Item:
    """A storage value (no keys) or map."""

    value: str
    keys: tuple[str, ...] = ()
    default: Any = None


def _netuid(value: str, default: Any = None) -> Item:
    return Item(value, ("u16",), default)


_EMPTY_ACCOUNT = {
    "nonce": 0,
    "consumers": 0,
    "providers": 0,
    "sufficients": 0,
    "data": {"free": 0, "reserved": 0, "frozen": 0, "flags": 1 << 127},
}

STORAGE: dict[str, dict[str, Item]] = {
    "System": {
        "Account": Item("AccountInfo", ("AccountId",), _EMPTY_ACCOUNT),
        "Number": Item("u32", default=0),
        "BlockHash": Item("H256", ("u32",), "0x" + "00" * 32),
        "ParentHash": Item("H256", default="0x" + "00" * 32),
        "Events": Item("Vec<EventRecord>", default=[]),
    },
    "Timestamp": {"Now": Item("u64", default=0)},
    "Balances": {"TotalIssuance": Item("u64", default=0)},
    "Sudo": {"Key": Item("AccountId")},
    "Commitments": {
        "CommitmentOf": Item("Registration", ("u16", "AccountId")),
        "RevealedCommitments": Item("Vec<(Vec<u8>,u64)>", ("u16", "AccountId")),
        "LastCommitment": Item("u32", ("u16", "AccountId")),
    },
    "MevShield": {"CurrentKey": Item("Vec<u8>"), "NextKey": Item("Vec<u8>")},
    "SubtensorModule": {
        "TotalNetworks": Item("u16", default=0),
        "TotalStake": Item("u64", default=0),
        "TotalIssuance": Item("u64", default=0),
        "SubnetLimit": Item("u16", default=128),
        "NetworkLastLockCost": Item("u64", default=0),
        "NetworkLastRegistered": Item("u64", default=0),
        "NetworkMinLockCost": Item("u64", default=0),
        "NetworkLockReductionInterval": Item("u64", default=0),
        "NetworkRateLimit": Item("u64", default=0),
        "NetworkRegistrationQueue": Item("Vec<NetworkRegistrationInfo>", default=[]),
        "DissolveCleanupQueue": Item("Vec<u16>", default=[]),
        "RootStakeUnlockInterval": Item("u64", default=0),
        "TaoWeight": Item("u64", default=0),
        "StakeThreshold": Item("u64", default=0),
        "SubnetOwnerCut": Item("u16", default=11796),
        "MinDelegateTake": Item("u16", default=0),
        "MaxDelegateTake": Item("u16", default=11796),
        "TxDelegateTakeRateLimit": Item("u64", default=216_000),
        "NetworksAdded": _netuid("bool", default=False),
        "SubnetworkN": _netuid("u16", 0),
        "SubnetOwner": _netuid("AccountId", ACCOUNT_ZERO),
        "SubnetOwnerHotkey": _netuid("AccountId", ACCOUNT_ZERO),
        "SubnetLocked": _netuid("u64", 0),
        "NetworkRegisteredAt": _netuid("u64", 0),
        "FirstEmissionBlockNumber": _netuid("u64"),
        "SubtokenEnabled": _netuid("bool", default=False),
        "TokenSymbol": _netuid("Vec<u8>", "0x"),
        "SubnetIdentitiesV3": _netuid("SubnetIdentityV3"),
        "LastEpochBlock": _netuid("u64", 0),
        "PendingEpochAt": _netuid("u64", 0),
        "SubnetEpochIndex": _netuid("u64", 0),
        "LastMechansimStepBlock": _netuid("u64", 0),
        "BlocksSinceLastStep": _netuid("u64", 0),
        "SubnetTAO": _netuid("u64", 0),
        "SubnetAlphaIn": _netuid("u64", 0),
        "SubnetAlphaOut": _netuid("u64", 0),
        "SubnetAlphaOutEmission": _netuid("u64", 0),
        "SubnetAlphaInEmission": _netuid("u64", 0),
        "SubnetTaoInEmission": _netuid("u64", 0),
        "SubnetEmaTaoFlow": _netuid("(u64,I96F32)"),
        "SubnetVolume": _netuid("u128", 0),
        "Burn": _netuid("u64", 0),
        "MinChildkeyTakePerSubnet": _netuid("PerU16", 0),
        "ImmuneOwnerUidsLimit": _netuid("u16", 1),
        "OwnerCutAutoLockEnabled": _netuid("bool", default=False),
        "CommitRevealWeightsVersion": Item("u16", default=4),
        "MaxMechanismCount": Item("u8", default=2),
        "MechanismCountCurrent": _netuid("u8", 1),
        "MechanismEmissionSplit": _netuid("Vec<u16>"),
        "AlphaValues": _netuid("(u16,u16)", ALPHA_VALUES_DEFAULT),
        "SubnetEpochConsensus": _netuid("EpochConsensus", "Yuma"),
        "Active": _netuid("Vec<bool>", []),
        "Emission": _netuid("Vec<u64>", []),
        "Consensus": _netuid("Vec<PerU16>", []),
        "Dividends": _netuid("Vec<PerU16>", []),
        "ValidatorTrust": _netuid("Vec<PerU16>", []),
        "ValidatorPermit": _netuid("Vec<bool>", []),
        "Incentive": _netuid("Vec<PerU16>", []),
        "LastUpdate": _netuid("Vec<u64>", []),
        "Uids": Item("u16", ("u16", "AccountId")),
        "Keys": Item("AccountId", ("u16", "u16"), ACCOUNT_ZERO),
        "BlockAtRegistration": Item("u64", ("u16", "u16"), 0),
        "IsNetworkMember": Item("bool", ("AccountId", "u16"), default=False),
        "Owner": Item("AccountId", ("AccountId",), ACCOUNT_ZERO),
        "OwnedHotkeys": Item("Vec<AccountId>", ("AccountId",), []),
        "StakingHotkeys": Item("Vec<AccountId>", ("AccountId",), []),
        "Lock": Item("LockState", ("AccountId", "u16", "AccountId")),
        "DecayingLock": Item("bool", ("AccountId", "u16")),
        "Delegates": Item("u16", ("AccountId",), 11796),
        "IdentitiesV2": Item("ChainIdentityV2", ("AccountId",)),
        "Axons": Item("AxonInfo", ("u16", "AccountId")),
        "Prometheus": Item("PrometheusInfo", ("u16", "AccountId")),
        "Weights": Item("Vec<(u16,u16)>", ("u16", "u16"), []),
        "Bonds": Item("Vec<(u16,u16)>", ("u16", "u16"), []),
        "TotalHotkeyAlpha": Item("u64", ("AccountId", "u16"), 0),
        "MinerCollateral": Item("MinerCollateralState", ("u16", "AccountId", "AccountId")),
        "ColdkeyMinerCollateral": Item("u64", ("u16", "AccountId"), 0),
        "ColdkeyCollateralHotkeys": Item("Vec<AccountId>", ("u16", "AccountId"), []),
        "AlphaDividendsPerSubnet": Item("u64", ("u16", "AccountId"), 0),
        "TimelockedWeightCommits": Item("Vec<(AccountId,u64,Vec<u8>,u64)>", ("u16", "u64"), []),
        **{parameter.item: _netuid(parameter.kind, parameter.default) for parameter in PARAMETERS},
    },
}
