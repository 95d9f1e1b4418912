"""request -> ENGINE'S PROCESS -> tokens: `ports.Engine` over a vLLM engine in a child process.

All tokens of a step arrive in one frame, and every reader gets its share at once. The child dies
with this process; its own death ends every stream and `failed`.
"""

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

from protocol.inference import Environment, FinishReason
from protocol.release import Release
from subnet.config import ConfigError
from subnet.edge.engine_wire import (
    FROM_ENGINE,
    Abort,
    Ask,
    Dead,
    Emitted,
    FrameBuffer,
    FromEngine,
    Refused,
    Start,
    Started,
    Unsupported,
    Unusable,
    frame,
)
from subnet.edge.tether import tethered
from subnet.edge.vllm_runtime import runtime_name
from subnet.ports import EngineDelta, EngineError, EngineRequest, UnsupportedRequestError

STOP_SECONDS_MAX: Final = 30.0
LAST_WORDS_SECONDS_MAX: Final = 1.0
RECEIVE_BYTES: Final = 1 << 16
_FINISH: Final[dict[int, FinishReason]] = {0: "stop", 1: "length"}
"""vllm.v1.engine.FinishReason; every other value is the engine's own trouble."""


class VllmEngine:
    """One engine, one release. Used by one event loop; closed after it."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        concurrent_requests_max: int,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model; blocks for seconds to minutes.

        `arguments` are vLLM engine arguments (`engine_args.parse_engine_arguments`).
        Raises ConfigError for impossible arguments, EngineError when vLLM does not start.
        """
        if release.runtime != runtime_name():
            raise ConfigError(
                f"the release pins runtime {release.runtime}, this machine has {runtime_name()}; "
                "choose with --runtime or install the other lock"
            )
        self._release = release
        self._concurrent_requests_max = concurrent_requests_max
        self._buffer = FrameBuffer()
        self._numbers = itertools.count()
        self._streams: dict[int, _Stream] = {}
        self._watchers: list[asyncio.Future[None]] = []
        self._death: EngineError | None = None
        self._transport: asyncio.Transport | None = None
        self._connecting = asyncio.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start_process(theirs)
        try:
            self._environment = self._load(
                Start(
                    release.to_bytes(), str(folder), concurrent_requests_max, dict(arguments or {})
                )
            )
        except BaseException:
            self.close()
            raise

    @property
    def release(self) -> Release:
        """What this engine serves."""
        return self._release

    @property
    def environment(self) -> Environment:
        """The numerics' fingerprint."""
        return self._environment

    @property
    def concurrent_requests_max(self) -> int:
        """Requests that run at the same time; more would queue inside the engine."""
        return self._concurrent_requests_max

    @property
    def process_id(self) -> int:
        """Of the engine's process."""
        return self._process.pid

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """Stream one answer; tokens that wait for the reader arrive as one delta.

        Closing the iterator aborts the request. Raises EngineError, UnsupportedRequestError.
        """
        transport = await self._connect()
        number = next(self._numbers)
        stream = self._streams[number] = _Stream()
        transport.write(
            frame(
                Ask(
                    number,
                    list(request.prompt_token_ids),
                    request.temperature_milli,
                    request.top_p_milli,
                    request.top_k,
                    request.tokens_max,
                    request.seed,
                    None if request.structure is None else request.structure.to_bytes(),
                )
            )
        )
        try:
            while True:
                delta = await stream.take()
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            del self._streams[number]
            if not stream.is_finished and self._death is None:
                transport.write(frame(Abort(number)))

    async def failed(self) -> None:
        """Return only by raising EngineError, when the engine has died."""
        await self._connect()
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        try:
            await watcher
        finally:
            self._watchers.remove(watcher)

    def close(self) -> None:
        """End the engine's process; whoever still waits for it gets an EngineError."""
        self._die(EngineError("the engine was stopped"))
        with contextlib.suppress(OSError):  # The other end may be gone already.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._transport is None:
            # Still loading, and deaf until it has loaded; or never used.
            self._process.kill()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _load(self, start: Start) -> Environment:
        self._socket.sendall(frame(start))
        while data := self._socket.recv(RECEIVE_BYTES):
            for body in self._buffer.feed(data):
                message = FROM_ENGINE.decode(body)
                if isinstance(message, Started):
                    return Environment.model_validate_json(message.environment)
                if isinstance(message, Unusable):
                    raise ConfigError(message.detail)
                assert isinstance(message, Dead), "nothing else comes before the engine started"
                raise EngineError(f"vLLM did not start: {message.detail}")
        raise EngineError(f"vLLM did not start: {self._last_words()}")

    async def _connect(self) -> asyncio.Transport:
        """The open connection. Raises EngineError after the engine's death."""
        async with self._connecting:
            if self._transport is None and self._death is None:
                end = self._socket.dup()
                loop = asyncio.get_running_loop()
                self._transport, _ = await loop.create_unix_connection(
                    lambda: _Link(self), sock=end
                )
        if self._death is not None:
            raise self._death
        assert self._transport is not None
        return self._transport

    def receive(self, data: bytes) -> None:
        """Take what the engine's process sent."""
        for body in self._buffer.feed(data):
            self._take(FROM_ENGINE.decode(body))

    def lose(self) -> None:
        """The engine's process closed its end."""
        if self._death is None:
            self._die(EngineError(f"the engine died: {self._last_words()}"))

    def _take(self, message: FromEngine) -> None:
        if isinstance(message, Emitted):
            for number, token_ids, logprobs, finish in message.answers:
                stream = self._streams.get(number)
                if stream is not None:
                    stream.push(token_ids, logprobs, finish)
        elif isinstance(message, Refused):
            stream = self._streams.get(message.number)
            if stream is not None:
                stream.fail(EngineError(f"the engine refused the request: {message.detail}"))
        elif isinstance(message, Unsupported):
            stream = self._streams.get(message.number)
            if stream is not None:
                stream.fail(UnsupportedRequestError(message.detail))
        else:
            assert isinstance(message, Dead), "the engine starts once"
            self._die(EngineError(f"the engine died: {message.detail}"))

    def _die(self, error: EngineError) -> None:
        if self._death is not None:
            return
        self._death = error
        for stream in self._streams.values():
            stream.fail(error)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_exception(error)

    def _last_words(self) -> str:
        try:
            code = self._process.wait(LAST_WORDS_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return "its process closed the connection"
        return f"its process ended with code {code}"


class _Link(asyncio.Protocol):
    """The event loop's side of the socket."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine

    def data_received(self, data: bytes) -> None:
        self._engine.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.lose()


class _Stream:
    """Tokens between the engine and one reader."""

    __slots__ = ("_error", "_finish", "_logprobs", "_token_ids", "_waiter")

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._finish: FinishReason | None = None
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the engine is done with this request."""
        return self._finish is not None or self._error is not None

    def push(self, token_ids: list[int], logprobs: list[float], finish: int | None) -> None:
        """Append what one step emitted."""
        self._token_ids += token_ids
        self._logprobs += logprobs
        if finish is not None:
            if finish in _FINISH:
                self._finish = _FINISH[finish]
            else:
                self.fail(EngineError("the engine gave up on the request"))
        self._wake()

    def fail(self, error: EngineError) -> None:
        """End the stream by an error, after the tokens that came before."""
        self._error = error
        self._wake()

    async def take(self) -> EngineDelta:
        """All tokens that wait; waits for at least one. Raises EngineError."""
        while not self._token_ids and self._finish is None:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        delta = EngineDelta(tuple(self._token_ids), tuple(self._logprobs), self._finish)
        self._token_ids = []
        self._logprobs = []
        return delta

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _start_process(end: socket.socket) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "subnet.edge.vllm_process", str(end.fileno())]
    return subprocess.Popen(tethered(command), stdin=subprocess.DEVNULL, pass_fds=(end.fileno(),))
