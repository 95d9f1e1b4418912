"""Commit-reveal with the SDK's own ciphertext, opened with a recorded pulse of drand."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from bittensor import calls
from bittensor.sp_core import Keypair
from bittensor.timelock import QUICKNET_GENESIS, QUICKNET_PERIOD
from hypothesis import given
from hypothesis import strategies as st

from subnet.devnet.chain import Chain
from subnet.devnet.commit_reveal import parse_sealed
from subnet.devnet.drand import Pulses, open_commit
from subnet.devnet.drand_client import QUICKNET_CHAIN, follow_drand, wanted_rounds
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.params import DevnetParams

TAO = 10**9
GENESIS_MS = 1_700_000_000_000
ROUND = 1_000
SIGNATURE = bytes.fromhex(
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125"
    "e342b73a8dd2bacbe47e4b6b63ed5e39"
)
TEMPO_BLOCKS = 5
# The SDK seals to a round this many blocks behind the reveal epoch's first block.
MARGIN_BLOCKS = 3


class DevWallet:
    def __init__(self, name: str, hotkey: str = "hot") -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//{hotkey}")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, VALIDATOR, MINER = DevWallet("Alice"), DevWallet("Bob"), DevWallet("Dave")


class SteeredSubstrate(DevnetSubstrate):
    """Reports the block time that makes the SDK, which counts from now, seal to `ROUND`."""

    async def block_time(self) -> float:
        state = self._chain.state
        last = state.get("SubtensorModule.LastEpochBlock", 1)
        period = state.get("SubtensorModule.RevealPeriodEpochs", 1)
        blocks = last + period * TEMPO_BLOCKS - self._chain.head.number + MARGIN_BLOCKS
        moment = QUICKNET_GENESIS + (ROUND + 0.5) * QUICKNET_PERIOD
        return (moment - time.time()) / blocks


@pytest.fixture
def params() -> DevnetParams:
    return DevnetParams(
        tempo_blocks=TEMPO_BLOCKS,
        immunity_period_blocks=2,
        max_allowed_uids=3,
        burn_initial_rao=TAO,
    )


@pytest.fixture
def pulses() -> Pulses:
    return Pulses({ROUND: SIGNATURE})


@pytest.fixture
def chain(tmp_path: Path, params: DevnetParams, pulses: Pulses) -> Iterator[Chain]:
    chain = Chain(tmp_path / "chain.sqlite", params, GENESIS_MS, pulses)
    yield chain
    chain.close()


@pytest.fixture
def substrate(chain: Chain) -> DevnetSubstrate:
    return SteeredSubstrate(chain)


@pytest.fixture
async def netuid(client: bt.Client, chain: Chain) -> int:
    """A subnet with commit-reveal on, just after an epoch: owner, validator with permit, miner."""
    result = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    netuid = int(result.data["netuid"])
    assert netuid == 1
    for wallet in (VALIDATOR, MINER):
        register = calls.SubtensorModule.burned_register(netuid=netuid, hotkey=wallet.hot)
        await send(client, register, wallet)
    stake = calls.SubtensorModule.add_stake(VALIDATOR.hot, netuid, 100 * TAO)
    await send(client, stake, VALIDATOR)
    await switch(client, netuid, True)
    to_epoch(chain)
    return netuid


async def send(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "coldkey") -> None:
    result = await client.submit_call(call, wallet, signer=signer)
    assert result.success, result.message


async def refusal(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "hotkey") -> str:
    result = await client.submit_call(call, wallet, signer=signer)
    assert not result.success
    return str(result.error.name)


async def switch(client: bt.Client, netuid: int, enabled: bool) -> None:
    intent = bt.SetHyperparameter(netuid, "commit_reveal_weights_enabled", enabled)
    assert (await client.execute(intent, OWNER)).success


async def commit(client: bt.Client, netuid: int, row: dict[int, float], **more: Any) -> None:
    result = await client.execute(bt.SetWeights(netuid=netuid, weights=row, **more), VALIDATOR)
    assert result.success, result.message
    assert result.data["reveal_round"] == ROUND


def raw_commit(netuid: int, data: bytes = b"junk", **changed: Any) -> Any:
    arguments = {"mecid": 0, "reveal_round": ROUND, "commit_reveal_version": 4, **changed}
    return calls.SubtensorModule.commit_timelocked_mechanism_weights(
        netuid=netuid, commit=data, **arguments
    )


def to_epoch(chain: Chain, blocks_before: int = 0) -> None:
    """Make blocks up to the next epoch's, or up to so many before it."""
    due = chain.state.get("SubtensorModule.LastEpochBlock", 1) + TEMPO_BLOCKS - blocks_before
    while chain.head.number < due:
        chain.produce(chain.head.timestamp_ms + 1)


