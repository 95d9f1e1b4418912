"""The devnet's rules, through the SDK in one process: no socket, no clock."""

from typing import Any

import bittensor as bt
import bittensor_core
import pytest
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.devnet.chain import Chain
from subnet.devnet.extrinsics import InvalidTransactionError
from subnet.devnet.inprocess import DevnetSubstrate

TAO = 10**9


class DevWallet:
    def __init__(self, name: str, hotkey: str = "hot") -> None:
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(f"//{name}")
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"//{name}//{hotkey}")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


ALICE, BOB, DAVE = DevWallet("Alice"), DevWallet("Bob"), DevWallet("Dave")


async def send(client: bt.Client, call: Any, wallet: DevWallet, signer: str = "coldkey") -> Any:
    return await client.submit_call(call, wallet, signer=signer)


async def open_subnet(client: bt.Client) -> int:
    result = await client.execute(bt.RegisterSubnet(hotkey_ss58=ALICE.hot), ALICE)
    assert result.success, result.message
    return int(result.data["netuid"])


async def register(client: bt.Client, netuid: int, wallet: DevWallet) -> Any:
    call = calls.SubtensorModule.burned_register(netuid=netuid, hotkey=wallet.hot)
    return await send(client, call, wallet)


def issuance(chain: Chain) -> int:
    return int(chain.state.get("Balances.TotalIssuance"))


def accounted(chain: Chain) -> int:
    free = sum(info["data"]["free"] for _, info in chain.state.entries("System.Account"))
    return int(free + chain.state.get("SubtensorModule.TotalStake"))


