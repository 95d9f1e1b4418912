"""Fixed-point arithmetic of the chain (I32F32), on numpy arrays of raw 64-bit values.

Every number of an epoch passes through here, so that an epoch recomputed off chain agrees with
the chain to the last bit. The fact to remember: the chain's multiplication floors, also below
zero, while its division is only ever asked for non-negative operands here, where floor and
truncation agree. Overflow of the format is not reproduced by saturation; it is asserted away,
because shares, sums of shares and u16 values stay far below 2^31.

Source: substrate-fixed (`arith.rs`, `transcendental.rs`), read for its rounding.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[np.int64]
"""Raw I32F32 values: the number times 2^32."""

Mask = NDArray[np.bool_]

FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS
HALF = ONE >> 1
U16_MAX = 65_535
U64_MAX = (1 << 64) - 1

_LOW = ONE - 1
_EXP_LIMIT = 20 * ONE
# The chain answers exp(1) from a constant of 23 fraction bits instead of its series.
_E = floor(2.718281828459045 * (1 << 23)) << (FRACTION_BITS - 23)
_DIVISOR_BITS_MAX = 55


def multiply(left: Raw | int, right: Raw | int) -> Raw:
    """Product of two raw arrays (broadcast), floored.

    The 128-bit product is never formed: high and low halves are multiplied apart, and only the
    low by low part, which fills 64 unsigned bits, loses digits.
    """
    a, b = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
    a_high, b_high = a >> FRACTION_BITS, b >> FRACTION_BITS
    a_low, b_low = a & _LOW, b & _LOW
    low = (a_low.astype(np.uint64) * b_low.astype(np.uint64)) >> np.uint64(FRACTION_BITS)
    high = ((a_high * b_high) << FRACTION_BITS) + a_high * b_low + a_low * b_high
    product: Raw = high + low.astype(np.int64)
    return product


def divide(dividend: Raw | int, divisor: Raw | int) -> Raw:
    """Quotient of two non-negative arrays (broadcast) as raw values, floored; 0 where divisor is 0.

    Both may be raw values or both plain integers: the scale cancels. Long division, 8 bits at a
    time, keeps the 96-bit numerator out of sight.
    """
    a, b = np.asarray(dividend, dtype=np.int64), np.asarray(divisor, dtype=np.int64)
    assert int(b.max(initial=0)) < 1 << _DIVISOR_BITS_MAX
    divisible = np.where(b == 0, 1, b)
    quotient, remainder = np.divmod(a, divisible)
    for _ in range(FRACTION_BITS // 8):
        digit, remainder = np.divmod(remainder << 8, divisible)
        quotient = (quotient << 8) + digit
    return np.where(b == 0, 0, quotient)


def reciprocal(values: Raw) -> Raw:
    """1 / value for raw values >= 1, floored. 2^64 itself does not fit, so 2^64 - 1 is divided."""
    divisor = values.astype(np.uint64)
    quotient, remainder = np.divmod(np.full_like(divisor, U64_MAX), divisor)
    exact = remainder == divisor - np.uint64(1)
    result: Raw = (quotient + exact).astype(np.int64)
    return result


def exponential(values: Raw) -> Raw:
    """e^value, input clamped to [-20, 20], by the chain's 32-term series with its truncations."""
    clamped = np.clip(values, -_EXP_LIMIT, _EXP_LIMIT)
    magnitude = np.abs(clamped)
    total, term = magnitude + ONE, magnitude
    for index in range(2, FRACTION_BITS):
        term = multiply(term, magnitude) // index
        total = total + term
    result = np.where(clamped < 0, reciprocal(total), total)
    return np.where(clamped == ONE, _E, result)


def normalize(values: Raw, axis: int | None = None) -> Raw:
    """Values (>= 0) over their sum along `axis`; what sums to zero stays zero."""
    return divide(values, values.sum(axis=axis, keepdims=axis is not None))


def share_of_u16(value: int) -> int:
    """A u16 setting as a raw share of 65,535."""
    assert 0 <= value <= U16_MAX
    return (value << FRACTION_BITS) // U16_MAX


def to_u16(shares: Raw) -> NDArray[np.int64]:
    """Raw shares (>= 0) as u16, floored and saturated."""
    result: NDArray[np.int64] = np.minimum((shares * U16_MAX) >> FRACTION_BITS, U16_MAX)
    return result