def events(chain: Chain, name: str) -> list[Any]:
    found = [record["event"].get("SubtensorModule", {}) for record in chain.head.events]
    return [event[name] for event in found if name in event]


async def test_sealed_weights_are_set_when_their_epoch_comes_and_count_in_it(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await commit(client, netuid, {2: 1.0})
    made = chain.head.number
    ((epoch, (entry,)),) = (await client.read("timelocked_weight_commits", netuid=netuid)).items()
    assert epoch == chain.state.get("SubtensorModule.SubnetEpochIndex", netuid)
    assert (entry["hotkey"], entry["commit_block"]) == (VALIDATOR.hot, made)
    assert entry["reveal_round"] == ROUND
    to_epoch(chain, blocks_before=1)
    assert await client.weights.weights(netuid) == {}
    to_epoch(chain)
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}
    assert await client.read("timelocked_weight_commits", netuid=netuid) == {}
    assert events(chain, "TimelockedWeightsRevealed") == [(netuid, VALIDATOR.hot)]
    graph = await client.subnets.metagraph(netuid)
    assert [neuron.incentive for neuron in graph] == [0.0, 0.0, 1.0]
    assert graph.neuron(1).last_update == made


async def test_a_longer_reveal_period_seals_for_so_many_epochs(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await send(client, calls.AdminUtils.sudo_set_commit_reveal_weights_interval(netuid, 2), OWNER)
    await commit(client, netuid, {2: 1.0})
    to_epoch(chain)
    to_epoch(chain, blocks_before=1)
    assert await client.weights.weights(netuid) == {}
    to_epoch(chain)
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}


async def test_weights_sealed_before_a_registration_do_not_reach_the_newcomer(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await send(client, calls.AdminUtils.sudo_set_commit_reveal_weights_interval(netuid, 2), OWNER)
    await commit(client, netuid, {2: 1.0})
    to_epoch(chain)
    await commit(client, netuid, {2: 1.0})
    newcomer = DevWallet("Eve")
    register = calls.SubtensorModule.burned_register(netuid=netuid, hotkey=newcomer.hot)
    await send(client, register, newcomer)
    assert await client.neurons.uid(newcomer.hot, netuid) == 2
    await commit(client, netuid, {2: 1.0})
    to_epoch(chain)
    # The first commit was revealed; the second, as old, says that its maker meant another uid 2.
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}
    assert [neuron.incentive for neuron in await client.subnets.metagraph(netuid)] == [0.0] * 3


async def test_each_mechanism_reveals_its_own(client: bt.Client, chain: Chain, netuid: int) -> None:
    assert (await client.execute(bt.SetMechanismCount(netuid, 2), OWNER)).success
    await commit(client, netuid, {0: 1.0}, mechid=1)
    pending = await client.read("timelocked_weight_commits", netuid=netuid, mechid=1)
    assert len(pending) == 1
    assert await client.read("timelocked_weight_commits", netuid=netuid) == {}
    to_epoch(chain)
    assert await client.weights.weights(netuid, mechid=1) == {1: {0: 1.0}}
    assert await client.weights.weights(netuid) == {}