async def test_a_full_subnet_evicts_the_weakest_that_is_not_immune(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    netuid = await open_subnet(client)
    wallets = [DevWallet("Bob", f"hot{index}") for index in range(4)]
    assert (await register(client, netuid, wallets[0])).success
    assert (await register(client, netuid, wallets[1])).success
    assert (await register(client, netuid, wallets[2])).error.name == "NoNeuronIdAvailable"
    substrate.advance(6)
    assert (await register(client, netuid, wallets[2])).success
    graph = await client.subnets.metagraph(netuid)
    assert graph.hotkeys == [ALICE.hot, wallets[2].hot, wallets[1].hot]
    assert await client.neurons.uid(wallets[0].hot, netuid) is None
    assert graph.neuron(1).block_at_registration == chain.head.number


async def test_each_registration_raises_the_price_and_time_lowers_it(
    client: bt.Client, substrate: DevnetSubstrate
) -> None:
    netuid = await open_subnet(client)
    first = (await client.subnets.burn(netuid)).rao
    await register(client, netuid, BOB)
    raised = (await client.subnets.burn(netuid)).rao
    substrate.advance(30)
    later = (await client.subnets.burn(netuid)).rao
    assert raised == pytest.approx(first * 1.26, rel=1e-2)
    assert later == pytest.approx(raised * 0.5 ** (30 / 360), rel=1e-4)


async def test_tao_is_neither_made_nor_lost(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    assert accounted(chain) == issuance(chain)
    netuid = await open_subnet(client)
    await register(client, netuid, BOB)
    stake = calls.SubtensorModule.add_stake(BOB.hot, netuid, 20 * TAO)
    assert (await send(client, stake, BOB)).success
    unstake = calls.SubtensorModule.remove_stake(BOB.hot, netuid, 5 * TAO)
    assert (await send(client, unstake, BOB)).success
    held = (await client.staking.get(BOB.cold, BOB.hot, netuid)).rao
    assert held == 15 * TAO
    assert accounted(chain) == issuance(chain)


async def test_a_failed_call_costs_its_fee_and_changes_nothing_else(
    client: bt.Client, chain: Chain
) -> None:
    netuid = await open_subnet(client)
    before = dict(chain.state.entries("SubtensorModule.TotalHotkeyAlpha"))
    free = (await client.balances.get(BOB.cold)).rao
    unknown = calls.SubtensorModule.add_stake(DAVE.hot, netuid, TAO)
    result = await send(client, unknown, BOB)
    assert result.error.name == "HotKeyAccountNotExists"
    assert dict(chain.state.entries("SubtensorModule.TotalHotkeyAlpha")) == before
    assert 0 < free - (await client.balances.get(BOB.cold)).rao < TAO // 1000
    again = await send(client, calls.SubtensorModule.add_stake(ALICE.hot, netuid, TAO), BOB)
    assert again.success


async def test_emission_is_shared_by_stake_after_the_validators_take(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    netuid = await open_subnet(client)
    await register(client, netuid, BOB)
    await send(client, calls.SubtensorModule.add_stake(BOB.hot, netuid, 30 * TAO), BOB)
    await send(client, calls.SubtensorModule.add_stake(BOB.hot, netuid, 10 * TAO), DAVE)
    substrate.advance(5)
    weights = calls.SubtensorModule.set_mechanism_weights(netuid, 0, [0], [1], 0)
    assert (await send(client, weights, BOB, "hotkey")).success
    before = [(await client.staking.get(w.cold, BOB.hot, netuid)).rao for w in (BOB, DAVE)]
    epoch = chain.state.get("SubtensorModule.SubnetEpochIndex", netuid)
    while chain.state.get("SubtensorModule.SubnetEpochIndex", netuid) == epoch:
        substrate.advance()
    after = [(await client.staking.get(w.cold, BOB.hot, netuid)).rao for w in (BOB, DAVE)]
    paid = chain.state.get("SubtensorModule.AlphaDividendsPerSubnet", netuid, BOB.hot)
    gains = [new - old for new, old in zip(after, before, strict=True)]
    take = paid * 11_796 // 65_535
    assert sum(gains) == paid > 0
    share = before[1] / sum(before)
    assert gains[1] == pytest.approx((paid - take) * share, abs=2)


async def test_the_owners_incentive_is_burned(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    netuid = await open_subnet(client)
    await register(client, netuid, BOB)
    await send(client, calls.SubtensorModule.add_stake(BOB.hot, netuid, 30 * TAO), BOB)
    substrate.advance(5)
    await send(
        client,
        calls.SubtensorModule.set_mechanism_weights(netuid, 0, [0], [1], 0),
        BOB,
        "hotkey",
    )
    substrate.advance(5)
    owner = (await client.subnets.metagraph(netuid)).by_hotkey(ALICE.hot)
    assert owner.incentive == 1.0 and owner.emission.rao > 0
    minted = chain.head.number - chain.state.get("SubtensorModule.NetworkRegisteredAt", netuid)
    assert owner.alpha_stake.rao <= minted * TAO * 11_796 // 65_535


async def test_a_signature_dies_with_its_era(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    call = calls.Balances.transfer_keep_alive(dest=BOB.cold, value=TAO)
    unsigned = await client.prepare_call(call, address=ALICE.cold, period=8)
    signature = ALICE.coldkey.sign(unsigned.payload)
    substrate.advance(9)
    late = await client.submit_signature(unsigned, signature)
    assert (late.success, late.error.name) == (False, "BadProof")


async def test_an_early_nonce_waits_for_the_one_before_it(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    sealed = [
        await substrate.sign_extrinsic(
            await client.compose(calls.Balances.transfer_keep_alive(dest=BOB.cold, value=TAO)),
            ALICE.coldkey,
            nonce=nonce,
            period=64,
        )
        for nonce in (0, 1)
    ]
    told: list[Any] = []
    chain.submit(sealed[1][0], told.append)
    substrate.advance()
    assert told == ["future"]
    chain.submit(sealed[0][0])
    with pytest.raises(InvalidTransactionError):
        chain.submit(sealed[0][0])
    assert chain.next_nonce(ALICE.cold) == 2
    substrate.advance()
    assert told[1:] == [{"inBlock": chain.head.hash}, {"finalized": chain.head.hash}]
    with pytest.raises(InvalidTransactionError):
        chain.submit(sealed[0][0])


async def test_an_altered_sealed_extrinsic_is_not_included(
    client: bt.Client, substrate: DevnetSubstrate, chain: Chain
) -> None:
    inner = await client.compose(calls.Balances.transfer_keep_alive(dest=BOB.cold, value=TAO))
    signed, inner_hash = await substrate.sign_extrinsic(inner, ALICE.coldkey, nonce=1, period=8)
    blob = bytearray(
        bittensor_core.encrypt_mlkem768(
            await substrate.mev_next_key(), signed, include_key_hash=True
        )
    )
    blob[-20] ^= 1
    carrier = await client.compose(calls.MevShield.submit_encrypted(ciphertext=bytes(blob)))
    result = await substrate.submit(carrier, ALICE.coldkey, nonce=0)
    assert result.success
    assert await substrate.find_extrinsic(inner_hash, result.block_hash) is None
    assert chain.next_nonce(ALICE.cold) == 1
    unknown = await client.compose(
        calls.MevShield.submit_encrypted(ciphertext=bytes(16) + bytes(blob[16:]))
    )
    refused = await substrate.submit(unknown, ALICE.coldkey, nonce=1)
    assert refused.error.name == "InvalidShieldedTxPubKeyHash"
