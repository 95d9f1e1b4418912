"""Sets up a subnet on a fresh devnet exactly as people do on a public chain: through the SDK.

Create wallets, fund them, register a subnet, register the neurons, stake. Each step is an
extrinsic of the unmodified bittensor SDK; nothing reaches around it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bittensor as bt
from bittensor.keyfiles import Keypair

from subnet.edge.sdk_client import connected, sdk_client
from subnet.ports import ChainError

FAUCET_URI: Final = "//Alice"
"""The devnet funds the well-known development keys at genesis."""
OWNER_TAO: Final = 20_000
NEURON_TAO: Final = 2_000
VALIDATOR_STAKE_TAO: Final = 1_000
CONNECT_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True)
class DemoSubnet:
    """What was set up."""

    netuid: int
    validator_hotkey: str
    miner_hotkeys: tuple[str, ...]


class DevKeys:
    """A wallet whose keys are the devnet's well-known faucet."""

    def __init__(self, uri: str) -> None:
        self.coldkey = self.coldkeypub = self.hotkey = Keypair.create_from_uri(uri)


async def set_up_subnet(
    url: str,
    wallet_path: Path,
    miner_names: Sequence[str],
    report: Callable[[str], None],
) -> DemoSubnet:
    """Create the wallets `owner`, `validator` and the miners' under `wallet_path`, and the subnet.

    `report` receives one line a step. Raises ChainError when the chain refuses any of them.
    """
    names = ["owner", "validator", *miner_names]
    wallets = {name: create_wallet(wallet_path, name) for name in names}
    report(f"created {len(wallets)} wallets")
    async with connected(sdk_client(url)) as client:
        faucet = DevKeys(FAUCET_URI)
        for name, wallet in wallets.items():
            amount = OWNER_TAO if name == "owner" else NEURON_TAO
            await _execute(
                client, bt.Transfer(wallet.coldkeypub.ss58_address, bt.tao(amount)), faucet
            )
        report(f"funded them from {FAUCET_URI}")
        result = await _execute(client, bt.RegisterSubnet(), wallets["owner"])
        netuid = int(result.data["netuid"])
        report(f"registered subnet {netuid}")
    await _each(
        url,
        [(bt.BurnedRegister(netuid=netuid), wallets[name]) for name in names if name != "owner"],
    )
    report("registered the validator and the miners (MEV-shielded)")
    validator = wallets["validator"]
    validator_hotkey = validator.hotkeypub.ss58_address
    async with connected(sdk_client(url)) as client:
        stake = bt.AddStake(validator_hotkey, netuid, bt.tao(VALIDATOR_STAKE_TAO))
        await _execute(client, stake, validator)
        left = await client.balances.get(validator.coldkeypub.ss58_address)
        rules = await client.subnets.subnet_hyperparameters(netuid)
        assert rules is not None, "the subnet was registered a moment ago"
    report(f"staked {VALIDATOR_STAKE_TAO} TAO on the validator ({left} left)")
    report(f"the subnet's epoch is {rules['tempo']} blocks; the first one brings the permit")
    hotkeys = tuple(wallets[name].hotkeypub.ss58_address for name in miner_names)
    return DemoSubnet(netuid, validator_hotkey, hotkeys)


def create_wallet(wallet_path: Path, name: str) -> Any:
    """A new wallet with unencrypted keys: right for a chain that lives a minute, only there."""
    wallet = bt.Wallet(name, "default", str(wallet_path))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    return wallet


async def _each(url: str, actions: Sequence[tuple[Any, Any]]) -> None:
    """Run actions of different accounts side by side, a connection each: nonces are per client."""

    async def run(intent: Any, wallet: Any) -> None:
        async with connected(sdk_client(url)) as client:
            await _execute(client, intent, wallet)

    async with asyncio.TaskGroup() as group:
        for intent, wallet in actions:
            group.create_task(run(intent, wallet))


async def _execute(client: Any, intent: Any, wallet: Any) -> Any:
    return await _chain_call(lambda: client.execute(intent, wallet), intent.summary())


async def _chain_call(call: Callable[[], Awaitable[Any]], what: str) -> Any:
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            result = await call()
    except bt.BittensorError as error:
        raise ChainError(f"cannot {what}: {error}") from error
    except TimeoutError as error:
        raise ChainError(f"cannot {what}: no answer within {CONNECT_SECONDS_MAX:.0f} s") from error
    if not result.success:
        raise ChainError(f"cannot {what}: {result.message}")
    return result
