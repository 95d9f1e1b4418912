"""Whatever bytes a client signs, the chain goes on and everything stays readable.

Calls are drawn from the metadata itself, so that a new call is tried by these tests at once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bittensor_core
import pytest
from bittensor.sp_core import Keypair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subnet.devnet import scale
from subnet.devnet.chain import BLOCK_BYTES_MAX, Chain
from subnet.devnet.extrinsics import EXTRINSIC_BYTES_MAX, InvalidTransactionError, decode_call
from subnet.devnet.params import DevnetParams
from subnet.devnet.rpc import BATCH_REQUESTS_MAX, QUERY_BYTES_MAX, Rpc, Session
from subnet.devnet.schema.calls import CALLS
from subnet.devnet.schema.types import PALLETS
from subnet.devnet.signing import sign_extrinsic

ALICE, BOB = (Keypair.create_from_uri(f"//{name}") for name in ("Alice", "Bob"))
KEYS = [bytes(pair.public_key) for pair in (ALICE, BOB)] + [bytes(32), b"\xff" * 32]
NETUID = 1
FEW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def unsigned(width: int) -> st.SearchStrategy[bytes]:
    top = (1 << 8 * width) - 1
    few = st.integers(0, 3) | st.sampled_from([top, top // 2, 10**9]) | st.integers(0, top)
    return few.map(lambda value: min(value, top).to_bytes(width, "little"))


texts = (
    st.binary(max_size=40)
    | st.text(max_size=20).map(str.encode)
    | st.sampled_from([b"0x", b"0xzz", b"0x4", b"0x41", "0x\u0661\u0661".encode()])
)
accounts = st.sampled_from(KEYS)
ARGUMENTS: dict[str, st.SearchStrategy[bytes]] = {
    **{f"u{8 * width}": unsigned(width) for width in (1, 2, 4, 8, 16)},
    "bool": st.sampled_from([b"\x00", b"\x01"]),
    "AccountId": accounts,
    "MultiAddress": accounts.map(lambda key: b"\x00" + key)
    | st.integers(0, 5).map(lambda index: b"\x01" + scale.compact(index))
    | texts.map(lambda raw: b"\x02" + scale.blob(raw))
    | accounts.map(lambda key: b"\x03" + key)
    | accounts.map(lambda key: b"\x04" + key[:20]),
    "Compact<u64>": st.integers(0, (1 << 64) - 1).map(scale.compact),
    "Vec<u8>": texts.map(scale.blob),
    "Vec<u16>": st.lists(unsigned(2), max_size=4).map(scale.vector),
}
anything = st.binary(max_size=64)


@st.composite
def call_bytes(draw: st.DrawFn, depth: int = 2) -> bytes:
    pallet = draw(st.sampled_from(sorted(CALLS)))
    index, (_, fields) = draw(st.sampled_from(list(enumerate(CALLS[pallet].items()))))
    raw = bytes([PALLETS[pallet], index])
    for name, kind in fields.items():
        if kind == "RuntimeCall" and depth:
            raw += draw(call_bytes(depth - 1))
        elif name == "netuid":
            raw += draw(st.sampled_from([NETUID, NETUID, NETUID, 0, 2, 65_535])).to_bytes(
                2, "little"
            )
        else:
            raw += draw(ARGUMENTS.get(kind, anything))
    return raw


class World:
    """A chain with one subnet of Alice's, and its RPC."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.answers: list[Any] = []
        self.rpc = Rpc(chain)
        self.session = Session(self.answers.append)
        self.rpc.connect(self.session)
        hotkey = {"hotkey": str(ALICE.ss58_address)}
        self.send(bytes(self.compose("SubtensorModule", "register_network", hotkey)))

    def compose(self, pallet: str, function: str, arguments: dict[str, Any]) -> bytes:
        return bytes(self.chain.metadata.codec.compose_call(pallet, function, arguments))

    def sign(self, call: bytes, keypair: Keypair = ALICE, **extra: int) -> bytes:
        address = str(keypair.ss58_address)
        extra.setdefault("nonce", self.chain.next_nonce(address))
        return sign_extrinsic(self.chain.metadata, self.chain.genesis_hash, keypair, call, **extra)

    def send(self, call: bytes) -> None:
        self.chain.submit(self.sign(call))
        self.advance()

    def advance(self) -> None:
        self.chain.produce(self.chain.head.timestamp_ms + 1)

    def ask(self, method: str, *params: Any) -> dict[str, Any]:
        self.answers.clear()
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        self.rpc.handle(self.session, json.dumps(request))
        return dict(self.answers[0])

    def assert_readable(self) -> None:
        events = bytes(self.chain.metadata.codec.storage_prefix("System", "Events")).hex()
        netuid = f"0x{NETUID.to_bytes(2, 'little').hex()}"
        for answer in (
            self.ask("state_getStorage", "0x" + events),
            self.ask("state_call", "SubnetInfoRuntimeApi_get_metagraph", netuid),
            self.ask("state_call", "SubnetInfoRuntimeApi_get_subnet_hyperparams_v3", netuid),
            self.ask("state_call", "NeuronInfoRuntimeApi_get_neurons", netuid),
        ):
            assert "result" in answer, answer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    chain = Chain(tmp_path / "hostile.sqlite", DevnetParams(tempo_blocks=2), 1_700_000_000_000)
    yield World(chain)
    chain.close()


