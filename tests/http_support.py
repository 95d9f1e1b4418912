"""An HTTP server for tests, and readers that are bad for it."""

import asyncio
import socket
from contextlib import asynccontextmanager

from subnet.edge.http_limits import HttpLimits
from subnet.edge.http_server import bind_socket, serve_http


@asynccontextmanager
async def serving(app, connections_per_address_max: int = 16):
    """The port of a server of this application."""
    bound = bind_socket("127.0.0.1", 0)
    bound.listen()
    limits = HttpLimits(64, connections_per_address_max, 10.0)
    task = asyncio.create_task(
        serve_http(app, bound, limits, keep_alive_seconds=5, stop_grace_seconds=1)
    )
    try:
        yield bound.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def idle_reader(port: int, path: str = "/"):
    """A connection with an open request and the smallest buffer, of which nobody reads."""
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, ("127.0.0.1", port))
        await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        yield reader
