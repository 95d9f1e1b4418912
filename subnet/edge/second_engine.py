"""claims -> CHILD PROCESS -> scores: a second engine that lives for one opinion.

A process of its own: a validator without alarms pays nothing, one with an alarm gets the memory
back, and an engine that crashes takes nothing with it. It starts in the event loop's own thread,
because the child dies with the thread that started it.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from subnet.core.canary import CANARY_TOKENS, Canary
from subnet.core.second_opinion import SecondScores
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.edge.referees import RefereePlan
from subnet.edge.tether import tethered
from subnet.ports import OpinionUnavailableError

_Message = TypeVar("_Message", bound=msgspec.Struct)
_COMMAND: Final = (sys.executable, "-m", "subnet.edge.second_engine_process")


class OpinionAsked(msgspec.Struct, frozen=True):
    """What the child is to do."""

    plan: RefereePlan
    canary_asked: tuple[Claim, ...]
    """Questions without answers, for its self-test."""
    canary_tokens: int
    claims: tuple[Claim, ...]


class OpinionGiven(msgspec.Struct, frozen=True):
    """What the child found; or why it could not."""

    problem: str | None = None
    canary: Canary | None = None
    scores: tuple[ClaimScore, ...] = ()
    """Of the canary's honest answers, of its tampered ones, then of the claims."""


def encode(message: OpinionAsked | OpinionGiven) -> bytes:
    """MessagePack; a claim's structure travels as its fields."""
    return msgspec.msgpack.encode(message, enc_hook=lambda value: value.model_dump())


def decode(body: bytes, kind: type[_Message]) -> _Message:
    """The inverse of `encode`. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(
        body, type=kind, dec_hook=lambda wanted, fields: wanted.model_validate(fields)
    )


class ChildSecondEngine:
    """`ports.SecondEngine` on this machine."""

    def __init__(
        self, plan: RefereePlan, canary_asked: Sequence[Claim], seconds_max: float
    ) -> None:
        """`canary_asked` are questions without answers. Loads nothing yet."""
        self._plan = plan
        self._canary_asked = tuple(canary_asked)
        self._seconds_max = seconds_max

    @property
    def name(self) -> str:
        """The engine's kind."""
        return self._plan.kind

    async def score(self, claims: Sequence[Claim], slack_logits: float) -> SecondScores:
        """Load, score, end. Raises OpinionUnavailableError."""
        asked = OpinionAsked(
            plan=msgspec.structs.replace(self._plan, slack_logits=slack_logits),
            canary_asked=self._canary_asked,
            canary_tokens=CANARY_TOKENS,
            claims=tuple(claims),
        )
        given = await self._ask(asked)
        if given.problem is not None or given.canary is None:
            raise OpinionUnavailableError(given.problem or "it ended without a word")
        own = len(given.canary.honest) + len(given.canary.tampered)
        if len(given.scores) != own + len(claims):
            raise OpinionUnavailableError("it left out answers")
        return SecondScores(
            scores=list(given.scores[own:]),
            canary=given.canary,
            canary_scores=list(given.scores[:own]),
        )

    async def _ask(self, asked: OpinionAsked) -> OpinionGiven:
        try:
            child = await asyncio.create_subprocess_exec(
                *tethered(_COMMAND),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise OpinionUnavailableError(f"its process did not start: {error}") from error
        try:
            async with asyncio.timeout(self._seconds_max):
                output, _ = await child.communicate(encode(asked))
        except TimeoutError as error:
            raise OpinionUnavailableError(
                f"it took longer than {self._seconds_max:.0f} s"
            ) from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        try:
            return decode(output, OpinionGiven)
        except msgspec.DecodeError as error:
            raise OpinionUnavailableError(
                f"its process ended with code {child.returncode}"
            ) from error
