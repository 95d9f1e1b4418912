"""requests cut to ONE TOKEN -> alarms: the shortest answers accuse no honest miner, and each cheat.

Classifications and tool choices are one token long, and a detector sees many of them in a row.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from subnet.core.audit import Traffic
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Lab, Question, Short
from subnet.lab.attacks import SMALL
from subnet.lab.detection import alarms_in_turn
from subnet.lab.play import Jury, Scored, exact_fault, pool_of
from subnet.lab.transcripts import ENGINES, Advance, scored, served
from subnet.ports import EngineRequest

BATCH: Final = 64


class OneTokenResult(BaseModel):
    """Answers of one token, all honest ones in one detector and all dishonest ones in another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    honest_responses: int
    """By vLLM, over the calibrated envelope."""
    honest_alarms: int
    dishonest_responses: int
    """By the smaller model."""
    dishonest_alarms: int
    first_alarm_responses: int | None
    """How many dishonest answers the first alarm took; None without one."""


def one_token_result(
    files: ReleaseFiles,
    requests: Sequence[EngineRequest],
    questions: Sequence[Question],
    lab: Lab,
    jury: Jury,
    params: EvidenceParams,
    watch: Callable[[str, int], Advance],
) -> OneTokenResult:
    """Serve the requests honestly, let the smaller model answer the questions. Raises EngineError.

    The first engine of `transcripts.ENGINES` serves: how it runs the model changes no count.
    """
    cut = [dataclasses.replace(request, tokens_max=1) for request in requests]
    advance = watch("honest answers of one token", len(cut))
    claims = served(files, cut, {BATCH: 1.0}, next(iter(ENGINES.values())), advance).claims
    scores = scored(jury.referee, claims, watch("their margins", len(claims)))
    honest = [
        Scored(claim, score, exact_fault(files.release, claim, request, lab.grammars)).judged(
            jury.table, Traffic.BENCHMARK
        )
        for claim, score, request in zip(claims, scores, cut, strict=True)
    ]
    cheat = Short(SMALL.name, SMALL.summary, 1, SMALL)
    small = [
        one.judged(jury.table, Traffic.BENCHMARK) for one in pool_of(cheat, lab, questions, jury)
    ]
    alarms = alarms_in_turn(small, params)
    return OneTokenResult(
        honest_responses=len(honest),
        honest_alarms=len(alarms_in_turn(honest, params)),
        dishonest_responses=len(small),
        dishonest_alarms=len(alarms),
        first_alarm_responses=alarms[0] if alarms else None,
    )
