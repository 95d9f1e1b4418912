"""Mechanisms: what each has of its own, what they share, and what the owner may set."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import bittensor as bt
import pytest
from bittensor import calls
from bittensor._generated.runtime_apis import SubnetInfoRuntimeApi
from bittensor.sp_core import Keypair
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.yuma import EpochResult
from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.mechanisms import combine, split_emission, storage_index

TAO = 10**9
SHARES = [16_383, 49_152]
SPLITS = st.lists(st.integers(0, 65_535), max_size=15).map(
    lambda cuts: [high - low for low, high in pairwise([0, *sorted(cuts), 65_535])]
)


class DevWallet:
    def __init__(self, name: str, hotkey: str = "hot") -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//{hotkey}")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, VALIDATOR, MINER = DevWallet("Alice"), DevWallet("Bob"), DevWallet("Dave")


async def send(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "coldkey") -> None:
    result = await client.submit_call(call, wallet, signer=signer)
    assert result.success, result.message


async def refusal(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "coldkey") -> str:
    result = await client.submit_call(call, wallet, signer=signer)
    assert not result.success
    return str(result.error.name)


def weights(netuid: int, mecid: int, row: dict[int, int]) -> Any:
    return calls.SubtensorModule.set_mechanism_weights(netuid, mecid, list(row), [*row.values()], 0)


def register(netuid: int, wallet: DevWallet) -> Any:
    return calls.SubtensorModule.burned_register(netuid=netuid, hotkey=wallet.hot)


def set_count(netuid: int, count: int) -> Any:
    return calls.AdminUtils.sudo_set_mechanism_count(netuid, count)


def set_split(netuid: int, split: list[int] | None) -> Any:
    return calls.AdminUtils.sudo_set_mechanism_emission_split(netuid, split)


@pytest.fixture
async def netuid(client: bt.Client, substrate: DevnetSubstrate) -> int:
    """A subnet of two mechanisms: the owner at uid 0, a validator with permit, a miner."""
    result = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    assert result.success, result.message
    netuid = int(result.data["netuid"])
    for wallet in (VALIDATOR, MINER):
        await send(client, register(netuid, wallet), wallet)
    stake = calls.SubtensorModule.add_stake(VALIDATOR.hot, netuid, 100 * TAO)
    await send(client, stake, VALIDATOR)
    assert (await client.execute(bt.SetMechanismCount(netuid, 2), OWNER)).success
    substrate.advance(5)
    return netuid


async def test_each_mechanism_has_weights_bonds_and_incentive_of_its_own(
    client: bt.Client, substrate: DevnetSubstrate, netuid: int
) -> None:
    for mecid, target in ((0, 2), (1, 0)):
        result = await client.execute(
            bt.SetWeights(netuid=netuid, weights={target: 1.0}, mechid=mecid), VALIDATOR
        )
        assert result.success, result.message
    substrate.advance(5)
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}
    assert await client.weights.weights(netuid, mechid=1) == {1: {0: 1.0}}
    assert await client.weights.bonds(netuid) == {1: {2: 1.0}}
    assert await client.weights.bonds(netuid, mechid=1) == {1: {0: 1.0}}
    first, second = [
        await client.runtime(SubnetInfoRuntimeApi.get_mechagraph, [netuid, mecid])
        for mecid in (0, 1)
    ]
    assert (first["incentives"], second["incentives"]) == ([0, 0, 65_535], [65_535, 0, 0])
    assert (first["netuid"], second["netuid"]) == (netuid, 4096 + netuid)
    assert second["last_update"][1] == first["last_update"][1] + 1
    assert await client.runtime(SubnetInfoRuntimeApi.get_mechagraph, [netuid, 2]) is None
    graph = await client.subnets.metagraph(netuid)
    assert [neuron.incentive for neuron in graph] == [0.0, 0.0, 1.0]


async def test_the_owner_says_how_mechanisms_share_the_emission(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    await send(client, set_split(netuid, SHARES), OWNER)
    assert await client.read("mechanism_emission_split", netuid=netuid) == SHARES
    for mecid, target in ((0, 2), (1, 0)):
        await send(client, weights(netuid, mecid, {target: 1}), VALIDATOR, "hotkey")
    substrate.advance(5)
    begun = chain.state.get("SubtensorModule.LastEpochBlock", netuid)
    held = (await client.staking.get(MINER.cold, MINER.hot, netuid)).rao
    substrate.advance(5)
    paid = (await client.staking.get(MINER.cold, MINER.hot, netuid)).rao - held
    minted = (chain.state.get("SubtensorModule.LastEpochBlock", netuid) - begun) * TAO
    assert paid == pytest.approx(minted * 0.41 * SHARES[0] / 65_535, rel=1e-3)


async def test_mechanisms_are_limited_each_by_its_own_last_update(
    client: bt.Client, netuid: int
) -> None:
    limit = calls.AdminUtils.sudo_set_weights_set_rate_limit(netuid, 100)
    await send(client, calls.Sudo.sudo(call=await client.compose(limit)), OWNER)
    again = weights(netuid, 1, {2: 1})
    await send(client, again, VALIDATOR, "hotkey")
    assert await refusal(client, again, VALIDATOR, "hotkey") == "RateLimitExceeded"
    # Mechanism 0 counts from the registration, mechanism 1 began without an update.
    other = weights(netuid, 0, {2: 1})
    assert await refusal(client, other, VALIDATOR, "hotkey") == "RateLimitExceeded"


async def test_a_mechanism_that_is_closed_leaves_nothing_behind(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    await send(client, set_split(netuid, SHARES), OWNER)
    await send(client, weights(netuid, 1, {2: 1}), VALIDATOR, "hotkey")
    substrate.advance(5)
    index = storage_index(netuid, 1)
    items = [f"SubtensorModule.{name}" for name in ("Weights", "Bonds", "Incentive", "LastUpdate")]
    assert all(chain.state.entries(item, index) for item in items)
    await send(client, set_count(netuid, 1), OWNER)
    assert not any(chain.state.entries(item, index) for item in items)
    assert await client.read("mechanism_count", netuid=netuid) == 1
    assert await client.read("mechanism_emission_split", netuid=netuid) == []
    absent = weights(netuid, 1, {2: 1})
    assert await refusal(client, absent, VALIDATOR, "hotkey") == "MechanismDoesNotExist"
    substrate.advance(5)
    assert not any(chain.state.entries(item, index) for item in items)


async def test_mechanisms_are_refused_by_the_chains_own_names(
    client: bt.Client, netuid: int
) -> None:
    assert await refusal(client, set_count(netuid, 1), MINER) == "BadOrigin"
    assert await refusal(client, set_split(netuid, SHARES), MINER) == "BadOrigin"
    for count in (0, 3):
        assert await refusal(client, set_count(netuid, count), OWNER) == "InvalidValue"
    for split in ([], [65_535], [1, 2], [1, 2, 65_532]):
        assert await refusal(client, set_split(netuid, split), OWNER) == "InvalidValue"
    large = calls.AdminUtils.sudo_set_max_allowed_uids(netuid, 129)
    assert await refusal(client, large, OWNER) == "TooManyUIDsPerMechanism"
    await send(client, set_count(netuid, 1), OWNER)
    await send(client, large, OWNER)
    assert await refusal(client, set_count(netuid, 2), OWNER) == "TooManyUIDsPerMechanism"
    unknown = weights(99, 0, {0: 1})
    assert await refusal(client, unknown, VALIDATOR, "hotkey") == "MechanismDoesNotExist"


async def test_a_newcomer_takes_over_nothing_in_any_mechanism(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain, netuid: int
) -> None:
    for mecid in (0, 1):
        await send(client, weights(netuid, mecid, {0: 1, 2: 1}), VALIDATOR, "hotkey")
    substrate.advance(10)
    newcomer = DevWallet("Eve")
    await send(client, register(netuid, newcomer), newcomer)
    uid = await client.neurons.uid(newcomer.hot, netuid)
    for mecid in (0, 1):
        graph = await client.runtime(SubnetInfoRuntimeApi.get_mechagraph, [netuid, mecid])
        assert graph["incentives"][uid] == 0
        assert graph["last_update"][uid] == chain.head.number
        rows = await client.weights.weights(netuid, mechid=mecid)
        assert uid not in rows
        assert all(row.get(uid, 0.0) == 0.0 for row in rows.values())


@given(st.integers(0, 10**15), st.integers(1, 16), st.none() | SPLITS)
def test_a_split_gives_out_exactly_what_there_is(
    emission_rao: int, count: int, split: list[int] | None
) -> None:
    parts = split_emission(emission_rao, count, split)
    assert len(parts) == count and sum(parts) == emission_rao and min(parts) >= 0


def outcome(**changed: Any) -> EpochResult:
    row = (0, 0)
    blank = EpochResult(
        stake_weight=row,
        active=(False, False),
        consensus=row,
        incentive=row,
        dividends=row,
        validator_trust=row,
        permits=(False, False),
        bonds=((), ()),
        server_emission_rao=row,
        validator_emission_rao=row,
        emission_rao=row,
    )
    return replace(blank, **changed)


def test_results_of_mechanisms_are_weighed_joined_and_added() -> None:
    one = outcome(
        dividends=(65_535, 3), active=(True, False), permits=(False, True), emission_rao=(10, 1)
    )
    two = outcome(
        dividends=(0, 3), active=(False, False), server_emission_rao=(5, 7), emission_rao=(2, 1)
    )
    result = combine([one, two], [1, 3])
    assert result.dividends == (16_383, 0 + 2)
    assert result.active == (True, False) and result.permits == (False, True)
    assert result.server_emission_rao == (5, 7)
    assert result.emission_rao == (2 + 1, 0)
    assert combine([one], [4]) == combine([one], [0]) == one
    assert combine([one, two], [0, 0]).dividends == one.dividends
