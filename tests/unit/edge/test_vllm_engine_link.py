"""The miner's end of the engine's socket, with a scripted process at the other end."""

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable

import pytest

from subnet.config import ConfigError
from subnet.edge import vllm_engine
from subnet.edge.engine_wire import (
    TO_ENGINE,
    Abort,
    Ask,
    Dead,
    Emitted,
    FrameBuffer,
    Refused,
    Start,
    Started,
    Unusable,
    frame,
)
from subnet.edge.vllm_engine import VllmEngine
from subnet.ports import EngineError, EngineRequest
from tests.miner_support import ENVIRONMENT, RELEASE

STARTED = frame(Started(ENVIRONMENT.to_bytes()))
Script = Callable[[socket.socket, object], None]


class ScriptedProcess:
    """Runs `script` on each message in a thread; stands in for the child's `Popen`."""

    pid = 0

    def __init__(self, end: socket.socket, script: Script) -> None:
        self.heard: list[object] = []
        self._end = end.dup()
        self._script = script
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        buffer = FrameBuffer()
        with self._end:
            while data := self._end.recv(1 << 16):
                for body in buffer.feed(data):
                    message = TO_ENGINE.decode(body)
                    self.heard.append(message)
                    self._script(self._end, message)

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("engine", timeout or 0)
        return 7

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # It may have ended already.
            self._end.shutdown(socket.SHUT_RDWR)


def start(monkeypatch, script: Script) -> tuple[VllmEngine, ScriptedProcess]:
    processes = []

    def start_process(end: socket.socket) -> ScriptedProcess:
        processes.append(ScriptedProcess(end, script))
        return processes[0]

    monkeypatch.setattr(vllm_engine, "runtime_name", lambda: RELEASE.runtime)
    monkeypatch.setattr(vllm_engine, "_start_process", start_process)
    engine = VllmEngine(RELEASE, "/models/tiny", 4, {"block_size": 16})
    return engine, processes[0]


def answers_at_once(end: socket.socket, message: object) -> None:
    """Two tokens in two frames to whoever asks."""
    if isinstance(message, Start):
        end.sendall(STARTED)
    elif isinstance(message, Ask):
        end.sendall(frame(Emitted([(message.number, [message.seed], [-0.5], None)])))
        end.sendall(frame(Emitted([(message.number, [9], [-0.25], 0)])))


def ask(seed: int = 1) -> EngineRequest:
    return EngineRequest("a" * 32, (5, 6, 7), 1000, 950, 50, 8, seed)


async def answer(engine: VllmEngine, request: EngineRequest) -> tuple[list[int], list[float]]:
    token_ids, logprobs = [], []
    async for delta in engine.generate(request):
        token_ids += delta.token_ids
        logprobs += delta.logprobs
    return token_ids, logprobs


async def test_callers_that_come_at_once_share_one_connection_and_get_their_own(monkeypatch):
    engine, process = start(monkeypatch, answers_at_once)
    loop = asyncio.get_running_loop()
    connect, connections = loop.create_unix_connection, []

    async def counted(*arguments, **options):
        connections.append(await connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr(loop, "create_unix_connection", counted)
    watching = asyncio.create_task(engine.failed())
    answers = await asyncio.gather(*(answer(engine, ask(seed)) for seed in range(20)))
    assert answers == [([seed, 9], [-0.5, -0.25]) for seed in range(20)]
    assert len(connections) == 1
    watching.cancel()
    engine.close()
    assert process.heard[0] == Start(RELEASE.to_bytes(), "/models/tiny", 4, {"block_size": 16})


async def test_a_refusal_reaches_its_caller_alone(monkeypatch):
    def refuses_odd_seeds(end: socket.socket, message: object) -> None:
        if isinstance(message, Ask) and message.seed % 2:
            end.sendall(frame(Refused(message.number, "top_k is 65")))
        else:
            answers_at_once(end, message)

    engine, _ = start(monkeypatch, refuses_odd_seeds)
    refused, served = await asyncio.gather(
        answer(engine, ask(1)), answer(engine, ask(2)), return_exceptions=True
    )
    assert isinstance(refused, EngineError) and "top_k is 65" in str(refused)
    assert served == ([2, 9], [-0.5, -0.25])
    engine.close()


async def test_a_caller_that_leaves_is_told_to_the_engine_and_one_that_is_served_is_not(
    monkeypatch,
):
    def answers_half(end: socket.socket, message: object) -> None:
        if isinstance(message, Ask) and message.seed == 3:
            end.sendall(frame(Emitted([(message.number, [3], [-0.5], None)])))
        else:
            answers_at_once(end, message)

    engine, process = start(monkeypatch, answers_half)
    await answer(engine, ask(1))
    stream = engine.generate(ask(3))
    await anext(stream)
    await stream.aclose()
    await answer(engine, ask(2))
    assert [m for m in process.heard if isinstance(m, Abort)] == [Abort(1)]
    engine.close()


async def test_the_last_words_of_a_dying_engine_reach_everybody(monkeypatch):
    def dies(end: socket.socket, message: object) -> None:
        if isinstance(message, Start):
            end.sendall(STARTED)
        else:
            end.sendall(frame(Dead("RuntimeError: out of memory")))
            end.shutdown(socket.SHUT_RDWR)

    engine, _ = start(monkeypatch, dies)
    outcomes = await asyncio.gather(engine.failed(), answer(engine, ask()), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == [
        "the engine died: RuntimeError: out of memory"
    ] * 2
    with pytest.raises(EngineError, match="out of memory"):
        await answer(engine, ask())
    engine.close()


async def test_an_engine_that_vanishes_is_told_with_its_exit_code(monkeypatch):
    def vanishes(end: socket.socket, message: object) -> None:
        if isinstance(message, Start):
            end.sendall(STARTED)
        else:
            end.shutdown(socket.SHUT_RDWR)

    engine, _ = start(monkeypatch, vanishes)
    with pytest.raises(EngineError, match="code 7"):
        await answer(engine, ask())
    engine.close()


@pytest.mark.parametrize(
    ("last", "error", "words"),
    [
        (Unusable("no such engine argument"), ConfigError, "no such engine argument"),
        (Dead("RuntimeError: no memory"), EngineError, "did not start: RuntimeError: no memory"),
        (None, EngineError, "did not start: its process ended with code 7"),
    ],
)
def test_why_an_engine_does_not_start_is_told(monkeypatch, last, error, words):
    def fails(end: socket.socket, message: object) -> None:
        if last is not None:
            end.sendall(frame(last))
        end.shutdown(socket.SHUT_RDWR)

    with pytest.raises(error, match=words):
        start(monkeypatch, fails)
