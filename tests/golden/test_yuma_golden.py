"""The chain's own expected figures, replayed epoch by epoch through `run_epoch`.

The figures are those that subtensor's tests assert (each file names its test). The two Yuma2
sequences are exact integers; the Yuma3 scenarios are printed there with four digits and hold
within 1e-3, the chain's own tolerance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from subnet.core.yuma import (
    BondParams,
    EpochInput,
    EpochParams,
    EpochResult,
    SparseRow,
    run_epoch,
)

GOLDEN = Path(__file__).parent / "yuma"
EMISSION_RAO = 1_000_000_000
U16_MAX = 65_535
TRAJECTORIES = [
    "yuma3_kappa_moves_first",
    "yuma3_kappa_moves_second",
    "yuma3_kappa_moves_last",
    "yuma3_liquid_alpha_disabled",
    "yuma3_one_epoch_switch",
    "yuma3_stable_miner",
]


def load(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@dataclass
class Subnet:
    """State that the chain keeps between epochs. The first epoch, without weights, only grants."""

    stake: list[int]
    params: EpochParams
    registered: int
    block: int
    weights: list[SparseRow] = field(default_factory=list)
    bonds: tuple[SparseRow, ...] = ()
    last_update: list[int] = field(default_factory=list)
    permits: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.stake)
        self.weights, self.bonds, self.permits = [()] * n, ((),) * n, (False,) * n
        self.last_update = [self.registered] * n
        self.run()

    def set_weights(self, uid: int, row: SparseRow) -> None:
        self.weights[uid] = row
        self.last_update[uid] = self.block

    def run(self, **changes: Any) -> EpochResult:
        n = len(self.stake)
        epoch = EpochInput(
            block=self.block,
            tempo_blocks=1,
            last_epoch_block=0,
            activity_cutoff_blocks=5_000,
            stake_rao=tuple(self.stake),
            stake_threshold_rao=0,
            last_update_blocks=tuple(self.last_update),
            registration_blocks=(self.registered,) * n,
            permits=self.permits,
            weights=tuple(self.weights),
            bonds=self.bonds,
            emission_rao=EMISSION_RAO,
            params=self.params,
        )
        result = run_epoch(replace(epoch, **changes))
        self.permits, self.bonds = result.permits, result.bonds
        return result


def bonds_column(result: EpochResult, column: int, uids: range) -> list[int]:
    return [dict(result.bonds[uid]).get(column, 0) for uid in uids]


def row_of(values: list[list[int]]) -> SparseRow:
    return tuple((uid, value) for uid, value in values)


def test_a_sequence_of_classic_bonds_matches_the_chain_to_the_rao() -> None:
    golden = load("yuma2_bonds_sequence")
    params = golden["params"]
    subnet = Subnet(
        stake=params["stake_rao"],
        params=EpochParams(
            kappa_u16=params["kappa_u16"],
            validators_max=params["max_allowed_validators"],
            bonds=BondParams(
                penalty_u16=params["bonds_penalty_u16"],
                moving_average_millionths=params["bonds_moving_average"],
            ),
        ),
        registered=params["block_at_registration"],
        block=1,
    )
    for uid, row in params["initial_weights_u16"].items():
        subnet.set_weights(int(uid), row_of(row))
    for epoch in golden["epochs"]:
        for uid, row in epoch["weight_changes"].items():
            subnet.set_weights(int(uid), row_of([row] if isinstance(row[0], int) else row))
        result = subnet.run()
        expect = epoch["expect"]
        assert list(result.emission_rao) == expect["emission_rao"]
        if expect["bonds_u16_uid0_3"] is not None:
            assert bonds_column(result, expect["bonds_col"], range(4)) == expect["bonds_u16_uid0_3"]
        subnet.block += 1


def test_inactive_stake_earns_only_by_its_bonds_as_on_the_chain() -> None:
    golden = load("yuma2_active_stake")
    params = golden["params"]
    subnet = Subnet(
        stake=params["stake_rao"],
        params=EpochParams(
            kappa_u16=params["kappa_u16"],
            validators_max=params["n"],
            bonds=BondParams(moving_average_millionths=params["bonds_moving_average"]),
        ),
        registered=0,
        block=1,
    )
    for uid, row in params["weights_u16"].items():
        subnet.set_weights(int(uid), row_of(row))
    for epoch in golden["epochs"]:
        subnet.block = epoch["block"]
        subnet.last_update = epoch["last_update"]
        result, expect = subnet.run(), epoch["expect"]
        for uid, dividends in expect["dividends_u16"].items():
            assert result.dividends[int(uid)] == dividends
        for uid, emission in expect["emission_rao"].items():
            assert result.emission_rao[int(uid)] == emission
        for uid, bond in expect["bonds_u16"].items():
            assert result.bonds[int(uid)] == ((2, bond), (3, bond))


def yuma3_subnet(golden: dict[str, Any]) -> Subnet:
    params = golden["params"]
    return Subnet(
        stake=params["stake_rao"],
        params=EpochParams(
            kappa_u16=params["kappa_u16"],
            validators_max=params["max_allowed_validators"],
            bonds=BondParams(
                penalty_u16=params["bonds_penalty_u16"],
                moving_average_millionths=params["bonds_moving_average"],
                yuma3=params["yuma3"],
                liquid_alpha=params["liquid_alpha"],
                alpha_low_u16=int(params["alpha_low"] * U16_MAX),
                alpha_high_u16=int(params["alpha_high"] * U16_MAX),
                alpha_sigmoid_steepness=params["alpha_sigmoid_steepness"],
            ),
        ),
        registered=1,
        block=2,
    )


def run_yuma3(subnet: Subnet, rows: list[list[int]] | None) -> EpochResult:
    """Weights first (servers follow the three validators; zeros stay listed), then the epoch."""
    for uid, row in enumerate(rows or []):
        subnet.set_weights(uid, tuple(enumerate(row, start=3)))
    subnet.block += 1
    return subnet.run()


def assert_close(
    result: EpochResult, bonds: list[list[float]], dividends: list[float], tolerance: float
) -> None:
    assert tolerance <= 1e-3
    for uid in range(3):
        shares = [dict(result.bonds[uid]).get(3 + j, 0) / U16_MAX for j in range(len(bonds[uid]))]
        assert shares == pytest.approx(bonds[uid], abs=tolerance, rel=0)
        assert result.dividends[uid] / U16_MAX == pytest.approx(
            dividends[uid], abs=tolerance, rel=0
        )
    assert not any(result.dividends[3:])


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_yuma3_bonds_and_dividends_follow_the_chain(name: str) -> None:
    golden = load(name)
    subnet = yuma3_subnet(golden)
    expected = zip(golden["expected_bonds"], golden["expected_dividends_validators"], strict=True)
    for index, (bonds, dividends) in enumerate(expected):
        result = run_yuma3(subnet, golden["weights_u16_by_epoch"].get(str(index)))
        assert_close(result, bonds, dividends, golden["tolerance"])


def test_yuma3_recovers_from_a_cleared_bonds_column_as_on_the_chain() -> None:
    golden = load("yuma3_bonds_reset")
    subnet = yuma3_subnet(golden)
    first, second = [U16_MAX, 0], [0, U16_MAX]
    checked = 0
    for index in range(41):
        leader = first if index in (0, 1) or index > 21 else second
        followers = first if index == 0 or index > 20 else second
        if index == 20:
            subnet.bonds = tuple(
                tuple(entry for entry in row if entry[0] != 3) for row in subnet.bonds
            )
        result = run_yuma3(subnet, [leader, followers, followers])
        if str(index) in golden["expected_bonds_by_epoch"]:
            checked += 1
            assert_close(
                result,
                golden["expected_bonds_by_epoch"][str(index)],
                golden["expected_dividends_by_epoch"][str(index)],
                golden["tolerance"],
            )
    assert checked == len(golden["expected_bonds_by_epoch"])
