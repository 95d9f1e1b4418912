"""The pool's guards: what they refuse never reaches a block, nor costs anything."""

import bittensor as bt
import pytest
from bittensor import calls
from bittensor._generated.errors import ERRORS
from bittensor.sp_core import Keypair

from subnet.devnet.chain import Chain
from subnet.devnet.extrinsics import InvalidTransactionError
from subnet.devnet.guards import CODES
from subnet.devnet.inprocess import DevnetSubstrate

ALICE = Keypair.create_from_uri("//Alice")


class Owner:
    coldkey = coldkeypub = ALICE
    hotkey = hotkeypub = Keypair.create_from_uri("//Alice//hot")


def test_every_guarded_error_is_one_of_the_chains() -> None:
    names = {info.name for info in ERRORS.values()}
    assert set(CODES) <= names


async def test_a_guarded_refusal_costs_no_fee_and_enters_no_block(
    client: bt.Client, chain: Chain
) -> None:
    await client.execute(bt.RegisterSubnet(hotkey_ss58=Owner.hotkey.ss58_address), Owner)
    before = await client.query(("System", "Account"), [ALICE.ss58_address])
    call = calls.SubtensorModule.serve_axon(1, 1, 0, 8091, 4, 4, 0, 0)
    refused = await client.submit_call(call, Owner)
    assert refused.error.name == "HotKeyNotRegisteredInNetwork"
    assert refused.block_hash is None
    assert await client.query(("System", "Account"), [ALICE.ss58_address]) == before


async def test_what_became_unlawful_in_the_pool_is_left_out_of_the_block(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    await client.execute(bt.RegisterSubnet(hotkey_ss58=Owner.hotkey.ss58_address), Owner)
    chain.state.put("SubtensorModule.ServingRateLimit", 1, 100)
    call = await client.compose(calls.SubtensorModule.serve_axon(1, 1, 0, 8091, 4, 4, 0, 0))
    signed = [
        await substrate.sign_extrinsic(call, Owner.hotkey, nonce=nonce, period=64)
        for nonce in (0, 1)
    ]
    told: list[object] = []
    for raw, _ in signed:
        chain.submit(raw, told.append)
    block = chain.produce(chain.head.timestamp_ms + 1)
    assert told == ["ready", "ready", "invalid", {"inBlock": block.hash}, {"finalized": block.hash}]
    with pytest.raises(InvalidTransactionError, match="Custom error: 12"):
        chain.submit(signed[1][0])
