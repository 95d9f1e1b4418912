"""The chain's edge against a scripted client: every failure becomes ChainError, in bounded time."""

import asyncio
from types import SimpleNamespace

import bittensor as bt
import pytest

from subnet.config import ChainSettings, ConfigError
from subnet.edge.bittensor_chain import BittensorChain
from subnet.edge.wallets import load_wallet
from subnet.ports import ChainError, Endpoint

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
WALLET = SimpleNamespace(hotkey=SimpleNamespace(ss58_address=HOTKEY))
SETTINGS = ChainSettings(network="ws://127.0.0.1:1", netuid=2, timeout_seconds=0.2)


def row(**changes):
    fields = {
        "uid": 0,
        "hotkey": HOTKEY,
        "coldkey": HOTKEY,
        "axon": None,
        "total_stake": SimpleNamespace(rao=7),
        "validator_permit": True,
        "incentive": 0.5,
        "dividends": 0.25,
        "emission": SimpleNamespace(rao=3),
        "last_update": 11,
        "block_at_registration": 5,
    }
    return SimpleNamespace(**(fields | changes))


class FakeClient:
    """Answers from a script: an exception is raised, anything else returned."""

    def __init__(self, *, block=10, final=10, rows=(), results=(), fields=()):
        self.best, self.final = block, final
        self.closed = False
        self.executed, self.calls = [], []
        self._results = list(results)
        self.subnets = SimpleNamespace(metagraph=self._metagraph)
        self.identity = SimpleNamespace(commitment=self._commitment)
        self._rows, self._fields = rows, fields

    async def block(self):
        if isinstance(self.best, Exception):
            raise self.best
        return self.best

    async def finalized_block(self):
        return self.final

    async def wait_for_block(self):
        self.best += 1
        self.final = self.best - 2

    async def _metagraph(self, netuid, commitments):
        if self._rows is None:
            return None
        return SimpleNamespace(
            netuid=netuid, block=9, tempo=20, owner_hotkey=HOTKEY, neurons=self._rows
        )

    async def _commitment(self, netuid, hotkey):
        return SimpleNamespace(fields=list(self._fields)) if self._fields else None

    async def execute(self, intent, wallet, retries):
        self.executed.append(intent)
        return self._results.pop(0) if self._results else bt.ExtrinsicResult(success=True)

    async def submit_call(self, call, wallet, signer):
        self.calls.append(call)
        return bt.ExtrinsicResult(success=True)

    async def close(self):
        self.closed = True


def chain_over(*clients):
    waiting = list(clients)

    async def connect():
        client = waiting.pop(0)
        if isinstance(client, Exception):
            raise client
        return client

    return BittensorChain(SETTINGS, WALLET, dial=connect)


async def test_a_broken_connection_is_replaced_by_a_new_one_at_the_next_call():
    broken, fresh = FakeClient(block=bt.RpcConnectionError("socket gone")), FakeClient(block=12)
    chain = chain_over(broken, fresh)
    with pytest.raises(ChainError, match="socket gone"):
        await chain.block_number()
    assert broken.closed
    assert await chain.block_number() == 12


async def test_an_unreachable_chain_is_a_chain_error_that_names_the_network():
    with pytest.raises(ChainError, match=r"ws://127.0.0.1:1.*refused"):
        await chain_over(ConnectionRefusedError("refused")).block_number()


async def test_a_chain_that_never_answers_is_given_up():
    client = FakeClient()
    client.block = lambda: asyncio.sleep(3600)
    with pytest.raises(ChainError, match="no answer in"):
        await chain_over(client).block_number()
    assert client.closed


async def test_a_missing_subnet_is_named():
    with pytest.raises(ChainError, match="subnet 2 does not exist"):
        await chain_over(FakeClient(rows=None)).metagraph()


async def test_waiting_for_a_block_counts_final_blocks_only():
    client = FakeClient(block=10, final=8)
    assert await chain_over(client).wait_for_block(10) == 10
    assert client.best == 12


async def test_the_metagraph_keeps_what_roles_need():
    (neuron,) = (await chain_over(FakeClient(rows=[row(axon="10.1.2.3:81")])).metagraph()).neurons
    assert neuron.endpoint == Endpoint(HOTKEY, "10.1.2.3", 81)
    assert (neuron.stake_rao, neuron.emission_rao, neuron.incentive) == (7, 3, 0.5)


async def test_an_ipv6_endpoint_loses_its_brackets():
    (neuron,) = (await chain_over(FakeClient(rows=[row(axon="[::1]:81")])).metagraph()).neurons
    assert neuron.endpoint == Endpoint(HOTKEY, "::1", 81)


async def test_an_endpoint_is_published_only_when_it_changed():
    client = FakeClient(rows=[row(axon="10.1.2.3:81")])
    chain = chain_over(client)
    assert await chain.publish_endpoint("10.1.2.3", 81) is False
    assert client.executed == []
    assert await chain.publish_endpoint("10.1.2.3", 82) is True
    assert (client.executed[0].ip, client.executed[0].port) == ("10.1.2.3", 82)


async def test_publishing_an_unregistered_hotkey_says_how_to_register():
    with pytest.raises(ChainError, match="not registered on subnet 2"):
        await chain_over(FakeClient(rows=[])).publish_endpoint("10.1.2.3", 82)


async def test_a_host_name_cannot_be_published():
    with pytest.raises(ConfigError, match="IP addresses only"):
        await chain_over(FakeClient()).publish_endpoint("example.org", 82)


async def test_a_refused_submission_carries_the_chains_own_word():
    refusal = bt.ChainError("too soon", "SettingWeightsTooFast")
    client = FakeClient(results=[bt.ExtrinsicResult(success=False, error=refusal)])
    with pytest.raises(ChainError, match="SettingWeightsTooFast: too soon"):
        await chain_over(client, FakeClient()).set_weights({3: 1}, 0)


async def test_weights_are_passed_on_without_zeros_and_with_the_version_key():
    client = FakeClient()
    await chain_over(client).set_weights({3: 2, 4: 0, 5: 6}, 1 << 32)
    (intent,) = client.executed
    assert (intent.uids, intent.weights, intent.version_key) == ([3, 5], [2.0, 6.0], 1 << 32)


async def test_a_commitment_comes_back_as_the_bytes_that_went_in():
    client = FakeClient(fields=[{"Raw3": "0x010203"}, "None", {"Raw1": "0xff"}])
    chain = chain_over(client)
    assert await chain.commitment(HOTKEY) == b"\x01\x02\x03\xff"
    await chain.commit(b"abc")
    assert client.calls[0].params["info"] == {"fields": [{"Raw3": b"abc"}]}


async def test_no_commitment_is_none():
    assert await chain_over(FakeClient()).commitment(HOTKEY) is None


def test_a_missing_wallet_says_where_it_looked_and_how_to_create_it(tmp_path):
    with pytest.raises(ConfigError, match=r"cold/hotkeys/hot; create it with `btcli") as caught:
        load_wallet(tmp_path, "cold", "hot")
    assert "\n" not in str(caught.value)


def test_a_hotkey_on_disk_opens(tmp_path):
    wallet = bt.Wallet("cold", "hot", str(tmp_path))
    wallet.create_new_hotkey(suppress=True)
    assert load_wallet(tmp_path, "cold", "hot").hotkey.ss58_address == wallet.hotkey.ss58_address


def test_a_damaged_hotkey_file_is_one_line(tmp_path):
    path = tmp_path / "cold" / "hotkeys" / "hot"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a key")
    with pytest.raises(ConfigError, match="cannot open the hotkey"):
        load_wallet(tmp_path, "cold", "hot")
