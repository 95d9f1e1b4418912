"""program -> SANDBOX -> outcome: untrusted code under bubblewrap, or not at all.

No network, no capability, no other process, no environment; the interpreter and its standard
library are read-only, one small tmpfs is all that can be written. What comes out is bytes that the
code may have forged, so they are only cut into lines here and compared elsewhere.
"""

import json
import os
import platform
import selectors
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Final

from subnet.config import ConfigError
from subnet.core.benchmark import program as limits
from subnet.core.benchmark.program import Outcome, Program
from subnet.edge.seccomp import MACHINES, filter_program
from subnet.ports import SandboxError

HARNESS: Final = Path(__file__).with_name("sandbox_harness.py")
READY: Final = b"ready"
READ_BYTES: Final = 65_536
SCRATCH: Final = "/tmp"  # noqa: S108 -- Its own, in its own mount namespace.
START_SECONDS: Final = 10.0
"""For the namespaces and the interpreter, on a busy machine; no untrusted code runs in it."""
HOW: Final = "install the Debian package bubblewrap (apt-get install bubblewrap)"
SELF_TEST: Final = Program(
    source="""
import os, socket
def tried(what):
    try:
        what()
    except OSError:
        return "refused"
    return "done"
def probe():
    return [
        tried(os.fork),
        tried(lambda: socket.socket()),
        tried(lambda: open("/written", "w")),
        sorted(set(os.environ) - {"LC_CTYPE", "PWD"}),
        os.listdir("/tmp"),
    ]
""",
    function="probe",
    calls=("[]",),
)
SELF_TEST_RESULT: Final = ["refused", "refused", "refused", ["PYTHONHASHSEED"], []]


class BubblewrapSandbox:
    """Runs programs, one at a time, each in namespaces of its own."""

    def __init__(self, command: str = "bwrap") -> None:
        """Raises ConfigError unless bubblewrap is there, starts, and holds in a self-test."""
        found = shutil.which(command)
        if found is None:
            raise ConfigError(f"tasks whose answers are executed need {command}: {HOW}")
        machine = platform.machine()
        if machine not in MACHINES:
            raise ConfigError(
                f"no system call filter for {machine}: answers are executed on "
                f"{' and '.join(MACHINES)} only; leave code out of draws.families, or lower "
                "draws.tier"
            )
        self._filter = filter_program(machine)
        self._command = [found, *_arguments()]
        try:
            (result,) = self.run(SELF_TEST).results
        except SandboxError as error:
            raise ConfigError(
                f"{found} does not work here ({error}): {HOW}, and let it make user namespaces"
            ) from error
        if result is None or json.loads(result) != SELF_TEST_RESULT:
            raise ConfigError(
                f"{found} does not shut programs in: a self-test found {result}; {HOW}"
            )

    def run(self, program: Program) -> Outcome:
        """What the calls returned. Blocking. Raises SandboxError if it could not be started."""
        read, write = os.pipe()
        try:
            os.write(write, self._filter)
            os.close(write)
            with subprocess.Popen(
                [*self._command, "--seccomp", str(read), *_interpreter()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(read,),
                env={},
                start_new_session=True,
            ) as process:
                try:
                    found = _conversed(process, _job(program))
                finally:
                    process.kill()  # With bwrap goes its process namespace.
        except OSError as error:
            raise SandboxError(f"cannot start bubblewrap: {error}") from error
        finally:
            os.close(read)
        return Outcome(_results(found, len(program.calls)))


def _arguments() -> list[str]:
    """bubblewrap's own, up to the filter."""
    stdlib = sysconfig.get_path("stdlib")
    library = stdlib if sys.base_prefix == "/usr" else f"{sys.base_prefix}/lib"
    arguments = ["--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    arguments += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    # Sets and dictionaries of text then have the same order at every validator.
    arguments += ["--setenv", "PYTHONHASHSEED", "0", "--hostname", "sandbox"]
    for folder in ("/lib", "/lib64", "/usr/lib", "/usr/lib64"):
        arguments += ["--ro-bind-try", folder, folder]
    binary = str(Path(sys.executable).resolve())
    for path in (library, binary):
        arguments += ["--ro-bind", path, path]
    for folder in (f"{stdlib}/site-packages", f"{stdlib}/dist-packages", "/usr/lib/python3"):
        if Path(folder).is_dir():
            arguments += ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]
    arguments += ["--ro-bind", str(HARNESS), "/harness.py", "--dev-bind", "/dev/null", "/dev/null"]
    arguments += ["--size", str(limits.SCRATCH_BYTES_MAX), "--tmpfs", SCRATCH]
    return [*arguments, "--remount-ro", "/", "--chdir", SCRATCH]


def _interpreter() -> list[str]:
    return ["--", str(Path(sys.executable).resolve()), "-s", "-S", "-B", "-P", "/harness.py"]


def _job(program: Program) -> bytes:
    job = {
        "source": program.source,
        "function": program.function,
        "calls": program.calls,
        "cpu_seconds": limits.CPU_SECONDS_MAX,
        "call_seconds": limits.CALL_SECONDS_MAX,
        "memory_bytes": limits.MEMORY_BYTES_MAX,
    }
    return json.dumps(job).encode() + b"\n"


def _conversed(process: "subprocess.Popen[bytes]", job: bytes) -> bytes:
    """All output within the limits. Raises SandboxError if the harness never was ready."""
    assert process.stdin and process.stdout and process.stderr

    found = b""
    deadline = time.monotonic() + START_SECONDS
    is_ready = False
    try:
        process.stdin.write(job)
        process.stdin.close()
    except BrokenPipeError:
        pass  # It died at once: what it said on stderr tells more.
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(found) < limits.OUTPUT_BYTES_MAX and (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            data = os.read(process.stdout.fileno(), READ_BYTES)
            if not data:
                break
            found += data
            if not is_ready and found.startswith(READY + b"\n"):
                is_ready = True
                deadline = time.monotonic() + limits.WALL_SECONDS_MAX
    if not is_ready:
        process.kill()
        said = process.stderr.read(READ_BYTES).decode(errors="replace").strip()
        raise SandboxError(said.splitlines()[-1] if said else "the program did not start in time")
    return found[: limits.OUTPUT_BYTES_MAX]


def _results(found: bytes, calls: int) -> tuple[str | None, ...]:
    """One text a call. A call that is answered twice has no result: which one would be its?"""
    results: list[str | None] = [None] * calls
    seen: set[int] = set()
    *lines, _unfinished = found.split(b"\n")
    for line in lines[1:]:
        number, _, text = line.partition(b" ")
        if not (number.isdigit() and len(number) <= len(str(calls))) or int(number) >= calls:
            continue
        index = int(number)
        results[index] = None if index in seen else text.decode("utf-8", errors="replace")
        seen.add(index)
    return tuple(results)