class TestLatePulse:
    @pytest.fixture
    def pulses(self) -> Pulses:
        return Pulses()

    async def test_a_commit_is_tried_in_every_block_of_its_epoch(
        self,
        client: bt.Client,
        substrate: DevnetSubstrate,
        chain: Chain,
        netuid: int,
        pulses: Pulses,
    ) -> None:
        await commit(client, netuid, {2: 1.0})
        to_epoch(chain)
        substrate.advance(2)
        assert len(await client.read("timelocked_weight_commits", netuid=netuid)) == 1
        assert await client.weights.weights(netuid) == {}
        assert pulses.add(ROUND, SIGNATURE)
        substrate.advance()
        assert await client.weights.weights(netuid) == {1: {2: 1.0}}

    async def test_a_commit_is_forgotten_after_its_epoch(
        self,
        client: bt.Client,
        substrate: DevnetSubstrate,
        chain: Chain,
        netuid: int,
        pulses: Pulses,
    ) -> None:
        await commit(client, netuid, {2: 1.0})
        to_epoch(chain)
        to_epoch(chain)
        assert await client.read("timelocked_weight_commits", netuid=netuid) == {}
        assert pulses.add(ROUND, SIGNATURE)
        substrate.advance(2)
        assert await client.weights.weights(netuid) == {}


async def test_only_the_hotkey_that_sealed_weights_can_commit_them(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await commit(client, netuid, {2: 1.0})
    ((_, (entry,)),) = (await client.read("timelocked_weight_commits", netuid=netuid)).items()
    copied = bytes.fromhex(entry["ciphertext"].removeprefix("0x"))
    await send(client, raw_commit(netuid, copied), OWNER, "hotkey")
    await send(client, raw_commit(netuid, b"not a ciphertext"), MINER, "hotkey")
    to_epoch(chain)
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}
    assert await client.read("timelocked_weight_commits", netuid=netuid) == {}


