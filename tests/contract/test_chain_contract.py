"""The unmodified SDK against the devnet, over the wire: the demo's operations, and refusals."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import bittensor as bt
import pytest
from bittensor import calls
from bittensor.sp_core import Keypair

pytestmark = pytest.mark.timeout(60)
TAO = 10**9


class DevWallet:
    """A wallet of well-known keys: `//Name` and `//Name//hot`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//hot")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


OWNER, VALIDATOR, SECOND, MINER, IDLE, OUTSIDER = (
    DevWallet(name) for name in ("Alice", "Bob", "Charlie", "Dave", "Eve", "Ferdie")
)


@pytest.fixture(scope="module")
def endpoint(devnet_in_thread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with devnet_in_thread(tmp_path_factory.mktemp("devnet") / "chain.sqlite") as url:
        yield url


@pytest.fixture
async def client(endpoint: str) -> AsyncIterator[bt.Client]:
    async with open_client(endpoint) as opened:
        yield opened


def open_client(endpoint: str) -> bt.Client:
    return bt.Client(endpoint, fallback_endpoints=[], archive_endpoints=[])


async def succeed(client: bt.Client, intent: object, wallet: DevWallet) -> bt.ExtrinsicResult:
    result = await client.execute(intent, wallet)
    if not result.success and result.error and result.error.name == "Stale":
        # The SDK forgets that a shielded call spent two nonces; the retry reads the chain's.
        result = await client.execute(intent, wallet)
    assert result.success, (result.message, result.error)
    return result


async def refusal(client: bt.Client, intent: object, wallet: DevWallet) -> str:
    result = await client.execute(intent, wallet)
    assert not result.success
    return str(result.error.name)


async def new_subnet(client: bt.Client, *wallets: DevWallet) -> int:
    result = await succeed(client, bt.RegisterSubnet(hotkey_ss58=OWNER.hot), OWNER)
    netuid = int(result.data["netuid"])
    for wallet in wallets:
        await succeed(client, bt.BurnedRegister(netuid=netuid, hotkey_ss58=wallet.hot), wallet)
    return netuid


async def stake(client: bt.Client, netuid: int, wallet: DevWallet, amount_tao: int) -> None:
    intent = bt.AddStake(hotkey_ss58=wallet.hot, netuid=netuid, amount_tao=amount_tao)
    await succeed(client, intent, wallet)


async def test_a_transfer_moves_exactly_what_it_says_and_the_sender_pays_the_fee(client) -> None:
    target = str(Keypair.create_from_uri("//Nobody").ss58_address)
    before = await client.balances.get(OUTSIDER.cold)
    result = await succeed(client, bt.Transfer(dest_ss58=target, amount_tao=3), OUTSIDER)
    after = await client.balances.get(OUTSIDER.cold)
    assert (await client.balances.get(target)).rao == 3 * TAO
    assert before.rao - after.rao == 3 * TAO + result.fee.rao
    assert result.fee.rao > 0


async def test_a_transfer_of_more_than_there_is_fails_with_the_chains_name(client) -> None:
    intent = bt.Transfer(dest_ss58=MINER.cold, amount_tao=10_000_000)
    assert await refusal(client, intent, OUTSIDER) == "FundsUnavailable"


async def test_an_epoch_turns_stake_into_permits_and_weights_into_emission(client) -> None:
    netuid = await new_subnet(client, VALIDATOR, SECOND, MINER, IDLE)
    await succeed(client, bt.ServeAxon(netuid=netuid, ip="127.0.0.1", port=8091), MINER)
    await stake(client, netuid, VALIDATOR, 100)
    await stake(client, netuid, SECOND, 50)
    await client.wait_for_epoch(netuid, timeout=20)

    graph = await client.subnets.metagraph(netuid)
    uid = {neuron.hotkey: neuron.uid for neuron in graph}
    permits = {neuron.hotkey for neuron in graph.validators}
    assert permits == {OWNER.hot, VALIDATOR.hot, SECOND.hot}
    assert graph.by_hotkey(MINER.hot).axon == "127.0.0.1:8091"

    for wallet in (VALIDATOR, SECOND):
        await succeed(client, bt.SetWeights(netuid=netuid, weights={uid[MINER.hot]: 1.0}), wallet)
    for _ in range(2):
        event = await client.wait_for_epoch(netuid, timeout=20)
    graph = await client.subnets.metagraph(netuid)
    miner, idle, big, small = (
        graph.by_hotkey(wallet.hot) for wallet in (MINER, IDLE, VALIDATOR, SECOND)
    )
    assert (miner.incentive, idle.incentive) == (1.0, 0.0)
    assert miner.emission.rao > 0 and miner.alpha_stake.rao >= miner.emission.rao
    assert idle.emission.rao == 0 and idle.alpha_stake.rao == 0
    assert big.dividends > small.dividends > 0
    minted = TAO * (event.block - event.previous)
    paid = sum(neuron.emission.rao for neuron in graph)
    owner_cut = minted * 11_796 // 65_535
    assert minted - owner_cut - len(graph) <= paid <= minted - owner_cut
    assert miner.emission.rao == pytest.approx(minted * 0.41, rel=1e-3)

    lite = {neuron.hotkey: neuron for neuron in await client.neurons.all(netuid)}
    assert lite[MINER.hot].raw["incentive"] == 65_535
    assert await client.weights.weights(netuid) == {
        uid[VALIDATOR.hot]: {uid[MINER.hot]: 1.0},
        uid[SECOND.hot]: {uid[MINER.hot]: 1.0},
    }
    held = await client.staking.get(MINER.cold, MINER.hot, netuid)
    assert held.rao == miner.alpha_stake.rao
    status = await client.read("epoch_status", netuid=netuid)
    assert status["tempo"] == 10 and status["epoch_index"] >= 3


async def test_weights_are_refused_by_the_chains_own_names(client) -> None:
    netuid = await new_subnet(client, VALIDATOR, MINER)
    weights = bt.SetWeights(netuid=netuid, weights={0: 1.0})
    assert await refusal(client, weights, MINER) == "NeuronNoValidatorPermit"
    raw = calls.SubtensorModule.set_mechanism_weights(
        netuid=netuid, mecid=0, dests=[0], weights=[1], version_key=0
    )
    outsider = await client.submit_call(raw, OUTSIDER)
    assert outsider.error.name == "HotKeyNotRegisteredInSubNet"

    await stake(client, netuid, VALIDATOR, 10)
    await client.wait_for_epoch(netuid, timeout=20)
    await succeed(client, weights, VALIDATOR)
    await succeed(client, bt.SetHyperparameter(netuid, "weights_version", 9), OWNER)
    assert await refusal(client, weights, VALIDATOR) == "IncorrectWeightVersionKey"
    newer = bt.SetWeights(netuid=netuid, weights={0: 1.0}, version_key=9)
    await succeed(client, newer, VALIDATOR)

    limit = calls.AdminUtils.sudo_set_weights_set_rate_limit(netuid, 10_000)
    sudo = await client.submit_call(calls.Sudo.sudo(call=await client.compose(limit)), OWNER)
    assert sudo.success
    with pytest.raises(bt.BittensorError, match="rate limit"):
        await client.execute(newer, VALIDATOR)
    direct = await client.submit_call(
        calls.SubtensorModule.set_mechanism_weights(
            netuid=netuid, mecid=0, dests=[0], weights=[1], version_key=9
        ),
        VALIDATOR,
        signer="hotkey",
    )
    assert direct.error.name == "RateLimitExceeded"


async def test_only_the_owner_sets_hyperparameters(client) -> None:
    netuid = await new_subnet(client)
    intent = bt.SetHyperparameter(netuid, "min_allowed_weights", 4)
    assert await refusal(client, intent, OUTSIDER) == "BadOrigin"
    await succeed(client, intent, OWNER)
    await succeed(client, bt.SetHyperparameter(netuid, "activity_cutoff_factor", 2_000), OWNER)
    read = await client.read("subnet_hyperparameters", netuid=netuid)
    assert read["min_allowed_weights"] == 4
    assert read["activity_cutoff"] == read["tempo"] * 2


async def test_a_forged_signature_is_refused(client) -> None:
    call = calls.Balances.transfer_keep_alive(dest=OUTSIDER.cold, value=TAO)
    unsigned = await client.prepare_call(call, address=OWNER.cold)
    forged = await client.submit_signature(unsigned, OUTSIDER.coldkey.sign(unsigned.payload))
    assert (forged.success, forged.error.name) == (False, "BadProof")
    other = await client.prepare_call(
        calls.Balances.transfer_keep_alive(dest=OUTSIDER.cold, value=2 * TAO), address=OWNER.cold
    )
    moved = await client.submit_signature(other, OWNER.coldkey.sign(unsigned.payload))
    assert (moved.success, moved.error.name) == (False, "BadProof")
    honest = await client.submit_signature(unsigned, OWNER.coldkey.sign(unsigned.payload))
    assert honest.success


async def test_a_spent_nonce_is_refused(client) -> None:
    call = calls.Balances.transfer_keep_alive(dest=MINER.cold, value=TAO)
    unsigned = await client.prepare_call(call, address=OUTSIDER.cold)
    signature = OUTSIDER.coldkey.sign(unsigned.payload)
    assert (await client.submit_signature(unsigned, signature)).success
    replayed = await client.submit_signature(unsigned, signature)
    assert (replayed.success, replayed.error.name) == (False, "Stale")


async def test_a_shielded_registration_shows_the_inner_failure(client) -> None:
    netuid = await new_subnet(client, MINER)
    again = await client.execute(bt.BurnedRegister(netuid=netuid, hotkey_ss58=MINER.hot), OWNER)
    assert (again.success, again.error.name) == (False, "HotKeyAlreadyRegisteredInSubNet")


async def test_a_commitment_reads_back_byte_for_byte_at_its_block(client) -> None:
    netuid = await new_subnet(client, MINER)
    values = {"Raw3": b"\xff\x00!", "Raw5": b"first", "BigRaw": b"0x41" + b"0" * 400}
    blocks = []
    for name, value in values.items():
        field = {name: "0x" + value.hex()}
        call = calls.Commitments.set_commitment(netuid=netuid, info={"fields": [field]})
        result = await client.submit_call(call, MINER, signer="hotkey")
        assert result.success, result.message
        blocks.append(int(result.extrinsic_id.partition("-")[0]))
    for (name, value), block in zip(values.items(), blocks, strict=True):
        record = await client.query(
            ("Commitments", "CommitmentOf"), [netuid, MINER.hot], block=block
        )
        assert record["block"] == block
        ((variant, stored),) = record["info"]["fields"][0].items()
        assert variant == name
        assert stored == (value.decode() if name == "BigRaw" else "0x" + value.hex())
    earlier = await client.query(
        ("Commitments", "CommitmentOf"), [netuid, MINER.hot], block=blocks[0] - 1
    )
    assert earlier is None
    outsider = await client.submit_call(call, OUTSIDER)
    assert outsider.error.name == "HotKeyNotRegisteredInSubNet"


async def test_heads_and_hashes_agree(client) -> None:
    seen = []
    async for header in client.blocks():
        seen.append(header)
        if len(seen) == 3:
            break
    assert [header.number - seen[0].number for header in seen] == [0, 1, 2]
    parent = await client.query(("System", "ParentHash"), block=seen[2].number)
    assert parent == seen[2].parent_hash
    assert seen[2].parent_hash == await client._substrate.block_hash(seen[1].number)
    info = await client.block_info(seen[1].number)
    assert info.hash == seen[2].parent_hash
    assert info.timestamp == await client.timestamp(seen[1].number)


async def test_two_clients_may_sign_for_one_account_in_turn(endpoint: str) -> None:
    target = str(Keypair.create_from_uri("//Shared").ss58_address)
    async with open_client(endpoint) as one, open_client(endpoint) as two:
        for client in (one, two, two):
            await succeed(client, bt.Transfer(dest_ss58=target, amount_tao=1), SECOND)
        assert (await one.balances.get(target)).rao == 3 * TAO


def start_process(path: Path) -> tuple[subprocess.Popen[str], str]:
    command = "import typer; from subnet.cli.devnet import devnet; typer.run(devnet)"
    flags = ["--port", "0", "--state", str(path), "--block-time", "0.05"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *flags], stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    assert "ws://" in first, first
    return process, first.split()[-1]


def end(process: subprocess.Popen[str], number: int) -> int:
    os.kill(process.pid, number)
    code = process.wait(15)
    process.stdout.close()
    return code


async def test_the_chain_goes_on_where_kill_9_stopped_it(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    process, url = start_process(path)
    try:
        async with open_client(url) as client:
            netuid = await new_subnet(client, MINER)
            await stake(client, netuid, MINER, 7)
            block = await client.block()
            block_hash = await client._substrate.block_hash(block)
            graph = await client.subnets.metagraph(netuid, block=block)
    finally:
        end(process, signal.SIGKILL)
    process, url = start_process(path)
    try:
        async with open_client(url) as client:
            assert await client._substrate.block_hash(block) == block_hash
            assert await client.subnets.metagraph(netuid, block=block) == graph
            assert (await client.wait_for_block(timeout=10)).number > block
            await stake(client, netuid, MINER, 1)
    finally:
        assert end(process, signal.SIGTERM) == 0


def test_a_taken_port_is_one_clear_line_and_exit_code_2(endpoint: str, tmp_path: Path) -> None:
    command = "import typer; from subnet.cli.devnet import devnet; typer.run(devnet)"
    port = endpoint.rpartition(":")[2]
    flags = ["--port", port, "--state", str(tmp_path / "other.sqlite")]
    result = subprocess.run(
        [sys.executable, "-c", command, *flags], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and port in result.stderr
