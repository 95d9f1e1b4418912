"""measured answers -> TRANSCRIPTS -> referee, tokenizer: what the validator's ports find in them.

A simulated answer is a row of the profiles behind token ids that name it. The referee looks its
margins and gaps up; whether they are dishonest is for the detector to say. The text behind the ids
is the task's own reference with the probability of the measured grade, else nothing: the real
grader grades it, and its mean is the measured one.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from protocol.inference import Environment
from protocol.release import GRAMMAR_BACKEND, Release
from protocol.structure import Structure
from subnet.core.benchmark import Outcome, Program
from subnet.core.canary import Canary, canary_of
from subnet.core.second_opinion import SecondScores
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.ports import SandboxError
from subnet.sim.profiles import FOREIGN_SEED, HONEST, MeasuredAnswer, Profiles

STOP: Final = 2
_FILLER: Final = 3
_FIRST_NAME: Final = 16
VOCABULARY: Final = 2**31 - 1
PROMPT_IDS: Final = 4
CANARY_ANSWERS: Final = 8
CANARY_TOKENS_MIN: Final = 20


def simulated_release(profiles: Profiles) -> Release:
    """The release that the profiles were measured on, with ids enough to name every answer."""
    return Release(
        model="simulated",
        revision=profiles.release_digest[:16],
        weights_digest=profiles.release_digest,
        tokenizer_digest=profiles.calibration_digest,
        dtype="bfloat16",
        runtime="simulated",
        vocab_size=VOCABULARY,
        context_tokens_max=4096,
        stop_token_ids=(STOP,),
        grammar=GRAMMAR_BACKEND,
    )


class Answers:
    """Every answer that was given in one run: by its seed for referees, by its name for readers."""

    def __init__(self) -> None:
        self._by_seed: dict[int, MeasuredAnswer] = {}
        self._texts: dict[int, str] = {}
        self._named = _FIRST_NAME

    def write(
        self, seed: int, answer: MeasuredAnswer, text: str, tokens: int, *, is_stop: bool
    ) -> tuple[int, ...]:
        """Token ids for an answer of so many tokens; the first one names its text."""
        self._by_seed[seed] = answer
        if tokens == 1 and is_stop:
            return (STOP,)
        self._named += 1
        if text:
            self._texts[self._named] = text
        return (self._named, *_rest(tokens - 1, is_stop=is_stop))

    def text(self, token_ids: Sequence[int]) -> str:
        """What stands behind the ids."""
        return self._texts.get(token_ids[0], "") if token_ids else ""

    def found(self, seed: int) -> MeasuredAnswer:
        """The measured answer to the request of this seed."""
        return self._by_seed[seed]


@lru_cache(maxsize=4096)
def _rest(tokens: int, *, is_stop: bool) -> tuple[int, ...]:
    return (_FILLER,) * (tokens - is_stop) + (STOP,) * is_stop


class LookingReferee:
    """`ports.Referee`: the measured margins and gaps of each answer."""

    def __init__(self, answers: Answers, environment: Environment) -> None:
        self.environment = environment
        self._answers = answers

    def score(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        """In the order of the claims."""
        return [
            _score(self._answers.found(claim.seed), len(claim.output_token_ids)) for claim in claims
        ]


@lru_cache(maxsize=65_536)
def _score(answer: MeasuredAnswer, tokens: int) -> ClaimScore:
    return answer.score(tokens)


class SimTokenizer:
    """`ports.Tokenizer`: a prompt is a hash of its text, an answer the text that it names."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def render(self, prompt: str) -> tuple[int, ...]:
        """A few ids that no other text has."""
        words = struct.unpack(f"<{PROMPT_IDS}I", hashlib.sha256(prompt.encode()).digest()[:16])
        return tuple(word >> 1 for word in words)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of an answer."""
        return self._answers.text(token_ids)


class NoGrammars:
    """`ports.Grammars`: what breaks a structure was found when the answer was measured."""

    def refused_at(self, structure: Structure, token_ids: Sequence[int]) -> int | None:
        """Nothing here."""
        return None


class NoSandbox:
    """`ports.Sandbox` that runs nothing: tasks whose answers are executed stay without a grade."""

    def run(self, program: Program) -> Outcome:
        """Raises SandboxError."""
        raise SandboxError("a simulated validator executes nothing")


def make_canary(answers: Answers, profiles: Profiles) -> Canary:
    """Quiet honest answers, and answers to other seeds, all measured."""
    honest = [
        one
        for one in profiles.pools[HONEST]
        if not one.margins_logits and one.tokens >= CANARY_TOKENS_MIN and not one.is_structured
    ][:CANARY_ANSWERS]
    tampered = [one for one in profiles.pools[FOREIGN_SEED] if one.tokens >= CANARY_TOKENS_MIN][
        :CANARY_ANSWERS
    ]
    claims = []
    for seed, one in enumerate(honest):
        ids = answers.write(seed, one, "", one.tokens, is_stop=one.finish_reason == "stop")
        sampling = (one.temperature_milli, one.top_p_milli, 50, seed)
        claims.append(Claim((1,), ids, *sampling, None, one.finish_reason))
    canary = canary_of(claims)
    for claim, one in zip(canary.tampered, tampered, strict=True):
        answers.write(claim.seed, one, "", one.tokens, is_stop=one.finish_reason == "stop")
    return canary


class LookingSecondEngine:
    """`ports.SecondEngine` that finds what the first one found: nobody is cleared by its leave."""

    name = "simulated"

    def __init__(self, referee: LookingReferee, canary: Canary) -> None:
        self._referee = referee
        self._canary = canary

    async def score(self, claims: Sequence[Claim], slack_logits: float) -> SecondScores:
        """At once: an engine loads in less than an epoch."""
        canary = self._canary
        return SecondScores(
            scores=self._referee.score(claims),
            canary=canary,
            canary_scores=self._referee.score([*canary.honest, *canary.tampered]),
        )
