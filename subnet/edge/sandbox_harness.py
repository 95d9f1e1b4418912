"""Runs inside the sandbox, alone: limits itself, defines the function, answers the calls.

Standard library only, and nothing of ours: it is handed to a bare interpreter as one file. Its
input is one line of JSON on stdin; its output the line `ready`, then `<index> <JSON>` for each call
that returned. The code that it runs shares its process and can do whatever it likes to it. What
that code cannot do is raise a limit, or find a right answer: none of them is here.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn


class Sink(io.TextIOBase):
    """Swallows what a function prints."""

    def write(self, text: str, /) -> int:
        """How many characters were swallowed: all."""
        return len(text)


def limit(job: dict[str, Any]) -> None:
    """Hard limits: without capabilities nothing here can raise them again."""
    for what, most in (
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def too_slow(*_: object) -> NoReturn:
    """The alarm of one call."""
    raise TimeoutError


def main() -> None:
    """Answer the calls of the job on stdin."""
    job = json.loads(sys.stdin.readline())
    limit(job)
    results = os.dup(1)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), Sink(), Sink()
    os.write(results, b"ready\n")
    signal.signal(signal.SIGALRM, too_slow)
    names: dict[str, Any] = {"__name__": "answer"}
    # BaseException: whatever foreign code raises, SystemExit too, only fails this call.
    with contextlib.suppress(BaseException):
        signal.setitimer(signal.ITIMER_REAL, job["call_seconds"])
        exec(compile(job["source"], "answer", "exec"), names)  # noqa: S102 -- This is what the sandbox is for.
    for index, call in enumerate(job["calls"]):
        with contextlib.suppress(BaseException):
            signal.setitimer(signal.ITIMER_REAL, job["call_seconds"])
            value = names[job["function"]](*json.loads(call))
            line = f"{index} {json.dumps(value, allow_nan=False)}\n".encode()
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(results, line)


if __name__ == "__main__":
    main()
