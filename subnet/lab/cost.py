"""honest answers -> COST -> ratios: what verification costs beside generation and its own forward.

Side by side in one run: generation before, then scoring and its bare passes, in turns.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from subnet.core.verification.claim import Claim
from subnet.lab.transcripts import Advance

if TYPE_CHECKING:
    from collections.abc import Callable

    from subnet.edge.torch_referee import TorchReferee

COST_ANSWERS: Final = 1024
ROUNDS: Final = 5


class Cost(BaseModel):
    """What verification costs: tokens per second of the referee over those of vLLM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch64_ratio: float
    batch1_ratio: float
    over_bare_forward: float
    """Time of scoring over that of its own calls of the model, with inputs ready-made."""


def measured_cost(
    referee: "TorchReferee",
    claims: Sequence[Claim],
    rates: Mapping[int, float],
    watch: "Callable[[str, int], Advance]",
) -> Cost:
    """Score the claims again and again; `rates` are the engine's tokens per second by batch."""
    from subnet.lab.bare_forward import BareForward

    advance = watch("cost", ROUNDS)
    times: dict[str, list[float]] = {"score": [], "forward": []}
    bare_forward = BareForward(referee)
    bare_forward.record(claims)
    for _ in range(ROUNDS):
        for name, work in (("score", lambda: referee.score(claims)), ("forward", bare_forward.run)):
            begun = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begun)
        advance(1)
    scoring, bare = float(np.median(times["score"])), float(np.median(times["forward"]))
    rate = sum(len(claim.output_token_ids) for claim in claims) / scoring
    return Cost(
        batch64_ratio=round(rate / rates[64], 2),
        batch1_ratio=round(rate / rates[1], 2),
        over_bare_forward=round(scoring / bare, 3),
    )
