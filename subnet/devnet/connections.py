"""Websocket clients, none of whom can hold up the others: bounded in number and in what waits.

Requests of one client wait while it does not read its answers. Updates cannot wait, so a client
that lets too many of them lie is closed. Every request is one turn of the event loop.
"""

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from subnet.devnet.rpc import Rpc, Session

FRAME_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 256
OUTBOX_MESSAGES_MAX = 4096
OUTBOX_BYTES_PAUSE = 1 << 20
_CLOSE_SECONDS = 1.0
_TRY_AGAIN_LATER, _POLICY = 1013, 1008


async def listen(rpc: Rpc, host: str, port: int) -> Server:
    """Start to serve; the caller closes the server. Raises OSError when the port is taken."""
    lobby = _Lobby()
    clients = _Clients(rpc, lobby)
    return await serve(
        clients.serve,
        host,
        port,
        max_size=FRAME_BYTES_MAX,
        compression=None,
        close_timeout=_CLOSE_SECONDS,
        create_connection=_counted_by(lobby),
        logger=_quiet_logger(),
    )


class _Lobby:
    """All sockets. When there are too many, the oldest that never asked anything must go."""

    def __init__(self) -> None:
        self._silent: dict[ServerConnection, None] = {}
        self._heard: set[ServerConnection] = set()

    @property
    def overfull(self) -> bool:
        return len(self._silent) + len(self._heard) > CONNECTIONS_MAX

    def enter(self, connection: ServerConnection) -> None:
        if self._silent and len(self._silent) + len(self._heard) >= CONNECTIONS_MAX:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.transport.abort()
        self._silent[connection] = None

    def hear(self, connection: ServerConnection) -> None:
        if self._silent.pop(connection, connection) is None:
            self._heard.add(connection)

    def leave(self, connection: ServerConnection) -> None:
        self._silent.pop(connection, None)
        self._heard.discard(connection)


def _counted_by(lobby: _Lobby) -> type[ServerConnection]:
    class Counted(ServerConnection):
        """Counted from the first packet on: a socket costs as much before its handshake."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            lobby.enter(self)

        def connection_lost(self, exc: Exception | None) -> None:
            lobby.leave(self)
            super().connection_lost(exc)

    return Counted


class _Outbox:
    """Messages on their way to one client."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._sent = asyncio.Event()
        self.overflowed = asyncio.Event()

    def put(self, message: Any) -> None:
        if len(self._messages) >= OUTBOX_MESSAGES_MAX:
            self.overflowed.set()
            return
        text = json.dumps(message, separators=(",", ":"))
        self._messages.append(text)
        self._bytes += len(text)
        self._arrived.set()

    async def room(self) -> None:
        """Wait until most of what is here has been sent."""
        while self._bytes > OUTBOX_BYTES_PAUSE:
            self._sent.clear()
            await self._sent.wait()

    async def send_all(self, connection: ServerConnection) -> None:
        """Send until the connection ends."""
        while True:
            while self._messages:
                text = self._messages.popleft()
                await connection.send(text)
                self._bytes -= len(text)
                self._sent.set()
            self._arrived.clear()
            await self._arrived.wait()


class _Clients:
    """What is done with one open connection."""

    def __init__(self, rpc: Rpc, lobby: _Lobby) -> None:
        self._rpc = rpc
        self._lobby = lobby

    async def serve(self, connection: ServerConnection) -> None:
        if self._lobby.overfull:
            await connection.close(_TRY_AGAIN_LATER, "too many connections")
            return
        outbox = _Outbox()
        session = Session(outbox.put)
        self._rpc.connect(session)
        tasks = [
            asyncio.create_task(self._answer(connection, session, outbox)),
            asyncio.create_task(outbox.send_all(connection)),
            asyncio.create_task(outbox.overflowed.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if outbox.overflowed.is_set():
                await _turn_out(connection)
        finally:
            self._rpc.disconnect(session)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, ConnectionClosed):
                    await task

    async def _answer(
        self, connection: ServerConnection, session: Session, outbox: _Outbox
    ) -> None:
        async for frame in connection:
            self._lobby.hear(connection)
            for _ in self._rpc.steps(session, frame):
                # Frames may be waiting already: let the clock and the others have their turn.
                await asyncio.sleep(0)
                await outbox.room()


async def _turn_out(connection: ServerConnection) -> None:
    """Say why and close; who does not read that either is cut off."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close(_POLICY, "updates are not being read")
    connection.transport.abort()


def _quiet_logger() -> logging.Logger:
    """Without a traceback for everyone who connects and does not speak websocket."""
    logger = logging.getLogger("subnet.devnet.websocket")
    logger.filters = [lambda record: record.msg != "opening handshake failed"]
    return logger
