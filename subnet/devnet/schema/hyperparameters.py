"""Subnet hyperparameters: one row drives the storage item, the read and the setter call.

Defaults are the chain's, except those a devnet overrides per subnet at registration
(`subnet.devnet.params`).
"""

from dataclasses import dataclass
from typing import Any

from protocol.units import RAO_PER_TAO

U16_MAX = (1 << 16) - 1
U64_MAX = (1 << 64) - 1
FIXED_ONE = 1 << 64
ADMIN, SUBTENSOR = "AdminUtils", "SubtensorModule"


@dataclass(frozen=True)
class Parameter:
    """`name` as the SDK reads it, `tag` its type in the read.

    Without a setter it is fixed; with `root` only sudo sets it. What is out of bounds is refused
    with `error`, or with `error_below` where that differs. `root_bounds` hold for sudo instead.
    """

    name: str
    item: str
    kind: str
    default: Any
    tag: str
    setter: str = ""
    argument: str = ""
    minimum: int = 0
    maximum: int = U64_MAX
    root: bool = False
    error: tuple[str, str] = (ADMIN, "InvalidValue")
    error_below: tuple[str, str] | None = None
    root_bounds: tuple[int, int] | None = None


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("rho", "Rho", "u16", 10, "U16", "sudo_set_rho", "rho"),
    Parameter("kappa", "Kappa", "u16", 32767, "U16", "sudo_set_kappa", "kappa", root=True),
    Parameter(
        "immunity_period",
        "ImmunityPeriod",
        "u16",
        4096,
        "U16",
        "sudo_set_immunity_period",
        "immunity_period",
    ),
    Parameter(
        "min_allowed_weights",
        "MinAllowedWeights",
        "u16",
        1,
        "U16",
        "sudo_set_min_allowed_weights",
        "min_allowed_weights",
    ),
    Parameter("max_weights_limit", "MaxWeightsLimit", "u16", U16_MAX, "U16"),
    Parameter(
        "tempo",
        "Tempo",
        "u16",
        360,
        "U16",
        "sudo_set_tempo",
        "tempo",
        2,
        50_400,
        error=(SUBTENSOR, "TempoOutOfBounds"),
        root_bounds=(0, U16_MAX),
    ),
    Parameter("min_difficulty", "MinDifficulty", "u64", U64_MAX, "U64"),
    Parameter(
        "max_difficulty",
        "MaxDifficulty",
        "u64",
        U64_MAX,
        "U64",
        "sudo_set_max_difficulty",
        "max_difficulty",
    ),
    Parameter("difficulty", "Difficulty", "u64", U64_MAX, "U64"),
    Parameter(
        "weights_version",
        "WeightsVersionKey",
        "u64",
        0,
        "U64",
        "sudo_set_weights_version_key",
        "weights_version_key",
    ),
    Parameter(
        "weights_rate_limit",
        "WeightsSetRateLimit",
        "u64",
        100,
        "U64",
        "sudo_set_weights_set_rate_limit",
        "weights_set_rate_limit",
        root=True,
    ),
    Parameter("adjustment_interval", "AdjustmentInterval", "u16", 360, "U16"),
    Parameter(
        "activity_cutoff_factor",
        "ActivityCutoffFactorMilli",
        "u32",
        13_889,
        "U32",
        "sudo_set_activity_cutoff_factor",
        "factor_milli",
        1_000,
        50_000,
        error=(SUBTENSOR, "ActivityCutoffFactorMilliOutOfBounds"),
    ),
    Parameter(
        "registration_allowed",
        "NetworkRegistrationAllowed",
        "bool",
        True,
        "Bool",
        "sudo_set_network_registration_allowed",
        "registration_allowed",
    ),
    Parameter(
        "network_pow_registration_allowed",
        "NetworkPowRegistrationAllowed",
        "bool",
        False,
        "Bool",
        "sudo_set_network_pow_registration_allowed",
        "registration_allowed",
    ),
    Parameter("target_regs_per_interval", "TargetRegistrationsPerInterval", "u16", 2, "U16"),
    Parameter(
        "min_burn",
        "MinBurn",
        "u64",
        500_000,
        "TaoBalance",
        "sudo_set_min_burn",
        "min_burn",
        maximum=RAO_PER_TAO - 1,
        error=(ADMIN, "ValueNotInBounds"),
    ),
    Parameter(
        "max_burn",
        "MaxBurn",
        "u64",
        100_000_000_000,
        "TaoBalance",
        "sudo_set_max_burn",
        "max_burn",
        minimum=RAO_PER_TAO // 10 + 1,
        error=(ADMIN, "ValueNotInBounds"),
    ),
    Parameter(
        "burn_half_life",
        "BurnHalfLife",
        "u16",
        360,
        "U16",
        "sudo_set_burn_half_life",
        "burn_half_life",
        1,
        36_100,
    ),
    Parameter(
        "burn_increase_mult",
        "BurnIncreaseMult",
        "U64F64",
        {"bits": FIXED_ONE * 63 // 50},
        "U64F64",
        "sudo_set_burn_increase_mult",
        "burn_increase_mult",
        FIXED_ONE,
        3 * FIXED_ONE,
    ),
    Parameter(
        "bonds_moving_avg",
        "BondsMovingAverage",
        "u64",
        900_000,
        "U64",
        "sudo_set_bonds_moving_average",
        "bonds_moving_average",
        0,
        975_000,
        error=(ADMIN, "BondsMovingAverageMaxReached"),
        root_bounds=(0, 1_000_000),
    ),
    Parameter(
        "bonds_penalty",
        "BondsPenalty",
        "u16",
        U16_MAX,
        "U16",
        "sudo_set_bonds_penalty",
        "bonds_penalty",
    ),
    Parameter("max_regs_per_block", "MaxRegistrationsPerBlock", "u16", 256, "U16"),
    Parameter(
        "serving_rate_limit",
        "ServingRateLimit",
        "u64",
        50,
        "U64",
        "sudo_set_serving_rate_limit",
        "serving_rate_limit",
    ),
    Parameter(
        "max_validators",
        "MaxAllowedValidators",
        "u16",
        64,
        "U16",
        "sudo_set_max_allowed_validators",
        "max_allowed_validators",
        root=True,
    ),
    Parameter(
        "max_allowed_uids",
        "MaxAllowedUids",
        "u16",
        256,
        "U16",
        "sudo_set_max_allowed_uids",
        "max_allowed_uids",
        2,
        256,
        error=(ADMIN, "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids"),
        error_below=(ADMIN, "MaxAllowedUidsLessThanMinAllowedUids"),
    ),
    Parameter(
        "adjustment_alpha",
        "AdjustmentAlpha",
        "u64",
        0,
        "U64",
        "sudo_set_adjustment_alpha",
        "adjustment_alpha",
    ),
    Parameter(
        "commit_reveal_period",
        "RevealPeriodEpochs",
        "u64",
        1,
        "U64",
        "sudo_set_commit_reveal_weights_interval",
        "interval",
        1,
        100,
        error=(SUBTENSOR, "RevealPeriodTooLarge"),
        error_below=(SUBTENSOR, "RevealPeriodTooSmall"),
    ),
    Parameter(
        "commit_reveal_weights_enabled",
        "CommitRevealWeightsEnabled",
        "bool",
        False,
        "Bool",
        "sudo_set_commit_reveal_weights_enabled",
        "enabled",
    ),
    Parameter(
        "liquid_alpha_enabled",
        "LiquidAlphaOn",
        "bool",
        False,
        "Bool",
        "sudo_set_liquid_alpha_enabled",
        "enabled",
    ),
    Parameter(
        "alpha_sigmoid_steepness",
        "AlphaSigmoidSteepness",
        "i16",
        1000,
        "I32F32",
        "sudo_set_alpha_sigmoid_steepness",
        "steepness",
        maximum=(1 << 15) - 1,
        error=(ADMIN, "NegativeSigmoidSteepness"),
        root_bounds=(-(1 << 15), (1 << 15) - 1),
    ),
    Parameter(
        "yuma3_enabled", "Yuma3On", "bool", False, "Bool", "sudo_set_yuma3_enabled", "enabled"
    ),
    Parameter(
        "bonds_reset_enabled",
        "BondsResetOn",
        "bool",
        False,
        "Bool",
        "sudo_set_bonds_reset_enabled",
        "enabled",
    ),
    Parameter(
        "transfers_enabled",
        "TransferToggle",
        "bool",
        True,
        "Bool",
        "sudo_set_toggle_transfer",
        "toggle",
    ),
    Parameter(
        "owner_cut_enabled",
        "OwnerCutEnabled",
        "bool",
        True,
        "Bool",
        "sudo_set_owner_cut_enabled",
        "enabled",
    ),
    Parameter(
        "collateral_lock_share",
        "CollateralLockShare",
        "u16",
        0,
        "U16",
        "sudo_set_collateral_lock_share",
        "lock_share",
        maximum=62_258,
        error=(ADMIN, "CollateralLockShareTooHigh"),
    ),
    Parameter(
        "collateral_drain_ratio",
        "CollateralDrainRatio",
        "U64F64",
        {"bits": FIXED_ONE},
        "U64F64",
        "sudo_set_collateral_drain_ratio",
        "drain_ratio",
        minimum=1,
        maximum=10 * FIXED_ONE,
        error=(ADMIN, "CollateralDrainRatioOutOfBounds"),
    ),
)
SETTERS = {parameter.setter: parameter for parameter in PARAMETERS if parameter.setter}
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
ALPHA_VALUES_DEFAULT = [45_875, 58_982]
