"""settings -> CHAIN -> commands that read: connected and closed again, or one clear line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from subnet.cli.exits import UsageError
from subnet.config import ChainSettings
from subnet.edge.bittensor_chain import BittensorChain
from subnet.ports import ChainError


@asynccontextmanager
async def chain_of(settings: ChainSettings, otherwise: str = "") -> AsyncIterator[BittensorChain]:
    """A chain that has answered once; `otherwise` says what does without one.

    Raises UsageError where none answers.
    """
    try:
        chain = await BittensorChain.connect(settings)
    except ChainError as error:
        raise UsageError(f"{error}; --network names another{otherwise}") from error
    try:
        yield chain
    finally:
        await chain.close()
