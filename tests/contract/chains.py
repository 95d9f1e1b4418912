"""What a contract test has of a chain: clients, accounts with money, and a way to wait for blocks.

A test takes the fixture `chain`, which is one of these per transport, and must not know which.
So it derives its accounts with `wallet`, waits with `wait`, and assumes no block number, netuid,
block time or price. `//Alice` has money and is root, as on a devnet and a localnet.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import bittensor as bt
from bittensor import calls
from bittensor.sp_core import Keypair

from subnet.edge.sdk_client import connected

TAO = 10**9
TEMPO = 10
LOOP_TURNS_PER_BLOCK = 20

T = TypeVar("T")


class Wallet:
    """A coldkey and its hotkey, derived from a secret path."""

    def __init__(self, path: str, hotkey: str = "hot") -> None:
        self.name = path
        self.coldkey = self.coldkeypub = Keypair.create_from_uri(path)
        self.hotkey = self.hotkeypub = Keypair.create_from_uri(f"{path}//{hotkey}")
        self.cold = str(self.coldkey.ss58_address)
        self.hot = str(self.hotkey.ss58_address)


@dataclass(frozen=True)
class ChainUnderTest:
    """`open_client` makes clients that are not connected yet; `make_block` is None where blocks
    come by themselves; `run` sets this run's accounts apart from those of earlier ones."""

    open_client: Callable[[], bt.Client]
    run: str
    timeout_seconds: float
    make_block: Callable[[], None] | None = None

    def connected(self) -> AbstractAsyncContextManager[bt.Client]:
        """A client that is open for as long as the block lasts."""
        return connected(self.open_client())

    @property
    def root(self) -> Wallet:
        """Who has the money, may do everything, and owns the tests' subnets."""
        return Wallet("//Alice", f"assay//{self.run}")

    def wallet(self, name: str) -> Wallet:
        """An account of this run; it has no money until `fund`."""
        return Wallet(f"//Alice//assay//{self.run}//{name}")

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Let blocks come until something has happened."""
        async with asyncio.timeout(self.timeout_seconds):
            task = asyncio.ensure_future(awaitable)
            try:
                while self.make_block and not task.done():
                    # The task reads what the last block brought before it sees another.
                    for _ in range(LOOP_TURNS_PER_BLOCK):
                        await asyncio.sleep(0)
                    self.make_block()
                return await task
            finally:
                task.cancel()

    async def epoch(self, client: bt.Client, netuid: int) -> Any:
        """The subnet's next epoch, once it has run."""
        return await self.wait(client.wait_for_epoch(netuid))


async def send(
    client: bt.Client, call: Any, wallet: Wallet, signer: str = "coldkey"
) -> bt.ExtrinsicResult:
    """Sign and submit a raw call: what comes back is the chain's word alone."""
    return await client.submit_call(call, wallet, signer=signer)


async def must(
    client: bt.Client, call: Any, wallet: Wallet, signer: str = "coldkey"
) -> bt.ExtrinsicResult:
    """`send` that must succeed."""
    result = await send(client, call, wallet, signer)
    assert result.success, (result.message, result.error)
    return result


async def succeed(client: bt.Client, intent: Any, wallet: Wallet) -> bt.ExtrinsicResult:
    """Execute an intent that must succeed."""
    result = await client.execute(intent, wallet)
    if not result.success and result.error and result.error.name == "Stale":
        # The SDK forgets that a shielded call spent two nonces; the retry reads the chain's.
        result = await client.execute(intent, wallet)
    assert result.success, (result.message, result.error)
    return result


async def refused(client: bt.Client, call: Any, wallet: Wallet, signer: str = "coldkey") -> str:
    """The name by which the SDK knows why the chain refused a raw call."""
    result = await send(client, call, wallet, signer)
    assert not result.success
    assert result.error.code is not bt.ErrorCode.UNKNOWN
    return str(result.error.name)


async def fund(
    client: bt.Client, chain: ChainUnderTest, *wallets: Wallet, tao: int = 2_000
) -> None:
    """Give accounts money of root's."""
    for wallet in wallets:
        call = calls.Balances.transfer_keep_alive(dest=wallet.cold, value=tao * TAO)
        await must(client, call, chain.root)


async def sudo(client: bt.Client, chain: ChainUnderTest, call: Any) -> None:
    """Run a call as root; it must succeed."""
    await sudo_call(client, call, chain.root)


async def sudo_call(client: bt.Client, call: Any, root: Wallet) -> None:
    """Run a call through sudo, signed by who is root; it must succeed."""
    result = await must(client, calls.Sudo.sudo(call=await client.compose(call)), root)
    (outcome,) = find(result.events, "Sudo", "Sudid")
    assert "Err" not in str(outcome), outcome


def find(events: list[dict[str, Any]], pallet: str, name: str) -> list[Any]:
    """Attributes of the events of one kind, in order."""
    decoded = [event.get("event", event) for event in events]
    return [
        event["attributes"]
        for event in decoded
        if (event["module_id"], event["event_id"]) == (pallet, name)
    ]


async def new_subnet(client: bt.Client, chain: ChainUnderTest) -> int:
    """A subnet of root's with short epochs, plain weights and no rate limits."""
    result = await succeed(client, bt.RegisterSubnet(hotkey_ss58=chain.root.hot), chain.root)
    netuid = int(result.data["netuid"])
    admin = calls.AdminUtils
    wanted = {
        "tempo": (TEMPO, admin.sudo_set_tempo),
        "commit_reveal_weights_enabled": (False, admin.sudo_set_commit_reveal_weights_enabled),
        "weights_rate_limit": (0, admin.sudo_set_weights_set_rate_limit),
        "serving_rate_limit": (0, admin.sudo_set_serving_rate_limit),
    }
    held = await client.read("subnet_hyperparameters", netuid=netuid)
    for name, (value, setter) in wanted.items():
        if held[name] != value:
            await sudo(client, chain, setter(netuid, value))
    started = await client.query(("SubtensorModule", "FirstEmissionBlockNumber"), [netuid])
    if started is None:
        await must(client, calls.SubtensorModule.start_call(netuid=netuid), chain.root)
    return netuid


async def join(client: bt.Client, netuid: int, *wallets: Wallet) -> None:
    """Register hotkeys on a subnet, each with its own coldkey's money."""
    for wallet in wallets:
        call = calls.SubtensorModule.burned_register(netuid=netuid, hotkey=wallet.hot)
        await must(client, call, wallet)


async def stake(client: bt.Client, netuid: int, wallet: Wallet, tao: int) -> None:
    """Stake a coldkey's TAO behind its hotkey."""
    call = calls.SubtensorModule.add_stake(
        hotkey=wallet.hot, netuid=netuid, amount_staked=tao * TAO
    )
    await must(client, call, wallet)


def weights_call(
    netuid: int, uids: list[int], values: list[int] | None = None, version_key: int = 0
) -> Any:
    """The raw call that sets weights; equal ones where no values are given."""
    return calls.SubtensorModule.set_mechanism_weights(
        netuid=netuid,
        mecid=0,
        dests=uids,
        weights=[1] * len(uids) if values is None else values,
        version_key=version_key,
    )
