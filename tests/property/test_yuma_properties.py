"""Laws of Yuma consensus, and equality of the numpy epoch with a slow one in plain integers.

The slow epoch below follows the chain's own steps (sparse rows, pivot search for the median,
unbounded Python integers), so that neither the vectorisation, nor the closed form of the median,
nor the split multiplication is trusted: they are compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subnet.core.yuma import (
    BondParams,
    EpochInput,
    EpochParams,
    EpochResult,
    SparseRow,
    run_epoch,
)
from subnet.core.yuma.bonds import liquid_alpha
from subnet.core.yuma.fixed import ONE, divide, exponential, multiply, reciprocal

U16_MAX = 65_535
E_CONSTANT = 22_802_600 << 9
Rows = list[dict[int, int]]


# ---------------------------------------------------------------- the slow epoch, step by step


def mul(a: int, b: int) -> int:
    return a * b >> 32


def div(a: int, b: int) -> int:
    return (a << 32) // b if b else 0


def norm(values: list[int]) -> list[int]:
    total = sum(values)
    return [div(v, total) for v in values] if total else values


def columns(rows: Rows, n: int, fold: Callable[[list[int]], int]) -> list[int]:
    return [fold([row[j] for row in rows if j in row]) for j in range(n)]


def over_columns(rows: Rows, divisors: list[int]) -> Rows:
    return [{j: div(v, divisors[j]) if divisors[j] else v for j, v in row.items()} for row in rows]


def column_normalized(rows: Rows, n: int) -> Rows:
    return over_columns(rows, columns(rows, n, sum))


def u16(value: int) -> int:
    return min(mul(value, U16_MAX << 32) >> 32, U16_MAX)


def median(stake: list[int], score: list[int], kappa: int) -> int:
    """The chain's pivot search, with its own bookkeeping of the two edges."""
    partition = list(range(len(stake)))
    low, high = 0, sum(stake)
    minority = high - kappa
    while partition:
        if len(partition) == 1:
            return score[partition[0]]
        pivot = score[partition[len(partition) // 2]]
        lower = [i for i in partition if score[i] < pivot]
        upper = [i for i in partition if score[i] > pivot]
        low_stake, high_stake = sum(stake[i] for i in lower), sum(stake[i] for i in upper)
        if minority < low + low_stake and lower:
            partition, high = lower, low + low_stake
        elif high - high_stake <= minority and upper:
            partition, low = upper, high - high_stake
        else:
            return pivot
    return 0


def exp_slow(value: int) -> int:
    value = max(min(value, 20 << 32), -20 << 32)
    if value == 0:
        return ONE
    if value == ONE:
        return E_CONSTANT
    operand = abs(value)
    result, term = operand + ONE, operand
    for i in range(2, 32):
        term = div(mul(term, operand), i << 32)
        result += term
    return div(ONE, result) if value < 0 else result


def slow_liquid_alpha(consensus: int, weight: int, bond: int, p: BondParams) -> int:
    low, high = div(p.alpha_low_u16, U16_MAX), div(p.alpha_high_u16, U16_MAX)
    gap = weight - consensus if weight >= bond else bond - weight
    gap = max(0, min(gap, ONE))
    sign = 1 if p.alpha_sigmoid_steepness >= 0 else -1
    slope = -sign * ((abs(p.alpha_sigmoid_steepness) << 32) // 100)
    sigmoid = div(ONE, ONE + exp_slow(mul(slope, gap - (ONE >> 1))))
    return max(low, min(high, low + mul(sigmoid, high - low)))


def average(new: Rows, old: Rows, alpha: int, n: int) -> Rows:
    result: Rows = []
    for new_row, old_row in zip(new, old, strict=True):
        mixed = [
            mul(alpha, new_row.get(j, 0)) + mul(ONE - alpha, old_row.get(j, 0)) for j in range(n)
        ]
        result.append({j: v for j, v in enumerate(mixed) if v > 0})
    return result


def average_by_edge(new: Rows, old: Rows, consensus: list[int], params: BondParams) -> Rows:
    result: Rows = []
    for new_row, old_row in zip(new, old, strict=True):
        row = {}
        for j, weight in new_row.items():
            bond = old_row.get(j, 0)
            alpha = slow_liquid_alpha(consensus[j], weight, bond, params)
            row[j] = min(mul(ONE - alpha, bond) + mul(alpha, weight), ONE)
        result.append({j: v for j, v in row.items() if v > 0})
    return result


def slow_weights(e: EpochInput, permits: list[bool]) -> Rows:
    n = len(e.stake_rao)
    rows: Rows = []
    for i in range(n):
        row = {}
        for j, w in e.weights[i] if permits[i] else ():
            own = i == j and j != e.owner_uid
            outdated = e.last_update_blocks[i] <= e.registration_blocks[j]
            commit = e.commit_blocks[i] if e.commit_blocks else None
            sniped = commit is not None and commit < e.registration_blocks[j]
            if not (own or outdated or sniped):
                row[j] = w
        total = sum(row.values())
        rows.append({j: div(w, total) if total else w for j, w in row.items()})
    return rows


def slow_permits(e: EpochInput, stake: list[int]) -> tuple[bool, ...]:
    n = len(stake)
    permits = [s != 0 for s in stake]
    if n >= e.params.validators_max:
        for i in sorted(range(n), key=lambda i: stake[i])[: n - e.params.validators_max]:
            permits[i] = False
    return tuple(p or i == e.owner_uid for i, p in enumerate(permits))


def slow_bonds(
    e: EpochInput,
    targets: Rows,
    stake: list[int],
    consensus: list[int],
    incentive: list[int],
) -> tuple[Rows, list[int]]:
    n, p = len(stake), e.params.bonds
    since = e.last_epoch_block + 1 if e.last_epoch_block else max(0, e.block - e.tempo_blocks)
    stored = [{j: b for j, b in row if e.registration_blocks[j] < since} for row in e.bonds]
    alpha = ONE - (p.moving_average_millionths << 32) // 1_000_000
    if p.yuma3:
        held = [{j: div(b << 32, U16_MAX << 32) for j, b in row.items()} for row in stored]
        if p.liquid_alpha and any(consensus):
            bonds = average_by_edge(targets, held, consensus, p)
        else:
            bonds = average(targets, held, alpha, n)
        shares = column_normalized(bonds, n)
        earned = [sum(mul(v, incentive[j]) for j, v in row.items()) for row in shares]
        return bonds, norm([mul(a, b) for a, b in zip(earned, stake, strict=True)])
    held = column_normalized([{j: b << 32 for j, b in row.items()} for row in stored], n)
    bought = [{j: mul(v, s) for j, v in row.items()} for row, s in zip(targets, stake, strict=True)]
    bonds = column_normalized(average(column_normalized(bought, n), held, alpha, n), n)
    dividends = norm([sum(mul(v, incentive[j]) for j, v in row.items()) for row in bonds])
    return over_columns(bonds, columns(bonds, n, lambda c: max(c, default=0))), dividends


def slow_epoch(e: EpochInput) -> EpochResult:
    n = len(e.stake_rao)
    active = [u + e.activity_cutoff_blocks >= e.block for u in e.last_update_blocks]
    permits = [p or i == e.owner_uid for i, p in enumerate(e.permits)]
    kept = [
        s if i == e.owner_uid or s >= e.stake_threshold_rao else 0
        for i, s in enumerate(e.stake_rao)
    ]
    total = sum(kept) << 64
    stake = [((s << 128) // total) >> 32 if total else 0 for s in kept]
    votes = norm([s if a and p else 0 for s, a, p in zip(stake, active, permits, strict=True)])

    weights = slow_weights(e, permits)
    voters = [i for i in range(n) if votes[i] > 0]
    voices = norm([votes[i] for i in voters])
    kappa = div(e.params.kappa_u16, U16_MAX)
    consensus = [median(voices, [weights[i].get(j, 0) for i in voters], kappa) for j in range(n)]
    clipped = [
        {j: min(w, consensus[j]) for j, w in row.items() if w <= consensus[j] or consensus[j] > 0}
        for row in weights
    ]
    ranks = [
        sum(mul(row[j], v) for row, v in zip(clipped, votes, strict=True) if j in row)
        for j in range(n)
    ]
    incentive = norm(ranks)

    penalty = div(e.params.bonds.penalty_u16, U16_MAX)
    if penalty in (0, ONE):
        targets = clipped if penalty else weights
    else:
        targets = []
        for row, cut in zip(weights, clipped, strict=True):
            mixed = {j: w + mul(penalty, cut.get(j, 0) - w) for j, w in row.items()}
            targets.append({j: w for j, w in mixed.items() if w > 0})
    bonds, dividends = slow_bonds(e, targets, votes, consensus, incentive)
    new_permits = slow_permits(e, stake)

    both = [i + d for i, d in zip(incentive, dividends, strict=True)]
    server, validator = (
        [div(i, sum(both)) for i in incentive],
        [div(d, sum(both)) for d in dividends],
    )
    combined = norm(both)
    if not sum(both):
        validator = combined = votes if sum(votes) else stake

    def paid(shares: list[int]) -> tuple[int, ...]:
        return tuple(min((s * (e.emission_rao << 32) >> 32) >> 32, 2**64 - 1) for s in shares)

    return EpochResult(
        stake_weight=tuple(map(u16, stake)),
        active=tuple(active),
        consensus=tuple(map(u16, consensus)),
        incentive=tuple(map(u16, incentive)),
        dividends=tuple(map(u16, dividends)),
        validator_trust=tuple(u16(sum(row.values())) for row in clipped),
        permits=new_permits,
        bonds=tuple(
            tuple((j, u16(v)) for j, v in sorted(row.items())) if new_permits[i] else ()
            for i, row in enumerate(bonds)
        ),
        server_emission_rao=paid(server),
        validator_emission_rao=paid(validator),
        emission_rao=paid(combined),
    )


# ---------------------------------------------------------------- states of a subnet, drawn


def sparse_rows(draw: st.DrawFn, n: int) -> tuple[SparseRow, ...]:
    values = st.one_of(st.just(0), st.just(U16_MAX), st.integers(0, U16_MAX))
    sparse = st.dictionaries(st.integers(0, n - 1), values, max_size=n)
    full = st.lists(values, min_size=n, max_size=n).map(lambda row: dict(enumerate(row)))
    return tuple(tuple(draw(full | full | sparse).items()) for _ in range(n))


BOND_PARAMS = st.builds(
    BondParams,
    penalty_u16=st.sampled_from([0, 1, 20_000, U16_MAX]),
    moving_average_millionths=st.sampled_from([0, 500_000, 900_000, 975_000, 1_000_000]),
    yuma3=st.booleans(),
    liquid_alpha=st.booleans(),
    alpha_low_u16=st.integers(0, 30_000),
    alpha_high_u16=st.integers(30_000, U16_MAX),
    alpha_sigmoid_steepness=st.one_of(st.just(1_000), st.integers(-32_768, 32_767)),
)


@st.composite
def epochs(draw: st.DrawFn) -> EpochInput:
    """Small subnets with few block numbers and stakes, so that masks and ties do occur."""
    n = draw(st.integers(1, 4) | st.integers(4, 7))
    block = st.integers(0, 12)

    def per_uid(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=n, max_size=n)))

    commits = st.lists(st.none() | block, min_size=n, max_size=n).map(tuple)
    return EpochInput(
        block=draw(st.integers(8, 14)),
        tempo_blocks=draw(st.integers(1, 5)),
        last_epoch_block=draw(st.sampled_from([0, 3, 6])),
        activity_cutoff_blocks=draw(st.sampled_from([1, 5, 50])),
        stake_rao=per_uid(st.one_of(st.integers(0, 4), st.integers(0, 10**17))),
        stake_threshold_rao=draw(st.sampled_from([0, 2, 10**9])),
        last_update_blocks=per_uid(st.one_of(st.just(12), st.just(11), block)),
        registration_blocks=per_uid(st.one_of(st.just(0), st.just(1), block)),
        permits=tuple(draw(st.lists(st.sampled_from([True, True, False]), min_size=n, max_size=n))),
        weights=sparse_rows(draw, n),
        bonds=sparse_rows(draw, n),
        emission_rao=draw(st.one_of(st.just(10**9), st.integers(0, 2**63))),
        owner_uid=draw(st.none() | st.integers(0, n - 1)),
        commit_blocks=draw(st.none() | commits),
        params=EpochParams(
            kappa_u16=draw(st.sampled_from([32_767, 20_000, 40_000, 0, 1, U16_MAX])),
            validators_max=draw(st.integers(1, 8)),
            bonds=draw(BOND_PARAMS),
        ),
    )


SETTLED_SUBNET = 6
"""Uids 0, 1, 2 are active validators, 3, 4, 5 miners; everything else is at rest."""


def settled_epoch(
    stake: tuple[int, int, int], rows: tuple[SparseRow, ...], bonds: BondParams
) -> EpochInput:
    n = SETTLED_SUBNET
    return EpochInput(
        block=1_000,
        tempo_blocks=100,
        last_epoch_block=900,
        activity_cutoff_blocks=500,
        stake_rao=(*stake, 0, 0, 0),
        stake_threshold_rao=0,
        last_update_blocks=(990,) * n,
        registration_blocks=(1,) * n,
        permits=(True,) * 3 + (False,) * 3,
        weights=(*rows, (), (), ()),
        bonds=((),) * n,
        emission_rao=10**9,
        params=EpochParams(bonds=bonds),
    )


MINER_ROW = st.lists(st.integers(0, U16_MAX), min_size=3, max_size=3).map(
    lambda values: tuple(enumerate(values, start=3))
)


# ---------------------------------------------------------------- laws


@settings(max_examples=200, deadline=None)
@given(epochs())
def test_the_fast_epoch_equals_the_slow_one_to_the_last_bit(epoch: EpochInput) -> None:
    assert run_epoch(epoch) == slow_epoch(epoch)


@pytest.mark.parametrize(("yuma3", "liquid"), [(False, False), (True, False), (True, True)])
def test_a_full_subnet_equals_the_slow_epoch_too(yuma3: bool, liquid: bool) -> None:
    rng = np.random.default_rng(7)
    n, validators = 96, 24

    def rows() -> tuple[SparseRow, ...]:
        return tuple(
            tuple(enumerate(rng.integers(0, U16_MAX + 1, n).tolist())) if i < validators else ()
            for i in range(n)
        )

    epoch = EpochInput(
        block=10_000,
        tempo_blocks=360,
        last_epoch_block=9_640,
        activity_cutoff_blocks=5_000,
        stake_rao=tuple(rng.integers(1, 10**15, n).tolist()),
        stake_threshold_rao=10**12,
        last_update_blocks=tuple(rng.integers(4_000, 10_000, n).tolist()),
        registration_blocks=tuple(rng.integers(0, 9_900, n).tolist()),
        permits=tuple(i < validators for i in range(n)),
        weights=rows(),
        bonds=rows(),
        emission_rao=147_600_000_000,
        owner_uid=2,
        params=EpochParams(
            validators_max=20,
            bonds=BondParams(penalty_u16=32_768, yuma3=yuma3, liquid_alpha=liquid),
        ),
    )
    result = run_epoch(epoch)
    assert result == slow_epoch(epoch)
    assert sum(result.permits) >= 20


@settings(max_examples=50, deadline=None)
@given(epochs(), st.randoms(use_true_random=False))
def test_renaming_uids_renames_the_result_and_nothing_else(
    epoch: EpochInput, random: object
) -> None:
    n = len(epoch.stake_rao)
    # Distinct stakes: permits break ties by uid on purpose. 10^10 apart, they stay so as shares.
    epoch = replace(
        epoch,
        stake_rao=tuple(s // 10**12 * 10**12 + 10**10 * i for i, s in enumerate(epoch.stake_rao)),
    )
    order = list(range(n))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {uid: index for index, uid in enumerate(order)}

    def moved(values: tuple) -> tuple:
        return tuple(values[uid] for uid in order)

    def renamed(rows: tuple[SparseRow, ...]) -> tuple[SparseRow, ...]:
        return tuple(tuple(sorted((place[j], v) for j, v in row)) for row in moved(rows))

    permuted = replace(
        epoch,
        **{
            name: moved(getattr(epoch, name))
            for name in ("stake_rao", "last_update_blocks", "registration_blocks", "permits")
        },
        weights=renamed(epoch.weights),
        bonds=renamed(epoch.bonds),
        commit_blocks=moved(epoch.commit_blocks) if epoch.commit_blocks else None,
        owner_uid=None if epoch.owner_uid is None else place[epoch.owner_uid],
    )
    before, after = run_epoch(epoch), run_epoch(permuted)
    for name in EpochResult.__slots__:
        expected = getattr(before, name)
        expected = renamed(expected) if name == "bonds" else moved(expected)
        assert getattr(after, name) == expected


@settings(max_examples=50, deadline=None)
@given(epochs())
def test_an_epoch_pays_what_was_minted_up_to_rounding_and_never_more(epoch: EpochInput) -> None:
    result = run_epoch(epoch)
    paid = sum(result.server_emission_rao) + sum(result.validator_emission_rao)
    assert sum(result.emission_rao) <= epoch.emission_rao
    assert paid <= epoch.emission_rao
    if any(result.stake_weight):
        rounding = 2 * len(epoch.stake_rao) * (1 + Fraction(epoch.emission_rao, 1 << 32))
        assert paid >= epoch.emission_rao - rounding
        assert sum(result.emission_rao) >= epoch.emission_rao - rounding


@settings(max_examples=50, deadline=None)
@given(epochs(), st.data())
def test_the_weights_of_a_uid_without_permit_change_nothing(
    epoch: EpochInput, data: st.DataObject
) -> None:
    n = len(epoch.stake_rao)
    uid = data.draw(st.integers(0, n - 1))
    permits = tuple(p and i != uid for i, p in enumerate(epoch.permits))
    epoch = replace(
        epoch, permits=permits, owner_uid=None if epoch.owner_uid == uid else epoch.owner_uid
    )
    row = data.draw(st.dictionaries(st.integers(0, n - 1), st.integers(0, U16_MAX)))
    changed = (*epoch.weights[:uid], tuple(row.items()), *epoch.weights[uid + 1 :])
    assert run_epoch(replace(epoch, weights=changed)) == run_epoch(epoch)


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(51, 99), st.integers(1, 24), st.integers(1, 24)),
    st.tuples(MINER_ROW, MINER_ROW, MINER_ROW),
    BOND_PARAMS,
)
def test_weights_above_the_majoritys_are_clipped_to_it(
    stake: tuple[int, int, int], rows: tuple[SparseRow, ...], bonds: BondParams
) -> None:
    """One validator holds more than half, so that its row is the consensus for all."""
    result = run_epoch(settled_epoch(stake, rows, bonds))

    def shares(row: SparseRow) -> list[Fraction]:
        total = sum(value for _, value in row)
        return [Fraction(value, total or 1) for _, value in row]

    majority = shares(rows[0])
    for j, share in enumerate(majority):
        assert result.consensus[3 + j] in (int(share * U16_MAX), int(share * U16_MAX) - 1)
        if share == 0:
            assert result.incentive[3 + j] == 0
    for uid, row in enumerate(rows):
        agreed = sum(map(min, shares(row), majority), Fraction(0))
        assert abs(result.validator_trust[uid] - agreed * U16_MAX) <= 1


@settings(max_examples=50, deadline=None)
@given(epochs(), st.data())
def test_a_miner_that_nobody_weights_earns_no_incentive(
    epoch: EpochInput, data: st.DataObject
) -> None:
    uid = data.draw(st.integers(0, len(epoch.stake_rao) - 1))
    unweighted = tuple(tuple(entry for entry in row if entry[0] != uid) for row in epoch.weights)
    result = run_epoch(replace(epoch, weights=unweighted))
    assert result.incentive[uid] == result.consensus[uid] == 0
    assert result.server_emission_rao[uid] == 0


def test_a_miner_that_all_weight_earns_all_incentive() -> None:
    """The laws above also hold for an epoch that pays nobody; this one does not."""
    row = ((3, 9), (4, 0), (5, 0))
    result = run_epoch(settled_epoch((5, 4, 3), (row, row, row), BondParams()))
    assert result.incentive == (0, 0, 0, U16_MAX, 0, 0)
    assert result.server_emission_rao == (0, 0, 0, 5 * 10**8, 0, 0)
    assert result.rank == result.incentive


@pytest.mark.parametrize(("kappa", "share"), [(32_767, U16_MAX), (32_768, 0), (32_769, 0)])
def test_half_of_the_stake_is_a_majority_only_for_a_kappa_below_half(
    kappa: int, share: int
) -> None:
    """Two equal halves; kappa just below one half lets either of them carry a weight."""
    backed, silent = ((3, 1),), ((4, 1),)
    epoch = settled_epoch((1, 1, 0), (backed, silent, ()), BondParams())
    result = run_epoch(replace(epoch, params=EpochParams(kappa_u16=kappa)))
    assert result.consensus[3:5] == (share, share)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        pytest.param(((3, 1), (4, 0)), True, id="listed at zero"),
        pytest.param(((3, 1),), False, id="not listed"),
        pytest.param(((3, 1), (4, 1)), False, id="clipped to nothing"),
    ],
)
def test_a_liquid_bond_decays_while_its_miner_is_listed_and_ends_with_the_listing(
    row: SparseRow, kept: bool
) -> None:
    params = BondParams(yuma3=True, liquid_alpha=True, penalty_u16=U16_MAX)
    majority = ((3, 1),)
    epoch = settled_epoch((8, 1, 1), (majority, row, majority), params)
    bonds = ((), ((4, 40_000),), (), (), (), ())
    bond = dict(run_epoch(replace(epoch, bonds=bonds)).bonds[1]).get(4)
    assert (bond is not None and 0 < bond < 40_000) if kept else bond is None


