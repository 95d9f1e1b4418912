"""What untrusted code can do under bubblewrap: answer its calls, and nothing else.

These run the real sandbox; without a working bubblewrap they fail, as a validator would.
"""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from subnet.config import ConfigError
from subnet.core.benchmark import program as limits
from subnet.core.benchmark.program import Program
from subnet.edge import sandbox as module
from subnet.edge.sandbox import BubblewrapSandbox, SandboxError
from subnet.edge.seccomp import BARRED, MACHINES, filter_program

CALLS = ("[1]", "[2]", "[3]")


@pytest.fixture(scope="module")
def sandbox():
    return BubblewrapSandbox()


def results(sandbox, source, calls=CALLS):
    return sandbox.run(Program(source, "f", calls)).results


def test_calls_are_answered_in_order(sandbox):
    assert results(sandbox, "def f(x): return [x, x * x]") == ("[1, 1]", "[2, 4]", "[3, 9]")


@pytest.mark.parametrize(
    "body",
    [
        "return 1 // (x - 2)",
        "return x if x != 2 else exit(0)",
        "return x if x != 2 else f(x)",
        "return x if x != 2 else {1, 2}",
        "return x if x != 2 else float('nan')",
        "return x if x != 2 else 'a' * 10**10",
        "return x if x != 2 else [0] * 10**10",
    ],
)
def test_a_call_that_fails_costs_only_itself(sandbox, body):
    one, two, three = results(sandbox, f"def f(x):\n {body}")
    assert two is None and one is not None and three is not None


def test_a_call_that_never_ends_fails_and_the_next_is_tried(sandbox):
    source = "def f(x):\n n = 0\n while x == 2: n += 1\n return x"
    assert results(sandbox, source) == ("1", None, "3")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "f = 3",
        "def f(x) return x",
        "\ud800",
        "def f(x): return " + "(" * 5000 + ")" * 5000,
        "def f(x): return 'a' * 10**9 * 10**9",
        "raise SystemExit",
        "import os\nos._exit(0)",
        "import os\ndef f(x): os._exit(0)",
        "import os\ndef f(x): os.abort()",
        "import ctypes\ndef f(x): return ctypes.string_at(0)",
        "import os\ndef f(x): os.kill(-1, 9)",
        "import os\ndef f(x): return os.fork()",
        "import threading\ndef f(x): threading.Thread(target=print).start()",
        "import subprocess as s, sys\ndef f(x): return s.call([sys.executable, '-V'])",
        "import socket\ndef f(x): return str(socket.socket())",
        "import socket\ndef f(x): return str(socket.socketpair())",
        "import numpy\ndef f(x): return 1",
        "import aiohttp\ndef f(x): return 1",
        "def f(x): return open('/etc/passwd').read()",
        "def f(x): return open('/proc/self/environ').read()",
        "def f(x): return open('/new', 'w').write('x')",
        "def f(x): return open('/harness.py', 'a').write('x')",
        "def f(x): return open('/dev/new', 'w').write('x')",
        "def f(x): return open('/tmp/a', 'w').write('x' * 2_000_000) and 1",
        "import resource as r\ndef f(x): return r.setrlimit(r.RLIMIT_AS, (2**40, 2**40))",
        "def f(x):\n kept = []\n while True: kept.append(bytearray(2**20))",
        "import os\ndef f(x): return os.memfd_create('a')",
        "import os\ndef f(x): return os.listdir('/home')",
    ],
)
def test_what_is_no_honest_function_gets_no_result(sandbox, source):
    assert results(sandbox, source) == (None, None, None)


def test_nothing_of_this_machine_is_inside(sandbox, monkeypatch):
    monkeypatch.setenv("ASSAY_SECRET", "x")
    source = (
        "import os\n"
        "def f(x): return [sorted(os.environ), os.listdir('/tmp'), os.listdir('/dev'), os.getuid()]"
    )
    inside = results(sandbox, source, ("[1]",))[0]
    assert "SECRET" not in inside
    assert inside.endswith('[], ["null"], 65534]')
    source = "import os\ndef f(x): return sorted(os.listdir('/'))"
    assert "work" not in results(sandbox, source, ("[1]",))[0]


def test_nothing_survives_into_the_next_run(sandbox):
    write = "def f(x): return open('/tmp/kept', 'w').write('x')"
    assert results(sandbox, write, ("[1]",)) == ("1",)
    assert results(sandbox, "import os\ndef f(x): return os.listdir('/tmp')", ("[1]",)) == ("[]",)


