"""A Python command run many times: each run is a fork of a process that has imported it.

Everything but the imports is a run's own: arguments, output, threads, and an end by itself. As a
script this is that process: `forking.py MODULE` reads requests and tells starts and ends as lines.
"""

import asyncio
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self


class Run(NamedTuple):
    """One run: its process, its exit code once it has ended, and its output."""

    pid: int
    code: asyncio.Future[int]
    out: Path
    err: Path


class Commands:
    """Runs `MODULE.main()` with the arguments given, in one environment. Used in one event loop."""

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str]) -> None:
        """`folder` takes the runs' output."""
        self._module, self._folder = module, folder
        self._environment = {**environment, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._numbers = count()
        self._pids: dict[int, asyncio.Future[int]] = {}
        self._codes: dict[int, asyncio.Future[int]] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, self._module),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        assert await self._server.wait() == 0
        await self._listener

    async def start(self, *arguments: object) -> Run:
        """One run, under way."""
        number = next(self._numbers)
        out, err = (self._folder / f"run-{number}.{name}" for name in ("out", "err"))
        loop = asyncio.get_running_loop()
        pid = self._pids[number] = loop.create_future()
        code = self._codes[number] = loop.create_future()
        request = [number, [str(one) for one in arguments], str(out), str(err)]
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        return Run(await pid, code, out, err)

    async def run(self, *arguments: object, timeout_seconds: float) -> tuple[int, str, str]:
        """Exit code, output and errors. Raises TimeoutError after killing what does not end."""
        run = await self.start(*arguments)
        try:
            async with asyncio.timeout(timeout_seconds):
                code = await asyncio.shield(run.code)
        except TimeoutError:
            os.kill(run.pid, signal.SIGKILL)
            raise
        return code, run.out.read_text(), run.err.read_text()

    async def _listen(self) -> None:
        assert self._server.stdout is not None
        async for line in self._server.stdout:
            word, number, value = json.loads(line)
            {"started": self._pids, "ended": self._codes}[word][number].set_result(value)


def serve() -> list[str]:
    """In the server: fork for each request until there are none. In a fork: its arguments."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    waiting = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            reap(running)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                sys.exit(0)
            *lines, waiting = (waiting + data).split(b"\n")
            for number, arguments, out, err in map(json.loads, lines):
                pid = os.fork()
                if pid == 0:
                    become(out, err, wake, woken)
                    return arguments
                running[pid] = number
                tell("started", number, pid)


def reap(running: dict[int, int]) -> None:
    """Tell how runs ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        tell("ended", running.pop(pid), os.waitstatus_to_exitcode(status))


def tell(*message: Any) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def become(out: str, err: str, *pipe: int) -> None:
    """Leave the server's signals and files behind."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in pipe:
        os.close(end)
    for number, path in enumerate((os.devnull, out, err)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    program = importlib.import_module(sys.argv[1])
    sys.argv[1:] = serve()
    sys.exit(program.main())