@FEW
@given(call=call_bytes(), as_root=st.booleans())
def test_any_call_that_can_be_signed_leaves_a_chain_that_goes_on(
    world: World, call: bytes, as_root: bool
) -> None:
    if as_root:
        call = bytes([PALLETS["Sudo"], 0]) + call
    number = world.chain.head.number
    try:
        world.chain.submit(world.sign(call))
    except InvalidTransactionError:
        return
    world.advance()
    assert world.chain.head.number == number + 1
    world.assert_readable()


@FEW
@given(
    call=call_bytes() | anything,
    cut=st.integers(0, 200),
    flips=st.lists(st.tuples(st.integers(0, 150), st.integers(1, 255)), max_size=3),
    tip=st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1]),
)
def test_any_damage_to_a_signed_extrinsic_is_refused_or_included_whole(
    world: World, call: bytes, cut: int, flips: list[tuple[int, int]], tip: int
) -> None:
    raw = bytearray(world.sign(call, tip=tip))
    del raw[max(len(raw) - cut, 0) if cut < 20 else len(raw) :]
    for place, mask in flips:
        if place < len(raw):
            raw[place] ^= mask
    answer = world.ask("author_submitExtrinsic", "0x" + raw.hex())
    assert ("result" in answer) or answer["error"]["code"] == 1010, answer
    world.advance()
    world.assert_readable()


@FEW
@given(
    inner=anything | call_bytes(),
    wide=st.sampled_from([0, 1 << 32, 1 << 64, 1 << 500]),
    signed=st.booleans(),
)
def test_whatever_is_inside_a_sealed_carrier_the_block_is_made(
    world: World, inner: bytes, wide: int, signed: bool
) -> None:
    sealed_in = inner
    if signed:
        head = bytes([0x84, 0]) + KEYS[0] + b"\x01" + bytes(64) + b"\x00"
        nonce = world.chain.next_nonce(str(ALICE.ss58_address)) + 1
        sealed_in = scale.blob(head + scale.compact(nonce) + scale.compact(wide) + b"\x00" + inner)
    blob = bittensor_core.encrypt_mlkem768(
        world.chain.shield.public_key, sealed_in, include_key_hash=True
    )
    number = world.chain.head.number
    carrier = world.compose("MevShield", "submit_encrypted", {"ciphertext": bytes(blob)})
    world.chain.submit(world.sign(carrier))
    world.advance()
    assert world.chain.head.number == number + 1
    world.assert_readable()


@FEW
@given(item=st.sampled_from(["System.Account", "SubtensorModule.Weights", "x"]), tail=anything)
def test_any_storage_key_is_answered(world: World, item: str, tail: bytes) -> None:
    prefix = b"x" * 32
    if "." in item:
        prefix = bytes(world.chain.metadata.codec.storage_prefix(*item.split(".")))
    key = "0x" + (prefix + tail).hex()
    for answer in (
        world.ask("state_getStorage", key),
        world.ask("state_queryStorageAt", [key]),
        world.ask("state_getKeysPaged", key, 10, key),
    ):
        assert ("result" in answer) or answer["error"]["code"] == -32602, answer


@FEW
@given(data=anything, method=st.data())
def test_any_input_of_any_runtime_api_is_answered(
    world: World, data: bytes, method: st.DataObject
) -> None:
    from subnet.devnet.views import VIEWS

    name = method.draw(st.sampled_from(sorted(VIEWS)))
    answer = world.ask("state_call", name, "0x" + data.hex())
    assert ("result" in answer) != ("error" in answer)


@pytest.mark.parametrize("depth", [60, 250, 30_000])
def test_nested_calls_end_neither_the_decoder_nor_the_dispatcher(world: World, depth: int) -> None:
    transfer = world.compose(
        "Balances", "transfer_keep_alive", {"dest": str(BOB.ss58_address), "value": 1}
    )
    call = bytes([PALLETS["Sudo"], 0]) * depth + transfer
    answer = world.ask("author_submitExtrinsic", "0x" + world.sign(call).hex())
    assert ("result" in answer) or answer["error"]["code"] == 1010
    world.advance()
    world.assert_readable()


