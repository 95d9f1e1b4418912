"""One epoch of Yuma consensus: weights set by validators in, incentives and dividends out.

Sits between the weights that `subnet.core.weights` makes and the emission that the devnet,
the simulator and the replay pay out; all three call `run_epoch` and nothing else. The fact a
reader would miss: the permits that count are those stored by the *previous* epoch; the permits
computed here act on the next one only.

Rows are sparse and *presence* matters, not only value: under Yuma3 with liquid alpha a bond
decays while the validator still lists the miner, even at weight 0, and is dropped at once when
the entry is gone. Dense arrays therefore travel with a mask of the entries that exist.

Source: subtensor, `pallets/subtensor/src/epoch/run_epoch/epoch_mechanism.rs` and `epoch/math/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from subnet.core.yuma.bonds import BondParams, classic_bonds, penalize, yuma3_bonds
from subnet.core.yuma.fixed import (
    FRACTION_BITS,
    ONE,
    U16_MAX,
    U64_MAX,
    Mask,
    Raw,
    divide,
    multiply,
    normalize,
    share_of_u16,
    to_u16,
)

SparseRow = tuple[tuple[int, int], ...]
"""Entries (uid, u16) of one row, in any order, each uid at most once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochParams:
    """Hyperparameters of the subnet, in the chain's own units; the defaults suit a usual subnet."""

    kappa_u16: int = 32_767
    validators_max: int = 64
    bonds: BondParams = field(default_factory=BondParams)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochInput:
    """State of a subnet at the block of its epoch. Tuples are indexed by uid and equally long.

    stake_rao: stake weights (alpha plus root TAO by its weight), whole rao.
    stake_threshold_rao: below it a stake counts as zero, except the owner's.
    last_update_blocks: when each uid last set weights.
    registration_blocks: when each uid was registered.
    permits: validator permits stored by the last epoch.
    weights, bonds: one sparse row per uid, as stored; uids outside the subnet are ignored.
    commit_blocks: earliest weight commit still to be revealed, per uid; None where there is none.
    last_epoch_block: block of the last epoch, 0 before the first.
    """

    block: int
    tempo_blocks: int
    last_epoch_block: int
    activity_cutoff_blocks: int
    stake_rao: tuple[int, ...]
    stake_threshold_rao: int
    last_update_blocks: tuple[int, ...]
    registration_blocks: tuple[int, ...]
    permits: tuple[bool, ...]
    weights: tuple[SparseRow, ...]
    bonds: tuple[SparseRow, ...]
    emission_rao: int
    owner_uid: int | None = None
    commit_blocks: tuple[int | None, ...] | None = None
    params: EpochParams = EpochParams()

    def __post_init__(self) -> None:
        n = len(self.stake_rao)
        rows = (self.last_update_blocks, self.registration_blocks, self.permits)
        assert all(len(row) == n for row in (*rows, self.weights, self.bonds))
        assert self.commit_blocks is None or len(self.commit_blocks) == n
        assert self.owner_uid is None or self.owner_uid >= 0
        assert n <= U16_MAX and sum(self.stake_rao) < 1 << 63
        assert all(stake >= 0 for stake in self.stake_rao)
        assert 0 <= self.emission_rao <= U64_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """Outcome per uid: shares as u16 of 65,535 (floored), emissions in rao, permits and bonds.

    emission_rao is what the chain stores and prunes by; it may exceed the sum of the server's
    and the validator's part by the rao that their separate rounding loses.
    """

    stake_weight: tuple[int, ...]
    active: tuple[bool, ...]
    consensus: tuple[int, ...]
    incentive: tuple[int, ...]
    dividends: tuple[int, ...]
    validator_trust: tuple[int, ...]
    permits: tuple[bool, ...]
    bonds: tuple[SparseRow, ...]
    server_emission_rao: tuple[int, ...]
    validator_emission_rao: tuple[int, ...]
    emission_rao: tuple[int, ...]

    @property
    def rank(self) -> tuple[int, ...]:
        """Normalised rank, which is the incentive: the chain no longer keeps them apart."""
        return self.incentive


