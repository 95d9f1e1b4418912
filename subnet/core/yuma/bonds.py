"""Bonds: how long a validator has backed a miner, and what that earns in dividends.

Called by `subnet.core.yuma.epoch` once ranks are known. Two regimes: classic bonds weigh by
stake and are normalised per miner before and after the moving average; Yuma3 bonds average the
plain weights, edge by edge, and stake enters the dividends only. The fact a reader would miss:
liquid alpha exists under Yuma3 only; classic bonds ignore the switch.

Source: subtensor, `epoch/run_epoch/bonds_ema_liquid_alpha.rs`, `epoch/math/ema_interpolate.rs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from subnet.core.yuma.fixed import (
    FRACTION_BITS,
    HALF,
    ONE,
    U16_MAX,
    Mask,
    Raw,
    divide,
    exponential,
    multiply,
    normalize,
    reciprocal,
    share_of_u16,
)

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BondParams:
    """Bond hyperparameters in the chain's units: u16 shares of 65,535, an average in millionths.

    moving_average_millionths: share of the old bond that survives an epoch.
    alpha_sigmoid_steepness: hundredths, so 1,000 is a steepness of 10.
    """

    penalty_u16: int = U16_MAX
    moving_average_millionths: int = 900_000
    yuma3: bool = False
    liquid_alpha: bool = False
    alpha_low_u16: int = 45_875
    alpha_high_u16: int = 58_982
    alpha_sigmoid_steepness: int = 1_000

    def __post_init__(self) -> None:
        assert 0 <= self.moving_average_millionths <= _MILLION
        assert 0 <= self.alpha_low_u16 <= self.alpha_high_u16 <= U16_MAX
        assert -(1 << 15) <= self.alpha_sigmoid_steepness < 1 << 15

    @property
    def alpha(self) -> int:
        """Raw share of the new observation in the plain moving average."""
        return ONE - (self.moving_average_millionths << FRACTION_BITS) // _MILLION


def penalize(
    weights: Raw, present: Mask, clipped: Raw, clipped_present: Mask, penalty: int
) -> tuple[Raw, Mask]:
    """Weights moved towards the clipped ones by the raw share `penalty`, and their presence."""
    if penalty == 0:
        return weights, present
    if penalty == ONE:
        return clipped, clipped_present
    mixed = weights + multiply(penalty, clipped - weights)
    return mixed, mixed > 0


def classic_bonds(
    targets: Raw,
    bonds: NDArray[np.int64],
    stake: Raw,
    incentive: Raw,
    params: BondParams,
) -> tuple[Raw, Raw]:
    """New bonds, scaled so that each miner's largest is 1, and dividends per row.

    Shapes: targets and bonds (rows, n), stake (rows,), incentive (n,).
    """
    purchased = normalize(multiply(targets, stake[:, None]), axis=0)
    held = normalize(bonds, axis=0)
    averaged = normalize(_average(purchased, held, params.alpha), axis=0)
    dividends = normalize(multiply(averaged, incentive).sum(axis=1))
    return divide(averaged, averaged.max(axis=0, initial=0)), dividends


def yuma3_bonds(
    targets: Raw,
    present: Mask,
    bonds: NDArray[np.int64],
    stake: Raw,
    consensus: Raw,
    incentive: Raw,
    params: BondParams,
) -> tuple[Raw, Raw]:
    """New bonds as shares of a full bond, and dividends per row. Shapes as in `classic_bonds`."""
    held = divide(bonds, U16_MAX)
    if params.liquid_alpha and consensus.any():
        alpha = liquid_alpha(consensus, targets, held, params)
        averaged = np.where(present, np.minimum(_average(targets, held, alpha), ONE), 0)
    else:
        averaged = _average(targets, held, params.alpha)
    earned = multiply(normalize(averaged, axis=0), incentive).sum(axis=1)
    return averaged, normalize(multiply(earned, stake))


def _average(new: Raw, old: Raw, alpha: Raw | int) -> Raw:
    result: Raw = multiply(alpha, new) + multiply(ONE - alpha, old)
    return result


def liquid_alpha(consensus: Raw, weights: Raw, bonds: Raw, params: BondParams) -> Raw:
    """Averaging share per edge: low while a validator agrees, high when it strays.

    The distance is weight over consensus while bonds grow, bond over weight while they shrink.
    """
    low, high = share_of_u16(params.alpha_low_u16), share_of_u16(params.alpha_high_u16)
    buy = np.clip(weights - consensus, 0, ONE)
    sell = np.clip(bonds - weights, 0, ONE)
    distance = np.where(weights >= bonds, buy, sell)
    # The chain divides by -100 and truncates towards zero; floor division would not.
    steepness = (abs(params.alpha_sigmoid_steepness) << FRACTION_BITS) // 100
    slope = -steepness if params.alpha_sigmoid_steepness > 0 else steepness
    sigmoid = reciprocal(ONE + exponential(multiply(slope, distance - HALF)))
    return np.clip(low + multiply(sigmoid, high - low), low, high)