def test_an_equal_stake_at_the_edge_goes_to_the_higher_uid() -> None:
    epoch = settled_epoch((5, 5, 5), ((), (), ()), BondParams())
    result = run_epoch(replace(epoch, params=EpochParams(validators_max=2)))
    assert result.permits == (False, True, True, False, False, False)


def test_an_empty_subnet_has_an_empty_epoch() -> None:
    epoch = settled_epoch((1, 1, 1), ((), (), ()), BondParams())
    names = (
        "stake_rao",
        "last_update_blocks",
        "registration_blocks",
        "permits",
        "weights",
        "bonds",
    )
    result = run_epoch(replace(epoch, **dict.fromkeys(names, ())))
    assert result.emission_rao == result.permits == result.bonds == ()


# ---------------------------------------------------------------- the arithmetic underneath


@given(st.integers(-(1 << 47), 1 << 47), st.integers(-(1 << 47), 1 << 47))
def test_a_product_is_the_exact_one_floored(a: int, b: int) -> None:
    assert int(multiply(a, b)) == a * b >> 32


@given(st.integers(0, 1 << 58), st.integers(0, 20 << 32))
def test_a_product_as_large_as_the_exponentials_terms_is_exact_too(a: int, b: int) -> None:
    a = min(a, ((1 << 62) << 32) // max(b, 1))
    assert int(multiply(a, b)) == a * b >> 32


@given(st.integers(0, 1 << 47), st.integers(0, (1 << 55) - 1))
def test_a_quotient_is_the_exact_one_floored_and_zero_over_zero_is_zero(a: int, b: int) -> None:
    expected = (a << 32) // b if b else 0
    if expected < 1 << 62:
        assert int(divide(a, b)) == expected


@given(st.one_of(st.integers(ONE, 1 << 61), st.integers(32, 61).map(lambda bit: 1 << bit)))
def test_a_reciprocal_is_exact_also_for_powers_of_two(value: int) -> None:
    assert int(reciprocal(np.array([value]))[0]) == (1 << 64) // value


@given(st.one_of(st.sampled_from([0, ONE, -ONE]), st.integers(-(25 << 32), 25 << 32)))
def test_the_exponential_is_the_chains_series(value: int) -> None:
    assert int(exponential(np.array([value]))[0]) == exp_slow(value)


SHARE = st.one_of(st.sampled_from([0, ONE // 3, ONE]), st.integers(0, ONE))


# A negative steepness whose hundredth is not exact: truncation and floor part in the last bit.
INEXACT = BondParams(alpha_low_u16=0, alpha_high_u16=U16_MAX, alpha_sigmoid_steepness=-1_993)


@example(0, 708_567_003, 0, INEXACT)
@given(SHARE, SHARE, SHARE, BOND_PARAMS)
def test_a_liquid_alpha_is_the_chains(
    consensus: int, weight: int, bond: int, params: BondParams
) -> None:
    fast = liquid_alpha(np.array([consensus]), np.array([weight]), np.array([bond]), params)
    assert int(fast[0]) == slow_liquid_alpha(consensus, weight, bond, params)