def test_the_length_of_a_vector_is_not_believed(world: World) -> None:
    head = bytes([PALLETS["MevShield"], 0])
    for length in (2**30 - 1, 2**32 - 1, 2**64 - 1, 2**100):
        answer = world.ask(
            "author_submitExtrinsic", "0x" + world.sign(head + scale.compact(length)).hex()
        )
        assert answer["error"]["code"] == 1010


def test_a_batch_is_answered_by_one_list_in_its_order(world: World) -> None:
    world.answers.clear()
    requests = [
        {"id": n, "method": m} for n, m in enumerate(("chain_getHead", "no", "chain_getHead"))
    ]
    world.rpc.handle(world.session, json.dumps([*requests, 5]))
    (answers,) = world.answers
    assert [answer["id"] for answer in answers] == [0, 1, 2, None]
    assert ["error" in answer for answer in answers] == [False, True, False, True]


@pytest.mark.parametrize("size", [0, BATCH_REQUESTS_MAX + 1])
def test_an_empty_or_endless_batch_is_refused_whole(world: World, size: int) -> None:
    world.answers.clear()
    world.rpc.handle(world.session, json.dumps([{"id": 1, "method": "chain_getHead"}] * size))
    (answer,) = world.answers
    assert answer["error"]["code"] == -32600


def test_others_have_a_turn_between_two_requests_of_a_batch(world: World) -> None:
    world.answers.clear()
    requests = [
        {"id": 1, "method": "chain_subscribeNewHeads"},
        {"id": 2, "method": "chain_getHead"},
    ]
    steps = world.rpc.steps(world.session, json.dumps(requests))
    next(steps)
    world.advance()
    assert world.answers == []
    list(steps)
    assert isinstance(world.answers[0], list)
    assert [answer["params"]["result"]["number"] for answer in world.answers[1:]] == ["0x1", "0x2"]


def test_one_query_cannot_ask_for_more_than_fits(world: World) -> None:
    transfer = world.compose(
        "Balances", "transfer_keep_alive", {"dest": str(BOB.ss58_address), "value": 1}
    )
    for _ in range(60):
        world.chain.submit(world.sign(transfer))
    world.advance()
    events = "0x" + bytes(world.chain.metadata.codec.storage_prefix("System", "Events")).hex()
    size = len(world.ask("state_getStorage", events)["result"]) // 2 - 1
    count = QUERY_BYTES_MAX // size
    assert "result" in world.ask("state_queryStorageAt", [events] * count)
    answer = world.ask("state_queryStorageAt", [events] * (count + 1))
    assert answer["error"]["message"] == "Response is too big"


def test_one_call_cannot_ask_about_thousands_of_accounts(world: World) -> None:
    name = "StakeInfoRuntimeApi_get_stake_info_for_coldkeys"

    def ask_about(count: int) -> dict[str, Any]:
        return world.ask("state_call", name, "0x" + scale.vector([KEYS[0]] * count).hex())

    assert "result" in ask_about(500)
    assert ask_about(600)["error"]["code"] == -32602


def test_a_block_holds_so_many_bytes_and_no_more(world: World) -> None:
    fields = CALLS["SubtensorModule"]["set_subnet_identity"]
    texts = {name: "x" for name, kind in fields.items() if kind == "Vec<u8>"}
    long = texts | {"netuid": NETUID, "description": "x" * (EXTRINSIC_BYTES_MAX - 400)}
    call = world.compose("SubtensorModule", "set_subnet_identity", long)
    count = BLOCK_BYTES_MAX // EXTRINSIC_BYTES_MAX + 10
    for number in range(count):
        world.chain.submit(world.sign(call, (ALICE, BOB)[number % 2]))
    world.advance()
    first = world.chain.head.extrinsics
    assert sum(len(raw) // 2 for raw in first) <= BLOCK_BYTES_MAX
    world.advance()
    second = world.chain.head.extrinsics
    # Each block begins with its author's own extrinsic.
    assert len(first) + len(second) == count + 2 and len(second) > 1


@pytest.mark.parametrize(
    "raw",
    [b"", b"0x", b"0xzz", b"0x4", b"0x41", "0x\u0661".encode(), b"\xff\xfe", b"plain", b"c3a9"],
)
def test_byte_strings_are_what_the_client_sent(world: World, raw: bytes) -> None:
    call = world.compose("MevShield", "submit_encrypted", {"ciphertext": raw})
    _, _, arguments = decode_call(world.chain.metadata.codec.decode_call(call))
    assert arguments["ciphertext"] == "0x" + raw.hex()
