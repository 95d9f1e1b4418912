"""closed epochs -> FILES: past epochs for whoever replays them, a few at a time.

A busy day's epoch weighs tens of megabytes and takes seconds: it is packed in a thread, and neither
slow readers nor those that hang up make it more than `EPOCH_FILES_AT_ONCE` of them.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from subnet.core import epoch_file
from subnet.edge.http_server import until_reader_leaves
from subnet.edge.state_reader import StateReader

EPOCH_FILES_AT_ONCE: Final = 2
"""One with 70,000 records takes some 2 s and 250 MB to pack, and is 13 MB long."""
WAIT_SECONDS_MAX: Final = 60.0
WRITE_SECONDS_MAX: Final = 60.0
PART_BYTES: Final = 65_536
"""What is written without looking whether the reader keeps up."""
GZIP_LEVEL: Final = 1


class EpochPages:
    """Hands out epoch files."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._slots = asyncio.Semaphore(EPOCH_FILES_AT_ONCE)

    def page(self, block: int) -> Response:
        """The response with one epoch's file, gzipped."""
        return _EpochResponse(self, block)

    async def send(self, block: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for a slot, pack, send; a reader that is slow or gone loses its slot."""
        async with until_reader_leaves(scope, receive, None), self._slot() as has_slot:
            if not has_slot:
                await problem(503, "others read epoch files; come back")(scope, receive, send)
                return
            content = await self._packed(block)
            if content is None:
                missing = problem(404, f"the epoch before {block} is not here any more")
                await missing(scope, receive, send)
                return
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await _send_parts(content, send)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[bool]:
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._slots.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._slots.release()

    async def _packed(self, block: int) -> bytes | None:
        packing = asyncio.create_task(asyncio.to_thread(packed, self._reader, block))
        try:
            return await asyncio.shield(packing)
        except asyncio.CancelledError:
            # A thread cannot be stopped: until it ends, it holds the slot of a reader that left.
            await asyncio.wait({packing})
            raise


class _EpochResponse(Response):
    def __init__(self, pages: EpochPages, block: int) -> None:
        super().__init__()
        self._pages = pages
        self._block = block

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pages.send(self._block, scope, receive, send)


def packed(reader: StateReader, block: int) -> bytes | None:
    """One epoch's file, gzipped; None if it is not there any more."""
    file = reader.epoch_file(block)
    return None if file is None else gzip.compress(epoch_file.to_bytes(file), GZIP_LEVEL, mtime=0)


def problem(status: int, words: str) -> Response:
    """What is wrong, in one sentence."""
    return JSONResponse({"error": words}, status_code=status)


async def _send_parts(content: bytes, send: Send) -> None:
    headers = [
        (b"content-type", b"application/gzip"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(content), PART_BYTES):
        part, more = content[start : start + PART_BYTES], start + PART_BYTES < len(content)
        await send({"type": "http.response.body", "body": part, "more_body": more})
