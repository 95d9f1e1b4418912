"""Child processes of the demo: started with a log each, stopped for certain.

A child gets its own session, so that Ctrl-C reaches the demo alone, which then stops the children
in order; and it dies with the demo (Linux: parent-death signal), so that even a killed demo
leaves nothing behind.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from subnet.edge.tether import tethered

STOP_SECONDS_MAX: Final = 10.0


def rest_while_waiting() -> None:
    """Let torch's threads sleep where they would spin; before torch is loaded.

    Beside other work spinning costs many times the work itself. The operator's choice wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class ChildFailedError(Exception):
    """A child ended although it should have kept running."""


class Children:
    """A set of child processes that all stop when the block ends."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        log_folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_all()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start `command`, its output appended to `<name>.log`."""
        with self.log_path(name).open("ab") as log:
            self._children[name] = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def log_path(self, name: str) -> Path:
        """Where a child's output goes."""
        return self._log_folder / f"{name}.log"

    def exit_code(self, name: str) -> int | None:
        """None while the child runs."""
        return self._children[name].poll()

    def assert_running(self) -> None:
        """Raise ChildFailedError, with the end of its log, if any child has ended."""
        for name, child in self._children.items():
            code = child.poll()
            if code is not None:
                lines = self.log_path(name).read_text(errors="replace").strip().splitlines()
                last = lines[-1] if lines else "no output"
                raise ChildFailedError(
                    f"{name} ended with code {code}: {last} (log: {self.log_path(name)})"
                )

    def stop(self, name: str) -> None:
        """Ask one child to stop, wait a bounded time, then kill it with its whole session."""
        child = self._children.pop(name)
        self._terminate([child])

    def stop_all(self) -> None:
        """Stop every child, newest first, all waiting at the same time."""
        children = list(reversed(self._children.values()))
        self._children.clear()
        self._terminate(children)

    @staticmethod
    def _terminate(children: Sequence[subprocess.Popen[bytes]]) -> None:
        for child in children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            _kill_session(child.pid)


def _kill_session(pid: int) -> None:
    """End what a stopped child left in its session, such as an engine's worker."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
