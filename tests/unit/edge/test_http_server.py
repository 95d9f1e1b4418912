"""Readers that are too slow cost a server neither time, nor memory, nor a connection."""

import asyncio

from subnet.edge.http_server import until_reader_leaves
from tests.http_support import idle_reader, serving


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

    async with asyncio.timeout(20), serving(floods, 1) as port, idle_reader(port):
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