def run_epoch(epoch: EpochInput) -> EpochResult:
    """Consensus, incentives, dividends, bonds, permits and emission of one epoch, bit for bit."""
    n = len(epoch.stake_rao)
    active = np.array(
        [u + epoch.activity_cutoff_blocks >= epoch.block for u in epoch.last_update_blocks],
        dtype=np.bool_,
    )
    permits = _with_owner(np.array(epoch.permits, dtype=np.bool_), epoch.owner_uid)
    stake = _stake_shares(epoch)
    active_stake = normalize(np.where(active & permits, stake, 0))

    rows = np.array([i for i in range(n) if permits[i] or epoch.bonds[i]], dtype=np.int64)
    weights, present = _weights(epoch, rows, permits)
    row_stake = active_stake[rows]
    consensus = _consensus(row_stake, weights, share_of_u16(epoch.params.kappa_u16))
    clipped = np.minimum(weights, consensus)
    clipped_present = present & ((weights <= consensus) | (consensus > 0))
    ranks = multiply(clipped, row_stake[:, None]).sum(axis=0)
    incentive = normalize(ranks)

    bonds = _bonds(epoch, rows)
    targets, targets_present = penalize(
        weights, present, clipped, clipped_present, share_of_u16(epoch.params.bonds.penalty_u16)
    )
    if epoch.params.bonds.yuma3:
        new_bonds, row_dividends = yuma3_bonds(
            targets, targets_present, bonds, row_stake, consensus, incentive, epoch.params.bonds
        )
    else:
        new_bonds, row_dividends = classic_bonds(
            targets, bonds, row_stake, incentive, epoch.params.bonds
        )
    dividends = _scatter(row_dividends, rows, n)
    new_permits = _with_owner(_top_stake(stake, epoch.params.validators_max), epoch.owner_uid)
    server, validator, combined = _emission(incentive, dividends, stake, active_stake)

    return EpochResult(
        stake_weight=_u16_tuple(stake),
        active=tuple(active.tolist()),
        consensus=_u16_tuple(consensus),
        incentive=_u16_tuple(incentive),
        dividends=_u16_tuple(dividends),
        validator_trust=_u16_tuple(_scatter(clipped.sum(axis=1), rows, n)),
        permits=tuple(new_permits.tolist()),
        bonds=_sparse_rows(new_bonds, rows, new_permits),
        server_emission_rao=_rao(server, epoch.emission_rao),
        validator_emission_rao=_rao(validator, epoch.emission_rao),
        emission_rao=_rao(combined, epoch.emission_rao),
    )


