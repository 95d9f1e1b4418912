"""`ports.Chain` through the unmodified bittensor SDK: the same code on devnet, test and finney.

One connection a process. Whatever fails below becomes `ChainError` with the chain's own word for
it, inside a stated time; a broken connection is thrown away, so that the next call dials afresh.
Writes go one at a time: the SDK hands out an account's nonces from a cache, which one failed
submission in parallel would leave out of step.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self, TypeVar

import bittensor as bt
from bittensor._transport.errors import SubstrateRequestException

from subnet.config import ChainSettings, ConfigError
from subnet.edge.sdk_client import close_client, sdk_client
from subnet.ports import ChainError, Endpoint, Metagraph, Neuron

COMMITMENT_BYTES_MAX: Final = 128
WRITE_RETRIES: Final = 2
"""Resubmissions after a rejection by the pool that passes by itself, such as a nonce race."""

_WORLD = (
    bt.BittensorError,
    SubstrateRequestException,
    OSError,
    TimeoutError,
    ValueError,
    KeyError,
    TypeError,
)
"""What the SDK raises when the chain fails or answers with something else than it should."""

Result = TypeVar("Result")
Dial = Callable[[], Awaitable[Any]]


class BittensorChain:
    """One subnet, read and written with one hotkey."""

    def __init__(
        self, settings: ChainSettings, wallet: bt.Wallet | None, *, dial: Dial | None = None
    ) -> None:
        """Without a wallet it only reads.

        `dial` returns a connected `bt.Client`; by default one for `settings.network`.
        """
        self._settings = settings
        self._wallet = wallet
        self._dial = dial or self._dial_network
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._writing = asyncio.Lock()

    @classmethod
    async def connect(cls, settings: ChainSettings, wallet: bt.Wallet | None = None) -> Self:
        """A chain that has answered once. Raises ChainError if it does not."""
        chain = cls(settings, wallet)
        await chain.block_number()
        return chain

    async def close(self) -> None:
        """Drop the connection."""
        client, self._client = self._client, None
        if client is not None:
            await close_client(client)

    async def block_number(self) -> int:
        """The best block."""
        return int(await self._call("read the block number", lambda client: client.block()))

    async def block_hash(self, block: int) -> bytes:
        """32 bytes; ask only for blocks that `wait_for_block` has returned.

        The SDK's public way to a hash fetches and decodes the whole block.
        """
        text = await self._call(
            f"read the hash of block {block}", lambda client: client._substrate.block_hash(block)
        )
        if not text:
            raise ChainError(f"{self._settings.network}: block {block} does not exist")
        return bytes.fromhex(str(text).removeprefix("0x"))

    async def metagraph(self) -> Metagraph:
        """The whole subnet at the best block."""
        netuid = self._settings.netuid
        graph = await self._call(
            "read the metagraph",
            lambda client: client.subnets.metagraph(netuid, commitments=False),
        )
        if graph is None:
            raise ChainError(f"{self._settings.network}: subnet {netuid} does not exist")
        return Metagraph(
            netuid=netuid,
            block=graph.block,
            tempo=graph.tempo,
            owner_hotkey=graph.owner_hotkey,
            neurons=tuple(_neuron(row) for row in graph.neurons),
        )

    async def wait_for_block(self, block: int) -> int:
        """The final block's number, once it is at least `block`.

        Gives up when no new block comes for `chain.timeout_seconds`.
        """
        final = await self._final_block()
        while final < block:
            await self._call("wait for the next block", lambda client: client.wait_for_block())
            final = await self._final_block()
        return final

    async def wait_for_epoch(self) -> int:
        """The block of the next epoch, once it has run.

        Gives up after twice the tempo: an epoch may be deferred, but not for ever.
        """
        netuid = self._settings.netuid
        status, block_seconds = await self._call(
            "read the epoch's schedule",
            lambda client: asyncio.gather(
                client.read("epoch_status", netuid=netuid), client.block_time()
            ),
        )
        blocks_max = 2 * (status["tempo"] + 1)
        event = await self._call(
            "wait for the next epoch",
            lambda client: client.wait_for_epoch(netuid),
            timeout_seconds=self._settings.timeout_seconds + blocks_max * block_seconds,
        )
        return int(event.block)

    async def publish_endpoint(self, host: str, port: int) -> bool:
        """Serve this address if the chain holds another; whether anything was sent.

        Raises ConfigError if `host` is no IP address.
        """
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError as error:
            raise ConfigError(f"the chain publishes IP addresses only, not {host!r}") from error
        hotkey: str = self._signing_wallet().hotkey.ss58_address
        row = (await self.metagraph()).neuron(hotkey)
        if row is None:
            raise ChainError(
                f"{self._settings.network}: hotkey {hotkey} is not registered on subnet "
                f"{self._settings.netuid}; register it with `btcli subnets register`"
            )
        if row.endpoint == Endpoint(hotkey, address, port):
            return False
        await self._submit(
            "publish the endpoint", bt.ServeAxon(self._settings.netuid, ip=address, port=port)
        )
        return True

    async def set_weights(self, weights: Mapping[int, int], version_key: int) -> None:
        """Shares by uid; the SDK clips, quantises and chooses plain or timelocked commit."""
        shares = {uid: share for uid, share in weights.items() if share > 0}
        await self._submit(
            "set weights",
            bt.SetWeights(
                netuid=self._settings.netuid,
                uids=list(shares),
                weights=[float(share) for share in shares.values()],
                version_key=version_key,
            ),
        )

    async def commit(self, data: bytes) -> None:
        """Replace this hotkey's commitment on the subnet."""
        assert 0 < len(data) <= COMMITMENT_BYTES_MAX, len(data)

        wallet = self._signing_wallet()
        call = bt.calls.Commitments.set_commitment(
            netuid=self._settings.netuid, info={"fields": [{f"Raw{len(data)}": data}]}
        )
        async with self._writing:
            result = await self._call(
                "commit", lambda client: client.submit_call(call, wallet, signer="hotkey")
            )
            await self._accept("commit", result)

    async def commitment(self, hotkey: str) -> bytes | None:
        """The raw bytes of a hotkey's commitment; None if it has none."""
        record = await self._call(
            "read a commitment",
            lambda client: client.identity.commitment(self._settings.netuid, hotkey),
        )
        return None if record is None else _raw_bytes(record.fields)

    async def weights(self, uid: int) -> dict[int, float]:
        """What the chain holds of one validator's weights, as shares by uid."""
        rows = await self._call(
            "read weights", lambda client: client.weights.weights(self._settings.netuid)
        )
        return dict(rows.get(uid, {}))

    def _signing_wallet(self) -> bt.Wallet:
        assert self._wallet is not None, "this chain was opened for reading"
        return self._wallet

    async def _final_block(self) -> int:
        return int(
            await self._call("read the final block", lambda client: client.finalized_block())
        )

    async def _submit(self, what: str, intent: bt.Intent) -> None:
        wallet = self._signing_wallet()
        async with self._writing:
            result = await self._call(
                what, lambda client: client.execute(intent, wallet, retries=WRITE_RETRIES)
            )
            await self._accept(what, result)

    async def _accept(self, what: str, result: bt.ExtrinsicResult) -> None:
        """Raise ChainError unless the extrinsic succeeded."""
        if result.success:
            return
        await self._drop(self._client)
        error = result.error
        word = f"{error.name}: {error.message}" if error and error.name else result.message
        raise ChainError(f"{self._settings.network}: could not {what}: {word}")

    async def _call(
        self,
        what: str,
        operation: Callable[[Any], Awaitable[Result]],
        *,
        timeout_seconds: float | None = None,
    ) -> Result:
        client = None
        limit = timeout_seconds or self._settings.timeout_seconds
        try:
            async with asyncio.timeout(limit):
                client = await self._connected()
                return await operation(client)
        except _WORLD as error:
            await self._drop(client)
            word = str(error) or f"no answer in {limit:.0f} s"
            raise ChainError(f"{self._settings.network}: could not {what}: {word}") from error

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await self._dial()
            return self._client

    async def _dial_network(self) -> Any:
        client = sdk_client(self._settings.network)
        try:
            return await client.connect()
        except BaseException:
            await close_client(client)
            raise

    async def _drop(self, client: Any) -> None:
        """Forget a connection that failed, unless another call already replaced it."""
        if client is not None and client is self._client:
            self._client = None
            await close_client(client)


def _neuron(row: bt.MetagraphNeuron) -> Neuron:
    return Neuron(
        uid=row.uid,
        hotkey=row.hotkey,
        coldkey=row.coldkey,
        endpoint=_endpoint(row.hotkey, row.axon),
        stake_rao=row.total_stake.rao,
        has_validator_permit=row.validator_permit,
        incentive=row.incentive,
        dividends=row.dividends,
        emission_rao=row.emission.rao,
        last_update_block=row.last_update,
        registered_at_block=row.block_at_registration,
    )


def _endpoint(hotkey: str, axon: str | None) -> Endpoint | None:
    if axon is None:
        return None
    host, _, port = axon.rpartition(":")
    return Endpoint(hotkey, host.strip("[]"), int(port)) if int(port) else None


def _raw_bytes(fields: list[Any]) -> bytes:
    """The concatenated `Raw0` to `Raw128` variants, each `{"RawN": "0x.."}`."""
    variants = [item for entry in fields if isinstance(entry, dict) for item in entry.items()]
    return b"".join(
        bytes.fromhex(value.removeprefix("0x"))
        for variant, value in variants
        if variant.startswith("Raw") and isinstance(value, str)
    )
