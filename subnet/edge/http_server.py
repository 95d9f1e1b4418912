"""application, socket -> HTTP SERVER: uvicorn with bounds, for whoever listens."""

import asyncio
import contextlib
import errno
import functools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

from subnet.config import ConfigError
from subnet.edge.http_limits import ABORT, Connections, HttpLimits, LimitedProtocol

_log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def bind_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one. Raises ConfigError."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"{host} is not an address of this machine") from error
    bound = socket.socket(family, kind, number)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is busy; stop its owner or choose another with --port"
            ) from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


async def serve_http(
    app: Any,
    bound: socket.socket,
    limits: HttpLimits,
    *,
    keep_alive_seconds: float,
    stop_grace_seconds: float,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve an ASGI application until cancelled; running answers then get the grace time.

    `on_stop` is told first, so that the application takes nothing new.
    """
    config = uvicorn.Config(
        app,
        http=functools.partial(  # type: ignore[arg-type]
            LimitedProtocol, limits=limits, open_connections=Connections()
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(keep_alive_seconds),
        timeout_graceful_shutdown=int(stop_grace_seconds) + 1,
    )
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(serving)
    finally:
        if on_stop is not None:
            on_stop()
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def until_reader_leaves(
    scope: Message, receive: Receive, seconds_max: float | None
) -> AsyncIterator[None]:
    """Leave the block when the reader hangs up, or reads so slowly that the time is over.

    A `TimeoutError` of the block's own is such a time too. Whoever is too slow is disconnected.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        limit.reschedule(0)

    try:
        async with asyncio.timeout(seconds_max) as limit:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        _log.info("a caller left before its answer ended")
        scope["extensions"][ABORT]["call"]()
        await asyncio.sleep(0)  # uvicorn then sees that it is gone.


class _QuietServer(uvicorn.Server):
    """Signals belong to the process (`edge.system.run_until_stopped`), not to a server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield
