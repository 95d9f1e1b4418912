"""Readers that are too slow cost a server neither time, nor memory, nor a connection."""

import asyncio
import socket
from contextlib import asynccontextmanager

from subnet.edge.http_limits import HttpLimits
from subnet.edge.http_server import bind_socket, serve_http, until_reader_leaves


@asynccontextmanager
async def serving(app):
    """The port of a server of this application; an address has one connection."""
    bound = bind_socket("127.0.0.1", 0)
    bound.listen()
    limits = HttpLimits(64, 1, 10.0)
    task = asyncio.create_task(
        serve_http(app, bound, limits, keep_alive_seconds=5, stop_grace_seconds=1)
    )
    try:
        yield bound.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def idle_reader(port: int):
    """A connection with an open request and the smallest buffer, of which nobody reads."""
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, ("127.0.0.1", port))
        await loop.sock_sendall(reader, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        yield reader


async def test_a_reader_that_does_not_read_loses_its_connection():
    """A mere close would wait for the last byte to be read, and keep the connection until then."""
    ended = asyncio.Event()

    async def floods(scope, receive, send):
        async with until_reader_leaves(scope, receive, 0.3):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await asyncio.sleep(0)  # To send to one that left does not wait.
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        ended.set()

    async with asyncio.timeout(20), serving(floods) as port, idle_reader(port):
        await ended.wait()
        async with idle_reader(port) as second:
            answer = await asyncio.get_running_loop().sock_recv(second, 15)
    assert answer == b"HTTP/1.1 200 OK"


async def test_a_reader_that_hangs_up_ends_the_work_for_it():
    started, ended = asyncio.Event(), asyncio.Event()

    async def thinks(scope, receive, send):
        async with until_reader_leaves(scope, receive, None):
            started.set()
            await asyncio.Event().wait()
        ended.set()

    async with asyncio.timeout(20), serving(thinks) as port:
        async with idle_reader(port):
            await started.wait()
        await ended.wait()
