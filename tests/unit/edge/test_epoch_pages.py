"""Epoch files are heavy: who asks for many, reads slowly or hangs up gets no more of us."""

import asyncio
import random
import threading

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from subnet.edge import epoch_pages
from subnet.edge.epoch_pages import EpochPages
from tests.http_support import idle_reader, serving

CONTENT = random.Random(1).randbytes(20_000_000)
"""More than the sockets' buffers take."""


class Packer:
    """`epoch_pages.packed` that counts, and takes its time when told to."""

    def __init__(self):
        self.blocks = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.running = self.running_max = 0
        self._lock = threading.Lock()

    def __call__(self, reader, block):
        with self._lock:
            self.blocks.append(block)
            self.running += 1
            self.running_max = max(self.running, self.running_max)
        self.may_end.wait(20)
        with self._lock:
            self.running -= 1
        return CONTENT


@pytest.fixture
def packer(monkeypatch):
    made = Packer()
    monkeypatch.setattr(epoch_pages, "packed", made)
    monkeypatch.setattr(epoch_pages, "EPOCH_FILES_AT_ONCE", 1)
    yield made
    made.may_end.set()


def app():
    pages = EpochPages(None)

    async def page(request):
        return pages.page(request.path_params["block"])

    return Starlette(routes=[Route("/{block:int}", page)])


async def get(port: int, block: int) -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{block}") as answer,
    ):
        return answer.status, answer.content_type, await answer.read()


async def until(condition):
    while not condition():  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.01)


async def test_a_file_is_sent_whole(packer):
    async with asyncio.timeout(30), serving(app()) as port:
        assert await get(port, 1) == (200, "application/gzip", CONTENT)


async def test_a_slow_reader_holds_its_slot_until_it_is_dropped_and_no_longer(packer, monkeypatch):
    monkeypatch.setattr(epoch_pages, "WRITE_SECONDS_MAX", 1.0)
    async with asyncio.timeout(30), serving(app()) as port, idle_reader(port, "/1"):
        await until(lambda: packer.blocks)
        second = asyncio.create_task(get(port, 2))
        await asyncio.sleep(0.3)
        assert packer.blocks == [1]
        assert (await second)[::2] == (200, CONTENT)


async def test_who_waits_too_long_is_told_so(packer, monkeypatch):
    monkeypatch.setattr(epoch_pages, "WAIT_SECONDS_MAX", 0.2)
    async with asyncio.timeout(30), serving(app()) as port, idle_reader(port, "/1"):
        await until(lambda: packer.blocks)
        assert (await get(port, 2))[0] == 503
        assert packer.blocks == [1]


async def test_who_hangs_up_in_the_line_is_not_worked_for(packer):
    async with asyncio.timeout(30), serving(app()) as port:
        async with idle_reader(port, "/1"):
            await until(lambda: packer.blocks)
            for block in range(2, 6):
                async with idle_reader(port, f"/{block}"):
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
        assert (await get(port, 9))[0] == 200
        assert packer.blocks == [1, 9]


async def test_a_thread_whose_reader_hung_up_keeps_its_slot_until_it_ends(packer):
    packer.may_end.clear()
    async with asyncio.timeout(30), serving(app()) as port:
        for block in range(5):
            async with idle_reader(port, f"/{block}"):
                await until(lambda: packer.blocks)
        await asyncio.sleep(0.2)
        assert packer.running_max == 1
        packer.may_end.set()
        assert (await get(port, 9))[0] == 200
    assert packer.running_max == 1
