"""A system call filter for bubblewrap: one process, no threads, no sockets, no memory elsewhere.

The kernel does not apply RLIMIT_NPROC to root, whose container this may be, and RLIMIT_AS does not
see shared memory: so the calls themselves are barred. Layout: `struct sock_filter` of
linux/filter.h, numbers of asm/unistd_64.h and asm-generic/unistd.h.
"""

import errno
import struct
from collections.abc import Mapping
from typing import Final

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_X32_BIT: Final = 0x40000000
_AUDIT_X86_64, _AUDIT_AARCH64 = 0xC000003E, 0xC00000B7

BARRED: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "socket": (41, 198),
    "socketpair": (53, 199),
}
"""(number on x86_64, on aarch64); None where there is no such call."""
MACHINES: Final = ("x86_64", "aarch64")


def filter_program(machine: str) -> bytes:
    """The filter as bubblewrap's --seccomp reads it; `machine` is one of MACHINES.

    A barred call fails with EPERM, clone3 with ENOSYS so that the C library tries clone; a call
    of another architecture ends the process.
    """
    place = MACHINES.index(machine)
    code = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_EQUAL, (_AUDIT_X86_64, _AUDIT_AARCH64)[place], 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        code += [_instruction(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _instruction(_RETURN, _KILL)]
    for name, numbers in BARRED.items():
        number = numbers[place]
        if number is not None:
            error = errno.ENOSYS if name == "clone3" else errno.EPERM
            code += [
                _instruction(_JUMP_EQUAL, number, 0, 1),
                _instruction(_RETURN, _ERROR | error),
            ]
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
