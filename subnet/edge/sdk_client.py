"""Connections of the unmodified bittensor SDK that open to the named network alone and end for
certain.

The SDK's own `close` cancels its reader once and then waits for it. Before Python 3.12,
`asyncio.wait_for` drops a cancellation that comes in the same instant as its result
(cpython issue 86296), and a node sends a frame every block: then `close` never returns.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import bittensor as bt
from bittensor._transport.errors import SubstrateRequestException

CLOSE_SECONDS: Final = 1.0
"""After so long without an end the cancellation is taken for lost, and sent again."""

_log = logging.getLogger(__name__)


def sdk_client(network: str) -> bt.Client:
    """A client that is not connected yet; a URL is its only endpoint, a name has the SDK's own."""
    only: list[str] | None = [] if "://" in network else None
    return bt.Client(network, fallback_endpoints=only, archive_endpoints=only)


@asynccontextmanager
async def connected(client: bt.Client) -> AsyncIterator[bt.Client]:
    """The client, open for as long as the block lasts. Raises what its `connect` raises."""
    try:
        await client.connect()
        yield client
    finally:
        await close_client(client)


async def close_client(client: Any) -> None:
    """Close it, however often that takes. A connection that failed meanwhile is closed as well."""
    closing = asyncio.ensure_future(client.close())
    while not (await asyncio.wait({closing}, timeout=CLOSE_SECONDS))[0]:
        closing.cancel()
    if closing.cancelled():
        return
    error = closing.exception()
    if isinstance(error, (bt.BittensorError, SubstrateRequestException, OSError, TimeoutError)):
        _log.debug("closing the chain connection failed: %s", error)
    elif error is not None:
        raise error
