"""Tier 5 of `code`: an interpreter for a small machine whose instructions nobody has seen before.

Which instructions there are, what they are called and how they go wrong differs with every task.
The reference is the same table of lines that the expected results are computed from, once as text
and once as our own code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.functions import CALLS, INPUTS_TRIED, Job
from subnet.core.benchmark.program import canonical

REGISTERS: Final = 4
STEPS_MAX: Final = 200
PROGRAM_MIN, PROGRAM_MAX = 8, 16
OPERATIONS: Final = 8
NAMES: Final = ("zap", "lum", "kir", "dov", "pex", "ran", "tob", "wil", "hus", "fen", "gar", "mok")

State = list[int]
Act = Callable[[State, int, int, int], int | None]
"""(registers, a, b, position) -> where to go on, None for the next instruction."""


@dataclass(frozen=True)
class Operation:
    """An instruction `[name, a, b]`: in words, as lines of a reference, and as our own code."""

    says: str
    line: str
    act: Act


def interpreter(draws: Draws) -> Job:
    """The function run(program, registers); all its calls have results of their own."""
    calls: dict[str, str] = {}
    while len(calls) < CALLS:
        modulus = draws.choice((97, 101, 127, 211, 251))
        operations = draws.sample(_operations(modulus), OPERATIONS)
        names = draws.sample(NAMES, OPERATIONS)
        table = dict(zip(names, operations, strict=True))
        calls = _calls(draws, table, modulus)
    return Job("run", _text(table, modulus), _source(table), tuple(calls), tuple(calls.values()))


def _calls(draws: Draws, table: dict[str, Operation], modulus: int) -> dict[str, str]:
    """Arguments -> result, both as JSON: up to CALLS with results that all differ."""
    calls: dict[str, str] = {}
    for _ in range(INPUTS_TRIED):
        count = draws.between(PROGRAM_MIN, PROGRAM_MAX)
        program = [
            [draws.choice(tuple(table)), draws.below(REGISTERS), draws.below(REGISTERS)]
            for _ in range(count)
        ]
        registers = [draws.below(modulus) for _ in range(REGISTERS)]
        result = _run(table, program, registers)
        expected = canonical(result)
        if result != registers and expected not in calls.values():
            calls[canonical([program, registers])] = expected
        if len(calls) == CALLS:
            break
    return calls


def _run(table: dict[str, Operation], program: list[Any], registers: State) -> State:
    state, at = list(registers), 0
    for _ in range(STEPS_MAX):
        if not 0 <= at < len(program):
            break
        name, a, b = program[at]
        to = table[name].act(state, a, b, at)
        at = at + 1 if to is None else to
    return state


def _text(table: dict[str, Operation], modulus: int) -> str:
    rules = " ".join(f"[{name}, a, b]: {one.says}" for name, one in table.items())
    return (
        f"Write a Python function run(program, registers) that interprets a small machine with "
        f"{REGISTERS} registers r[0] to r[{REGISTERS - 1}], whose starting values are the list "
        "registers; do not change that list. program is a list of instructions [name, a, b], where "
        "a and b are numbers of registers (a and b may be equal), carried out from position 0 on, "
        "each followed by the next one unless it says otherwise. All arithmetic that names a "
        f"modulus gives 0 to {modulus - 1}. Stop when the position is outside of the program, or "
        f"after {STEPS_MAX} instructions, and return the list of registers. {rules}"
    )


def _source(table: dict[str, Operation]) -> str:
    lines = [
        "def run(program, registers):",
        "    r, at = list(registers), 0",
        f"    for _ in range({STEPS_MAX}):",
        "        if not 0 <= at < len(program):",
        "            break",
        "        (name, a, b), to = program[at], None",
    ]
    for name, one in table.items():
        lines += [f"        if name == {name!r}:", f"            {one.line}"]
    return "\n".join([*lines, "        at = at + 1 if to is None else to", "    return r", ""])


def _operations(m: int) -> tuple[Operation, ...]:
    """Those that a machine of this modulus can have."""

    def put(change: Callable[[State, int, int], int]) -> Act:
        def act(r: State, a: int, b: int, at: int) -> None:
            r[a] = change(r, a, b)

        return act

    def swap(r: State, a: int, b: int, at: int) -> None:
        r[a], r[b] = r[b], r[a]

    def turn(r: State, a: int, b: int, at: int) -> None:
        r[:] = r[1:] + r[:1]

    return (
        Operation(
            f"r[a] becomes r[a] + r[b] modulo {m}.",
            f"r[a] = (r[a] + r[b]) % {m}",
            put(lambda r, a, b: (r[a] + r[b]) % m),
        ),
        Operation(
            f"r[a] becomes r[a] - 2 * r[b] modulo {m}.",
            f"r[a] = (r[a] - 2 * r[b]) % {m}",
            put(lambda r, a, b: (r[a] - 2 * r[b]) % m),
        ),
        Operation(
            f"r[a] becomes r[a] * r[b] + 1 modulo {m}.",
            f"r[a] = (r[a] * r[b] + 1) % {m}",
            put(lambda r, a, b: (r[a] * r[b] + 1) % m),
        ),
        Operation(
            "r[a] becomes the larger of r[a] and r[b], or 0 if they are equal.",
            "r[a] = 0 if r[a] == r[b] else max(r[a], r[b])",
            put(lambda r, a, b: 0 if r[a] == r[b] else max(r[a], r[b])),
        ),
        Operation("r[a] and r[b] change places.", "r[a], r[b] = r[b], r[a]", swap),
        Operation(
            "all registers move down by one: r[0] takes the value of r[1] and so on, the last one "
            "takes that of r[0].",
            "r = r[1:] + r[:1]",
            turn,
        ),
        Operation(
            "if r[a] is greater than r[b], skip the next instruction.",
            "to = at + 2 if r[a] > r[b] else None",
            lambda r, a, b, at: at + 2 if r[a] > r[b] else None,
        ),
        Operation(
            "if r[a] is odd, go back by b + 1 positions from here.",
            "to = at - b - 1 if r[a] % 2 else None",
            lambda r, a, b, at: at - b - 1 if r[a] % 2 else None,
        ),
        Operation(
            f"r[a] becomes r[a] + 7 modulo {m}; then, if r[b] is 0, the machine stops.",
            f"r[a] = (r[a] + 7) % {m}; to = len(program) if r[b] == 0 else None",
            _add_and_stop(m),
        ),
        Operation(
            "r[b] becomes r[r[a] modulo 4].",
            "r[b] = r[r[a] % 4]",
            lambda r, a, b, at: r.__setitem__(b, r[r[a] % REGISTERS]),
        ),
        Operation(
            f"r[a] becomes the position of this instruction plus r[b], modulo {m}.",
            f"r[a] = (at + r[b]) % {m}",
            _position(m),
        ),
    )


def _add_and_stop(m: int) -> Act:
    def act(r: State, a: int, b: int, at: int) -> int | None:
        r[a] = (r[a] + 7) % m
        return PROGRAM_MAX + 1 if r[b] == 0 else None

    return act


def _position(m: int) -> Act:
    def act(r: State, a: int, b: int, at: int) -> None:
        r[a] = (at + r[b]) % m

    return act
