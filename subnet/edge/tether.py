"""command -> TETHERED COMMAND: a child process that dies with its parent, however that dies.

A first process asks the kernel for it and becomes the command. `preexec_fn` would do the same
between fork and exec, where another thread's lock can hang it for ever.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

_TETHER: Final = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def tethered(command: Sequence[str]) -> list[str]:
    """The command, made to die with the thread that starts it (on Linux; elsewhere unchanged)."""
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
