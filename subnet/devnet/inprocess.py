"""The devnet without a socket: `bt.Client(substrate=DevnetSubstrate(chain))` in one process.

The SDK's own connection is used as it is, with its websocket replaced by a direct call; so all it
encodes, signs and decodes is what it would put on the wire. A block is made as soon as an
extrinsic is submitted, and on `advance`: a test never waits for a clock.
"""

import asyncio
import json
from typing import Any

from bittensor._substrate import RpcSubstrate
from bittensor._transport import SubstrateConnection
from bittensor.settings import SS58_FORMAT

from subnet.devnet.chain import Chain
from subnet.devnet.rpc import Rpc, Session

_ENDPOINT = "ws://in-process"


class DevnetSubstrate(RpcSubstrate):
    """The SDK's `Substrate` over a chain in this process.

    `auto_seal` makes a block for every submission. Block times are exactly one block apart.
    """

    def __init__(self, chain: Chain, *, auto_seal: bool = True) -> None:
        super().__init__(_ENDPOINT)
        self._chain = chain
        self._rpc = Rpc(chain)
        self._auto_seal = auto_seal

    def advance(self, blocks: int = 1) -> None:
        """Make blocks now."""
        for _ in range(blocks):
            self._chain.produce(self._chain.head.timestamp_ms + self._chain.params.block_time_ms)

    def _interface(self, endpoint: str, fallbacks: list[str]) -> SubstrateConnection:
        async def connect(_: str) -> _Wire:
            return _Wire(self._rpc, self.advance if self._auto_seal else None)

        return SubstrateConnection(
            endpoint, ss58_format=SS58_FORMAT, fallback_urls=fallbacks, connect_factory=connect
        )


class _Wire:
    """What the SDK's session takes for a websocket."""

    def __init__(self, rpc: Rpc, seal: Any) -> None:
        self._rpc = rpc
        self._seal = seal
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        self._session = Session(lambda message: self._inbox.put_nowait(json.dumps(message)))
        rpc.connect(self._session)

    async def send(self, message: str) -> None:
        """Answer a request at once; a submission is followed by its block."""
        self._rpc.handle(self._session, message)
        if self._seal is not None and '"author_submit' in message:
            asyncio.get_running_loop().call_soon(self._seal)

    async def recv(self) -> str:
        """The next answer or update."""
        return await self._inbox.get()

    async def close(self) -> None:
        """End the session."""
        self._rpc.disconnect(self._session)
