"""The node answers whatever it is sent; nothing a client says ends a session or the node."""

import json
from typing import Any

import pytest
from bittensor.sp_core import Keypair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subnet.devnet.chain import Chain
from subnet.devnet.rpc import SUBSCRIPTIONS_MAX, Rpc, Session
from subnet.devnet.signing import sign_extrinsic


class Wire:
    def __init__(self, chain: Chain) -> None:
        self.answers: list[dict[str, Any]] = []
        self.rpc = Rpc(chain)
        self.session = Session(self.answers.append)
        self.rpc.connect(self.session)

    def ask(self, frame: str | bytes) -> dict[str, Any]:
        self.answers.clear()
        self.rpc.handle(self.session, frame)
        return self.answers[0]

    def call(self, method: str, *params: Any) -> dict[str, Any]:
        return self.ask(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))


@pytest.fixture
def wire(chain: Chain) -> Wire:
    return Wire(chain)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", -32700),
        ("{", -32700),
        (b"\xff\xfe", -32700),
        ("[" * 100_000, -32700),
        ("7", -32600),
        ('{"id": 1}', -32600),
        ('{"id": 1, "method": 5}', -32600),
        ('{"id": 1, "method": "no_such"}', -32601),
        ('{"id": 1, "method": "chain_getBlockHash", "params": {"a": 1}}', -32602),
        ('{"id": 1, "method": "chain_getBlock", "params": [[]]}', -32602),
        ('{"id": 1, "method": "state_getStorageAt", "params": ["zz"]}', -32602),
        ('{"id": 1, "method": "state_getKeysPaged", "params": ["0x", 100000]}', -32602),
        ('{"id": 1, "method": "state_call", "params": ["Core_version", "0x"]}', -32000),
        ('{"id": 1, "method": "author_submitExtrinsic", "params": ["0x00"]}', 1010),
    ],
)
def test_nonsense_is_answered_with_an_error(wire: Wire, frame: str | bytes, code: int) -> None:
    assert wire.ask(frame)["error"]["code"] == code
    assert "result" in wire.call("chain_getHead")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_parameters_of_any_method_are_answered(wire: Wire, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(wire.call("rpc_methods")["result"]["methods"]))
    params = data.draw(st.lists(json_values | st.binary(max_size=40).map(bytes.hex), max_size=4))
    answer = wire.call(method, *params)
    assert answer["id"] == 7 and ("result" in answer) != ("error" in answer)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_refused_as_an_extrinsic(wire: Wire, raw: bytes) -> None:
    assert wire.call("author_submitExtrinsic", "0x" + raw.hex())["error"]["code"] == 1010


def test_subscriptions_of_a_connection_are_bounded(wire: Wire) -> None:
    for _ in range(200):
        last = wire.call("chain_subscribeNewHeads")
    assert "Too many" in last["error"]["message"]


def test_a_watched_extrinsic_takes_no_room_once_its_fate_is_told(wire: Wire, chain: Chain) -> None:
    alice = Keypair.create_from_uri("//Alice")
    heard = []
    for nonce in range(2 * SUBSCRIPTIONS_MAX):
        call = chain.metadata.codec.compose_call(
            "Balances", "transfer_keep_alive", {"dest": alice.ss58_address, "value": 1}
        )
        signed = sign_extrinsic(chain.metadata, chain.genesis_hash, alice, bytes(call), nonce=nonce)
        wire.call("author_submitAndWatchExtrinsic", "0x" + signed.hex())
        chain.produce(chain.head.timestamp_ms + 1)
        heard += [answer["params"]["result"] for answer in wire.answers if "params" in answer]
    assert sum("finalized" in status for status in heard) == 2 * SUBSCRIPTIONS_MAX


def test_a_closed_session_hears_no_more(wire: Wire, chain: Chain) -> None:
    wire.call("chain_subscribeNewHeads")
    chain.produce(chain.head.timestamp_ms + 1)
    assert wire.answers[-1]["params"]["result"]["number"] == "0x1"
    wire.rpc.disconnect(wire.session)
    wire.answers.clear()
    chain.produce(chain.head.timestamp_ms + 1)
    assert wire.answers == []


def test_an_answer_is_kept_for_its_own_block_only(wire: Wire, chain: Chain) -> None:
    question = ("SubnetRegistrationRuntimeApi_get_network_registration_cost", "0x")
    first = chain.head.hash
    before = [wire.call("state_call", *question)["result"] for _ in range(2)]
    chain.state.put("SubtensorModule.NetworkMinLockCost", 7)
    chain.produce(chain.head.timestamp_ms + 1)
    after = wire.call("state_call", *question)["result"]
    assert before[0] == before[1] != after
    assert wire.call("state_call", *question, first)["result"] == before[0]