def _stake_shares(epoch: EpochInput) -> Raw:
    """Shares of the stake above the threshold. Python integers: rao times 2^32 passes 64 bits."""
    kept = [
        stake if stake >= epoch.stake_threshold_rao or uid == epoch.owner_uid else 0
        for uid, stake in enumerate(epoch.stake_rao)
    ]
    total = sum(kept) or 1
    return np.array([(stake << FRACTION_BITS) // total for stake in kept], dtype=np.int64)


def _with_owner(permits: Mask, owner_uid: int | None) -> Mask:
    if owner_uid is None:
        return permits
    granted: Mask = permits | (np.arange(len(permits)) == owner_uid)
    return granted


def _top_stake(stake: Raw, count_max: int) -> Mask:
    """The `count_max` largest non-zero stakes; the stable sort lets the higher uid win a tie."""
    granted = stake > 0
    if len(stake) > count_max:
        granted[np.argsort(stake, kind="stable")[: len(stake) - count_max]] = False
    return granted


def _dense(rows: Sequence[SparseRow], n: int) -> tuple[NDArray[np.int64], Mask]:
    """Sparse rows as integers of shape (rows, n) and the mask of entries that exist."""
    values = np.zeros((len(rows), n), dtype=np.int64)
    present = np.zeros((len(rows), n), dtype=np.bool_)
    for index, row in enumerate(rows):
        if not row:
            continue
        entries = np.array(row, dtype=np.int64)
        entries = entries[entries[:, 0] < n]
        assert not present[index, entries[:, 0]].any()
        values[index, entries[:, 0]] = entries[:, 1]
        present[index, entries[:, 0]] = True
    assert values.min(initial=0) >= 0 and values.max(initial=0) <= U16_MAX
    return values, present


def _weights(epoch: EpochInput, rows: NDArray[np.int64], permits: Mask) -> tuple[Raw, Mask]:
    """Row-normalised weights of permitted validators, and which entries survived the masks.

    Dropped: the diagonal (but the owner may weight itself), and entries older than the
    registration of the miner they point at, counted from the weights' and the commit's block.
    """
    n = len(epoch.stake_rao)
    values, present = _dense([epoch.weights[i] for i in rows], n)
    registered = np.array(epoch.registration_blocks, dtype=np.int64)
    updated = np.array(epoch.last_update_blocks, dtype=np.int64)[rows]
    own = rows[:, None] == np.arange(n)
    if epoch.owner_uid is not None:
        own &= rows[:, None] != epoch.owner_uid
    kept = present & permits[rows][:, None] & ~own & (updated[:, None] > registered)
    if epoch.commit_blocks is not None:
        latest = np.iinfo(np.int64).max
        commits = [latest if block is None else block for block in epoch.commit_blocks]
        kept &= np.array(commits, dtype=np.int64)[rows][:, None] >= registered
    return normalize(np.where(kept, values, 0), axis=1), kept


def _consensus(stake: Raw, weights: Raw, kappa: int) -> Raw:
    """Per column, the largest weight that validators holding at least kappa of the stake give.

    The chain searches by pivots. Its sums are exact, so the answer has a closed form: the
    smallest weight whose holders, together with all who give less, exceed 1 - kappa of stake.
    """
    staked = stake > 0
    if not staked.any():
        return np.zeros(weights.shape[1], dtype=np.int64)
    shares, scores = normalize(stake[staked]), weights[staked]
    minority = int(shares.sum()) - kappa
    order = np.argsort(scores, axis=0)
    beyond = np.cumsum(shares[order], axis=0) > minority
    beyond[-1] = True
    ascending = np.take_along_axis(scores, order, axis=0)
    median: Raw = np.take_along_axis(ascending, beyond.argmax(axis=0)[None, :], axis=0)[0]
    return median


def _bonds(epoch: EpochInput, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stored bonds as u16, without columns registered since the last epoch."""
    values, _ = _dense([epoch.bonds[i] for i in rows], len(epoch.stake_rao))
    if epoch.last_epoch_block == 0:
        settled_from = max(0, epoch.block - epoch.tempo_blocks)
    else:
        settled_from = epoch.last_epoch_block + 1
    settled = np.array(epoch.registration_blocks, dtype=np.int64) < settled_from
    return np.where(settled, values, 0)


def _emission(
    incentive: Raw, dividends: Raw, stake: Raw, active_stake: Raw
) -> tuple[Raw, Raw, Raw]:
    """Shares of the emission: servers', validators', and both together.

    Without any incentive or dividend the validators are paid by active stake, or by all stake
    if none is active.
    """
    combined = incentive + dividends
    total = int(combined.sum())
    if total:
        return divide(incentive, total), divide(dividends, total), divide(combined, total)
    fallback = active_stake if active_stake.any() else stake
    return incentive, fallback, fallback


def _scatter(values: Raw, rows: NDArray[np.int64], n: int) -> Raw:
    result = np.zeros(n, dtype=np.int64)
    result[rows] = values
    return result


def _u16_tuple(shares: Raw) -> tuple[int, ...]:
    return tuple(to_u16(shares).tolist())


def _rao(shares: Raw, emission_rao: int) -> tuple[int, ...]:
    return tuple(min(share * emission_rao >> FRACTION_BITS, U64_MAX) for share in shares.tolist())


def _sparse_rows(bonds: Raw, rows: NDArray[np.int64], permits: Mask) -> tuple[SparseRow, ...]:
    """Positive bonds of uids that hold a new permit, columns ascending; others keep none."""
    result: list[SparseRow] = [()] * len(permits)
    assert int(bonds.max(initial=0)) <= ONE
    stored = to_u16(bonds)
    for index, uid in enumerate(rows.tolist()):
        if permits[uid]:
            columns = np.flatnonzero(bonds[index] > 0)
            result[uid] = tuple(zip(columns.tolist(), stored[index, columns].tolist(), strict=True))
    return tuple(result)