def descendants(pid):
    """The processes that a process started, and those that they started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It ended meanwhile.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {one for one, parent in parents.items() if parent == pid}
    return found.union(*(descendants(one) for one in found))


def test_a_program_that_swallows_every_alarm_is_stopped_with_all_that_it_started(sandbox):
    source = (
        "import signal\n"
        "def f(x):\n"
        " signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        " while x > 1: pass\n"
        " return x"
    )
    before = descendants(os.getpid())
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(results, sandbox, source)
        while not running.done():
            seen |= descendants(os.getpid()) - before
            time.sleep(0.1)
        assert running.result() == ("1", None, None)
    assert len(seen) >= 2  # bubblewrap, and what it started.
    deadline = time.monotonic() + 30
    while (alive := [one for one in seen if Path(f"/proc/{one}").exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert not alive


def test_sleep_costs_no_more_than_the_wall_limit(sandbox):
    begun = time.monotonic()
    source = (
        "import signal, time\n"
        "def f(x):\n signal.signal(signal.SIGALRM, signal.SIG_IGN)\n time.sleep(1000)"
    )
    assert results(sandbox, source) == (None, None, None)
    assert time.monotonic() - begun < 10 * limits.WALL_SECONDS_MAX  # Not 1000 s; machines are slow.


def test_a_flood_is_cut_off(sandbox):
    flood = (
        "import os\n"
        "def f(x):\n"
        " while True:\n"
        "  for one in range(3, 16):\n"
        "   try: os.write(one, b'0 1\\n' * 1000)\n"
        "   except OSError: pass"
    )
    assert results(sandbox, flood) == (None, None, None)


def test_a_call_answered_twice_has_no_result(sandbox):
    forged = (
        "import os\n"
        "def f(x):\n"
        " for one in range(3, 16):\n"
        "  try: os.write(one, b'0 7\\n2 7\\n99 7\\n-1 7\\nx\\n\\xff 7\\n')\n"
        "  except OSError: pass\n"
        " return x"
    )
    one, two, three = results(sandbox, forged)
    assert (one, two, three) == (None, "2", None)


def test_what_a_program_prints_is_no_result(sandbox):
    source = "import os\ndef f(x):\n print('0 9')\n os.write(1, b'0 9\\n')\n return x"
    assert results(sandbox, source) == ("1", "2", "3")


def test_sets_have_the_same_order_everywhere(sandbox):
    source = "def f(x): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
    assert len({results(sandbox, source, ("[1]",)) for _ in range(5)}) == 1


def test_no_bubblewrap_no_sandbox():
    with pytest.raises(ConfigError, match="Debian package bubblewrap"):
        BubblewrapSandbox("no-such-bwrap")


def test_a_bubblewrap_that_does_not_start_is_refused(tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match="No permissions to create namespace"):
        BubblewrapSandbox(str(broken))


def test_a_bubblewrap_that_shuts_nothing_in_is_refused(tmp_path):
    # It runs the command after `--` as it is.
    leaky = tmp_path / "bwrap"
    harness = module.HARNESS
    leaky.write_text(
        '#!/bin/bash\nwhile [ "$1" != -- ]; do shift; done; shift\n'
        f'args=("$@"); args[-1]={harness}\nexec "${{args[@]}}"\n'
    )
    leaky.chmod(0o755)
    with pytest.raises(ConfigError, match="does not shut programs in"):
        BubblewrapSandbox(str(leaky))


def test_a_sandbox_that_breaks_later_is_an_error_and_no_outcome(sandbox, monkeypatch):
    monkeypatch.setattr(sandbox, "_command", ["/bin/false"])
    with pytest.raises(SandboxError):
        results(sandbox, "def f(x): return x")
    monkeypatch.setattr(sandbox, "_command", ["/no/such/file"])
    with pytest.raises(SandboxError, match="cannot start"):
        results(sandbox, "def f(x): return x")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_names_every_barred_call_of_a_machine(machine):
    code = filter_program(machine)
    there = [numbers[MACHINES.index(machine)] for numbers in BARRED.values()]
    head = 6 if machine == "x86_64" else 4
    assert len(code) == 8 * (head + 2 * sum(n is not None for n in there) + 1)
    assert len({n for n in there if n is not None}) == sum(n is not None for n in there)
