"""The metadata promises only what the node does, and the codec can write what it promises."""

import bittensor as bt
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.devnet.chain import Chain
from subnet.devnet.metadata import build_metadata
from subnet.devnet.registry import Registry, split_top
from subnet.devnet.runtime import HANDLERS
from subnet.devnet.scale import compact, read_compact
from subnet.devnet.schema.calls import APIS, CALLS
from subnet.devnet.schema.types import NAMED
from subnet.devnet.views import VIEWS

ALICE = str(Keypair.create_from_uri("//Alice").ss58_address)
ARGUMENTS = {
    "AccountId": ALICE,
    "u8": 0,
    "u16": 1,
    "u64": 10**9,
    "Vec<AccountId>": [ALICE],
    "Vec<u16>": [1],
}


class DevWallet:
    coldkey = coldkeypub = Keypair.create_from_uri("//Alice")
    hotkey = hotkeypub = Keypair.create_from_uri("//Alice//hot")


def test_every_promised_call_is_handled_and_no_other() -> None:
    promised = {(pallet, name) for pallet, names in CALLS.items() for name in names}
    elsewhere = {("Timestamp", "set"), ("Sudo", "sudo"), ("MevShield", "submit_encrypted")}
    assert promised == set(HANDLERS) | elsewhere


def test_every_promised_runtime_api_is_served_and_no_other() -> None:
    promised = {f"{api}_{name}" for api, methods in APIS.items() for name in methods}
    assert promised == set(VIEWS) | {"TransactionPaymentApi_query_info"}


async def test_every_runtime_api_answers_in_its_own_type(client: bt.Client, chain: Chain) -> None:
    for opened in (False, True):
        if opened:
            hotkey = str(DevWallet.hotkey.ss58_address)
            await client.submit_call(calls.SubtensorModule.register_network(hotkey), DevWallet)
            stake = calls.SubtensorModule.add_stake(hotkey, 1, 10**9)
            assert (await client.submit_call(stake, DevWallet)).success
        for api, methods in APIS.items():
            for name, method in methods.items():
                if api != "TransactionPaymentApi":
                    arguments = [ARGUMENTS[kind] for kind in method.inputs.values()]
                    await client.runtime((api, name), arguments)
    assert (await client.staking.positions(ALICE))[0].stake.rao == 10**9


def test_the_same_schema_gives_the_same_metadata_and_another_block_time_another() -> None:
    assert build_metadata(250).blob == build_metadata(250).blob
    assert build_metadata(250).spec_version != build_metadata(12_000).spec_version


def test_compact_integers_read_back() -> None:
    for value in (0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, (1 << 64) - 1, 1 << 128):
        encoded = compact(value)
        assert read_compact(encoded + b"\xff", 0) == (value, len(encoded))


def test_a_type_is_registered_once_however_it_is_spelled() -> None:
    registry = Registry(dict(NAMED))
    assert registry.id("Vec<(u16, u64)>") == registry.id("Vec<(u16,u64)>")
    assert split_top("u8,(u16,u32),Vec<(A,B)>") == ["u8", "(u16,u32)", "Vec<(A,B)>"]
