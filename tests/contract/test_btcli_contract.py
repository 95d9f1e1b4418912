"""The real `btcli` against the devnet: people's commands end by themselves and tell the truth."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from subnet.devnet.params import DevnetParams
from subnet.edge.sdk_client import connected, sdk_client
from tests.forking import Commands

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
BTCLI = Path(sys.executable).with_name("btcli")
COMMAND_SECONDS_MAX = 60
PARAMS = DevnetParams(block_time_seconds=0.125, tempo_blocks=10)
STAKE_TAO = 1_000
"""More than the owner earns before others have a stake: it is active, and clips with a majority."""
NAMES = ("owner", "miner", "validator")


class Faucet:
    coldkey = coldkeypub = hotkey = hotkeypub = Keypair.create_from_uri("//Alice")


class Answer(NamedTuple):
    """What a command left behind: exit code, and its output read as JSON."""

    code: int
    value: Any


class Btcli:
    """Runs btcli on wallets of its own, in a home directory of its own."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.wallet_path = home / "wallets"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BT")}
        self.environment = {**kept, "HOME": str(home), "TERM": "dumb"}
        self._commands = Commands("tests.contract.btcli_program", home, self.environment)
        self.hot, self.cold = {}, {}
        for name in NAMES:
            wallet = bt.Wallet(name, "default", str(self.wallet_path))
            wallet.create_new_coldkey(use_password=False, suppress=True)
            wallet.create_new_hotkey(use_password=False, suppress=True)
            self.hot[name] = str(wallet.hotkeypub.ss58_address)
            self.cold[name] = str(wallet.coldkeypub.ss58_address)

    async def __aenter__(self) -> Self:
        await self._commands.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._commands.__aexit__(*error)

    async def run(self, *command: Any, wallet: str = "owner") -> Answer:
        """Run one command. Fails when it does not end by itself."""
        try:
            code, out, err = await self._commands.run(
                *self._flags(wallet), *command, timeout_seconds=COMMAND_SECONDS_MAX
            )
        except TimeoutError:
            pytest.fail(f"btcli {command} did not end")
        return self._answer(command, code, out or err)

    async def run_installed(self, *command: Any, wallet: str = "owner") -> Answer:
        """Run one command by the script that pip installed, imports and all."""
        process = await asyncio.create_subprocess_exec(
            *(BTCLI, *self._flags(wallet), *(str(part) for part in command)),
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return self._answer(command, process.returncode, out.decode())

    def _flags(self, wallet: str) -> tuple[Any, ...]:
        named = ("-n", self.url, "--wallet-path", self.wallet_path, "-w", wallet)
        return (*named, "--json", "--yes")

    @staticmethod
    def _answer(command: tuple[Any, ...], code: int, text: str) -> Answer:
        try:
            return Answer(code, json.loads(text))
        except ValueError:
            pytest.fail(f"btcli {command} printed {text!r}")

    async def ok(self, *command: Any, wallet: str = "owner") -> Any:
        """Run one command that must succeed; its output."""
        answer = await self.run(*command, wallet=wallet)
        assert answer.code == 0, (command, answer)
        if isinstance(answer.value, dict):
            assert answer.value.get("success", True) is True
        return answer.value


@pytest.fixture
async def btcli(devnet_in_thread: Any, tmp_path: Path) -> AsyncIterator[Btcli]:
    with devnet_in_thread(tmp_path / "chain.sqlite", PARAMS) as url:
        async with Btcli(url, tmp_path) as opened:
            yield opened


async def test_people_run_a_subnet_with_btcli_alone(btcli: Btcli) -> None:
    async with connected(sdk_client(btcli.url)) as client:
        for name in ("owner", "validator"):
            done = await client.execute(bt.Transfer(btcli.cold[name], bt.tao(2_000)), Faucet)
            assert done.success
        await _transfer_and_balance(btcli, client)
        netuid = await _found(btcli)
        await _join(btcli, client, netuid)
        await _stake(btcli, client, netuid)
        await _validate(btcli, client, netuid)
        await _still(btcli, client, netuid)
        await _read_subnet(btcli, client, netuid)
        await _read_neurons(btcli, client, netuid)
        await _tune(btcli, client, netuid)
        await _bond(btcli, client, netuid)
        await _weigh_in_the_second_mechanism(btcli, client, netuid)
        await _seal(btcli, client, netuid)


async def _transfer_and_balance(btcli: Btcli, client: bt.Client) -> None:
    moved = await btcli.ok("wallet", "transfer", "--dest", btcli.cold["miner"], "--amount", 500)
    assert (await client.balances.get(btcli.cold["miner"])).tao == 500
    code, shown = await btcli.run_installed("wallet", "balance")
    assert code == 0 and shown["coldkey"] == btcli.cold["owner"]
    assert shown["free_tao"] == pytest.approx(1_500 - moved["fee_tao"], abs=1e-9)


async def _found(btcli: Btcli) -> int:
    created = await btcli.ok("subnets", "create")
    netuid = int(created["data"]["netuid"])
    assert created["data"]["registration_price_rao"] == PARAMS.network_lock_min_rao
    await btcli.ok("sudo", "start", "--netuid", netuid)
    return netuid


async def _join(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    again, *joined = await asyncio.gather(
        btcli.run("sudo", "start", "--netuid", netuid),
        btcli.ok("tx", "burned-register", "--netuid", netuid, wallet="miner"),
        btcli.ok("subnets", "register", "--netuid", netuid, wallet="validator"),
    )
    assert (again.code, again.value["error"]["name"]) == (1, "FirstEmissionBlockNumberAlreadySet")
    assert all(one["data"]["shielded"] for one in joined)
    graph = await client.subnets.metagraph(netuid)
    assert {neuron.hotkey for neuron in graph} == set(btcli.hot.values())


async def _stake(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    hotkey = btcli.hot["validator"]
    where = ("--hotkey", hotkey, "--netuid", netuid)
    await asyncio.gather(
        btcli.ok("tx", "serve-axon", *_at(netuid, "10.0.0.9", 8091), wallet="miner"),
        btcli.ok("stake", "add", *where, "--amount", STAKE_TAO, wallet="validator"),
    )
    before = await client.staking.get(btcli.cold["validator"], hotkey, netuid)
    assert before.rao >= STAKE_TAO * 10**9
    miner = (await client.subnets.metagraph(netuid)).by_hotkey(btcli.hot["miner"])
    assert miner.axon == "10.0.0.9:8091"
    free = await client.balances.get(btcli.cold["validator"])
    removed = await btcli.ok("stake", "remove", *where, "--amount", 40, wallet="validator")
    gained = (await client.balances.get(btcli.cold["validator"])).rao - free.rao
    # The shield's carrier is paid beside the fee that btcli prints.
    assert 0 <= 40 * 10**9 - round(removed["fee_tao"] * 10**9) - gained < 10**7
    held = {
        one["netuid"]: one
        for one in await btcli.ok("stake", "list", wallet="validator")
        if one["hotkey"] == hotkey
    }
    assert held[netuid]["stake_amount"] >= STAKE_TAO - 40 and held[netuid]["locked_amount"] == 0


def _at(netuid: int, ip: str, port: int) -> tuple[Any, ...]:
    return ("--netuid", netuid, "--ip", ip, "--port", port)


async def _validate(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    graph = await client.subnets.metagraph(netuid)
    while not graph.by_hotkey(btcli.hot["validator"]).validator_permit:
        await client.wait_for_epoch(netuid, timeout=20)
        graph = await client.subnets.metagraph(netuid)
    uids = [graph.by_hotkey(btcli.hot[name]).uid for name in ("miner", "owner")]
    info = {"netuid": netuid, "info": {"fields": [{"Raw5": "0x" + b"hi ok".hex()}]}}
    publish = ("call", "Commitments.set_commitment", "--key", "hotkey", "--args", json.dumps(info))
    weigh = ("weights", "set", "--netuid", netuid, "--uids", f"{uids[0]},{uids[1]}")
    await asyncio.gather(
        btcli.ok(*weigh, "--weights", "0.75,0.25", wallet="validator"),
        btcli.ok(*publish, wallet="miner"),
    )
    for _ in range(2):
        await client.wait_for_epoch(netuid, timeout=20)


async def _still(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    """Set the owner's parameters; the long tempo lets no epoch run while reads are compared."""
    changes = {"tempo": 5_000, "immunity_period": 77, "yuma3_enabled": 1}
    for name, value in changes.items():
        await btcli.ok("sudo", "set", "--netuid", netuid, "--name", name, "--value", value)
    stranger = ("sudo", "set", "--netuid", netuid, "--name", "weights_version", "--value", 3)
    refused, unknown = await asyncio.gather(
        btcli.run(*stranger, wallet="miner"),
        btcli.run("sudo", "set", "--netuid", netuid, "--name", "kappa", "--value", 3),
    )
    assert (refused.code, refused.value["error"]["name"]) == (1, "BadOrigin")
    assert unknown.code == 2 and "owner-unsettable" in unknown.value["error"]
    read = await client.read("subnet_hyperparameters", netuid=netuid)
    assert {name: read[name] for name in changes} == changes
    assert read["weights_version"] == 0


async def _read_subnet(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    where = ("--netuid", netuid)
    listed, shown, rules, settable, status, burn = await asyncio.gather(
        btcli.ok("subnets", "list"),
        btcli.ok("subnets", "show", netuid),
        btcli.ok("query", "subnet-hyperparameters", *where),
        btcli.ok("sudo", "get", *where),
        btcli.ok("query", "epoch-status", *where),
        btcli.ok("query", "burn", *where),
    )
    row = {one["netuid"]: one for one in listed}[netuid]
    assert (row["neurons"], row["max_neurons"], row["tempo"]) == (3, 256, 5_000)
    assert row["price_tao_per_alpha"] == 1.0
    assert shown["owner_coldkey"] == btcli.cold["owner"]
    assert shown["owner_hotkey"] == btcli.hot["owner"] and shown["neurons"] == 3
    assert rules == await client.read("subnet_hyperparameters", netuid=netuid)
    assert settable.items() >= rules.items() and settable["owner_immune_neuron_limit"] == 1
    expected = await client.read("epoch_status", netuid=netuid)
    steady = ("tempo", "epoch_index", "last_epoch_block", "next_epoch_start_block")
    assert {name: status[name] for name in steady} == {name: expected[name] for name in steady}
    # A new tempo begins a new cycle, so the last step is older than the cycle.
    step = await client.query(("SubtensorModule", "LastMechansimStepBlock"), [netuid])
    assert status["blocks_since_last_step"] == status["block"] - step
    paid = float(burn.strip("\u03c4"))
    # The price only falls while nobody registers.
    assert (await client.subnets.burn(netuid)).tao <= paid <= PARAMS.burn_initial_rao * 2 / 10**9


async def _read_neurons(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    where = ("--netuid", netuid)
    graph, neurons, weights, bonds, uid, committed = await asyncio.gather(
        btcli.ok("query", "metagraph", *where),
        btcli.ok("query", "neurons", *where),
        btcli.ok("query", "weights", *where),
        btcli.ok("query", "bonds", *where),
        btcli.ok("query", "uid", *where, wallet="miner"),
        btcli.ok("query", "commitment", *where, "--hotkey", btcli.hot["miner"]),
    )
    expected = await client.read("metagraph", netuid=netuid)
    moving = {"block", "blocks_since_last_step", "burn", "pending_alpha_emission"}
    same = json.loads(json.dumps(expected))
    assert {key for key in same if graph[key] != same[key]} <= moving
    miner = (await client.subnets.metagraph(netuid)).by_hotkey(btcli.hot["miner"])
    assert uid == miner.uid
    assert graph["incentives"][uid] > 0
    assert graph["emission"][uid] == miner.emission.rao > 0
    row = neurons[uid]
    assert (row["hotkey"], row["coldkey"]) == (btcli.hot["miner"], btcli.cold["miner"])
    assert weights == json.loads(json.dumps(await client.weights.weights(netuid)))
    assert weights[str(_uid(graph, btcli.hot["validator"]))][str(uid)] == pytest.approx(0.75, 1e-4)
    assert bonds == json.loads(json.dumps(await client.weights.bonds(netuid))) and any(
        bonds.values()
    )
    assert committed["data"] == "hi ok" and committed["block"] > 0
    await btcli.ok("tx", "reset-axon", *where, wallet="miner")
    record = await client.query(("SubtensorModule", "Axons"), [netuid, btcli.hot["miner"]])
    assert (record["ip"], record["port"]) == (0, 1)


async def _tune(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    """The owner's other parameters, and those that only root sets."""
    changes = {
        "liquid_alpha_enabled": 1,
        "min_burn": 0.25,
        "max_allowed_uids": 128,
        "collateral_lock_share": 0.5,
        "collateral_drain_ratio": 0.5,
    }
    for name, value in changes.items():
        await btcli.ok("sudo", "set", "--netuid", netuid, "--name", name, "--value", value)
    where = ("--netuid", netuid)
    read, shown = await asyncio.gather(
        client.read("subnet_hyperparameters", netuid=netuid),
        btcli.ok("sudo", "get", *where),
    )
    assert read["liquid_alpha_enabled"] is True and read["max_allowed_uids"] == 128
    assert read["min_burn"] == 10**9 // 4
    assert shown["collateral_lock_share"] == pytest.approx(65_535 / 2, abs=1)


async def _bond(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    where = ("misc", "collateral")
    at = ("--netuid", netuid)
    await btcli.ok(*where, "add", *at, "--amount", 2, wallet="miner")
    await btcli.ok(*where, "set-min", *at, "--amount", 3, wallet="miner")
    shown = await btcli.ok(*where, "show", *at, wallet="miner")
    held = shown["collateral"]
    assert held["locked_alpha"].startswith("2.0") and held["min_locked_alpha"].startswith("3.0")
    assert held["shortfall_alpha"].startswith("1.0") and held["drain_ratio"] == 0.5
    row = (await client.subnets.metagraph(netuid)).by_hotkey(btcli.hot["miner"])
    assert (row.collateral_locked.rao, row.collateral_min.rao) == (2 * 10**9, 3 * 10**9)


async def _weigh_in_the_second_mechanism(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    await btcli.ok("tx", "set-mechanism-count", "--netuid", netuid, "--mechanism-count", 2)
    graph = await client.subnets.metagraph(netuid)
    miner, validator = (graph.by_hotkey(btcli.hot[name]).uid for name in ("miner", "validator"))
    where = ("--netuid", netuid, "--mechid", 1)
    weigh = ("weights", "set", *where, "--uids", miner, "--weights", "1")
    await btcli.ok(*weigh, wallet="validator")
    counted, weights = await asyncio.gather(
        btcli.ok("sudo", "mechanisms", "count", "--netuid", netuid),
        btcli.ok("query", "weights", *where),
    )
    assert counted["mechanism_count"] == 2
    assert weights == {str(validator): {str(miner): 1.0}}


async def _seal(btcli: Btcli, client: bt.Client, netuid: int) -> None:
    """With commit-reveal on, the same command commits instead."""
    name = ("--name", "commit_reveal_weights_enabled", "--value", 1)
    await btcli.ok("sudo", "set", "--netuid", netuid, *name)
    weigh = ("weights", "set", "--netuid", netuid, "--uids", 0, "--weights", "1")
    await btcli.ok(*weigh, wallet="validator")
    waiting = await btcli.ok("query", "timelocked-weight-commits", "--netuid", netuid)
    (commits,) = waiting.values()
    assert [one["hotkey"] for one in commits] == [btcli.hot["validator"]]
    assert commits[0]["reveal_round"] > 0 and commits[0]["commit_block"] > 0


def _uid(graph: dict[str, Any], hotkey: str) -> int:
    return graph["hotkeys"].index(hotkey)
