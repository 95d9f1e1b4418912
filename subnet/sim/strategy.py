"""question -> STRATEGY -> move: how one operator mines. A cheat is a few lines.

A strategy sees what a miner sees: its own requests, the chain, its own income. It never sees what a
validator thinks of it. `adversaries` lists the shipped ones; `assay simulate --adversary
module:Class` adds one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import EvidenceParams
from subnet.sim.profiles import HONEST, MeasuredAnswer

if TYPE_CHECKING:
    from subnet.sim.fleet import Operator


class StrategyError(Exception):
    """A strategy is not there, does not fit, or broke; the message says which, and how."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a miner sees it, and what it knows besides."""

    hotkey: str
    number: int
    """Which of the operator's hotkeys that is, in order of registration."""
    validator: str
    now_seconds: float
    """Since the run began."""
    family: str
    """What the prompt asks; `open` is what users ask too."""
    is_users: bool
    """A user wrote the prompt: its content tells, nearly always (`docs/gaming.md`)."""
    is_structured: bool
    temperature_milli: int
    top_p_milli: int
    tokens_max: int
    running: int
    """Requests in progress on the same engine."""
    told_benchmark: bool | None
    """What a validator that is a friend says of it; None from all others."""
    chance: np.random.Generator
    """The operator's own dice."""


@dataclass(frozen=True, slots=True)
class Move:
    """How to answer one request."""

    behaviour: str = HONEST
    """Whose measured answers to give: `honest`, or an attack's name on the bench."""
    is_refused: bool = False
    """A typed 429."""
    is_silent: bool = False
    """No answer at all."""
    wait_seconds: float = 0.0
    """Before the first token."""
    held_seconds: float = 0.0
    """No token leaves earlier than so long after the request came; infinite: all at the end."""
    pace: float = 1.0
    """Times slower than the engine is."""
    is_aside: bool = False
    """From a spare machine that costs nothing and leaves the engine alone."""
    is_elsewhere: bool = False
    """Signs a fingerprint that nobody calibrated."""


HONESTLY = Move()
WEAK: Final = "smaller model"


@dataclass(frozen=True, slots=True)
class Kit:
    """What is public, and so in every cheat's hands."""

    table: CalibrationTable
    evidence: EvidenceParams


class Strategy:
    """An honest operator; adversaries change what they must.

    One instance runs one operator: keep state in it. `name` and `summary` are for reports.
    """

    name = HONEST
    summary = "serves the release"
    hotkeys = 1
    """That share one engine."""
    gpu: str | None = None
    """By its name in the price table; None is what honest miners rent."""
    engine_share = 1.0
    """Size of its engine over that of an honest one: GPUs that share their load."""
    is_visible = True
    """Whether the verifier can see it at all: below the noise floor nothing can."""
    is_control = False
    """Honest in a way of its own: it must never be accused."""
    kit: Kit
    """Set before the run."""
    declared_factor = 1.0
    """Concurrent requests that the card offers, over what the engine can."""

    def move(self, seen: Seen) -> Move:
        """How to answer a request."""
        return HONESTLY

    def answered(self, seen: Seen, move: Move, answer: MeasuredAnswer) -> None:
        """Told of every answer that went out: a cheat can score its own."""

    def epoch(self, operator: "Operator") -> None:
        """Told after every epoch; may register a new hotkey."""

    def is_on(self, now_seconds: float) -> bool:
        """Whether anybody is at home: else not even a handshake is answered."""
        return True

    def gpus(self, now_seconds: float) -> float:
        """GPUs rented at this time; what its answers do not need is taken off besides."""
        return 1.0