async def test_weights_that_are_refused_at_their_reveal_leave_no_trace(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await commit(client, netuid, {2: 1.0})
    assert (await client.execute(bt.SetHyperparameter(netuid, "weights_version", 9), OWNER)).success
    to_epoch(chain)
    assert await client.weights.weights(netuid) == {}
    assert await client.read("timelocked_weight_commits", netuid=netuid) == {}
    assert events(chain, "TimelockedWeightsRevealed") == events(chain, "WeightsSet") == []
    assert len(events(chain, "EpochRan")) == 1


async def test_commits_are_refused_by_the_chains_own_names(client: bt.Client, netuid: int) -> None:
    plain = calls.SubtensorModule.set_mechanism_weights(netuid, 0, [2], [1], 0)
    assert await refusal(client, plain, VALIDATOR) == "CommitRevealEnabled"
    for changed, name in (
        ({"reveal_round": ROUND - 1}, "InvalidRevealRound"),
        ({"commit_reveal_version": 3}, "IncorrectCommitRevealVersion"),
        ({"mecid": 1}, "MechanismDoesNotExist"),
        ({"data": bytes(5_001)}, "CommitPayloadTooLarge"),
    ):
        assert await refusal(client, raw_commit(netuid, **changed), VALIDATOR) == name
    outsider = await client.submit_call(raw_commit(netuid), DevWallet("Eve"))
    assert outsider.error.name == "HotKeyNotRegisteredInSubNet"
    trigger = calls.SubtensorModule.trigger_epoch(netuid)
    blocked = await refusal(client, trigger, OWNER, "coldkey")
    assert blocked == "DynamicTempoBlockedByCommitReveal"
    threshold = calls.AdminUtils.sudo_set_stake_threshold(1_000 * TAO)
    await send(client, calls.Sudo.sudo(call=await client.compose(threshold)), OWNER)
    assert await refusal(client, raw_commit(netuid), VALIDATOR) == "StakeAmountTooLow"


async def test_commit_reveal_is_off_until_the_owner_switches_it_on(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    await switch(client, netuid, False)
    assert await refusal(client, raw_commit(netuid), VALIDATOR) == "CommitRevealDisabled"
    plain = calls.SubtensorModule.set_mechanism_weights(netuid, 0, [2], [1], 0)
    await send(client, plain, VALIDATOR, "hotkey")
    assert await client.weights.weights(netuid) == {1: {2: 1.0}}
    other = await client.execute(bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    read = await client.read("subnet_hyperparameters", netuid=other.data["netuid"])
    assert read["commit_reveal_weights_enabled"] is False


async def test_a_hotkey_has_ten_unrevealed_commits_at_most(
    client: bt.Client, chain: Chain, netuid: int
) -> None:
    assert (await client.execute(bt.SetHyperparameter(netuid, "tempo", 360), OWNER)).success
    for _ in range(10):
        await send(client, raw_commit(netuid), VALIDATOR, "hotkey")
    assert await refusal(client, raw_commit(netuid), VALIDATOR) == "TooManyUnrevealedCommits"
    await send(client, raw_commit(netuid), OWNER, "hotkey")


async def test_commits_are_limited_in_rate(client: bt.Client, netuid: int) -> None:
    limit = calls.AdminUtils.sudo_set_weights_set_rate_limit(netuid, 3)
    await send(client, calls.Sudo.sudo(call=await client.compose(limit)), OWNER)
    await send(client, raw_commit(netuid), VALIDATOR, "hotkey")
    assert await refusal(client, raw_commit(netuid), VALIDATOR) == "CommittingWeightsTooFast"


@asynccontextmanager
async def relay(answer: dict[str, Any], asked: list[str]) -> AsyncIterator[str]:
    """A drand relay on this machine that gives one answer to everything."""

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(answer)

    application = web.Application()
    application.router.add_get("/{tail:.*}", handle)
    server = TestServer(application)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@asynccontextmanager
async def following(chain: Chain, pulses: Pulses, *urls: str) -> AsyncIterator[None]:
    task = asyncio.create_task(follow_drand(chain.state, pulses, urls))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class AwaitedPulses(Pulses):
    """Pulses that a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = asyncio.Event()

    def add(self, round_number: int, signature: bytes) -> bool:
        believed = super().add(round_number, signature)
        if believed:
            self.learned.set()
        return believed


class TestFetchedPulse:
    @pytest.fixture
    def pulses(self) -> AwaitedPulses:
        return AwaitedPulses()

    async def test_the_pulse_that_a_commit_waits_for_is_fetched_from_an_honest_relay(
        self, client: bt.Client, chain: Chain, netuid: int, pulses: AwaitedPulses
    ) -> None:
        await commit(client, netuid, {2: 1.0})
        asked: list[str] = []
        async with (
            relay({"signature": "00" * 48}, asked) as false,
            relay({"error": "no such round"}, asked) as empty,
            relay({"round": ROUND, "signature": SIGNATURE.hex()}, asked) as honest,
            following(chain, pulses, "http://127.0.0.1:1", false, empty, honest),
        ):
            await pulses.learned.wait()
        assert asked == [f"/{QUICKNET_CHAIN}/public/{ROUND}"] * 3
        to_epoch(chain)
        assert await client.weights.weights(netuid) == {1: {2: 1.0}}

    async def test_only_published_rounds_that_commits_wait_for_are_wanted(
        self, client: bt.Client, chain: Chain, netuid: int, pulses: Pulses
    ) -> None:
        assert wanted_rounds(chain.state, pulses, 10**6) == []
        for number in (ROUND + 2, ROUND, ROUND + 2, ROUND + 1):
            await send(client, raw_commit(netuid, reveal_round=number), VALIDATOR, "hotkey")
        assert wanted_rounds(chain.state, pulses, ROUND - 1) == []
        assert wanted_rounds(chain.state, pulses, ROUND + 1) == [ROUND, ROUND + 1]
        pulses.add(ROUND, SIGNATURE)
        assert wanted_rounds(chain.state, pulses, 10**6) == [ROUND + 1, ROUND + 2]


def test_only_the_beacons_own_pulses_are_believed() -> None:
    pulses = Pulses()
    assert not pulses.add(ROUND + 1, SIGNATURE)
    assert not pulses.add(ROUND, bytes(48))
    assert (pulses.latest_round, pulses.signature(ROUND)) == (0, None)
    assert pulses.add(ROUND, SIGNATURE)
    assert (pulses.latest_round, pulses.signature(ROUND)) == (ROUND, SIGNATURE)


@given(st.binary(max_size=300))
def test_nothing_that_is_committed_or_sealed_can_stop_the_chain(data: bytes) -> None:
    assert open_commit(data, ROUND, SIGNATURE) is None
    sealed = parse_sealed(data)
    assert sealed is None or len(sealed.hotkey) == 32
