"""scored honest answers -> BOUNDS, and what held-out ones say of them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from subnet.core.audit import Traffic, readings
from subnet.core.verification.bounds import CalibrationParams, bucket_counts
from subnet.core.verification.calibration import Band, CalibrationTable, HeldOut, fitted_band
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import (
    Bet,
    EvidenceParams,
    alarm,
    fresh_state,
    log_evidence,
    log_factor,
    update,
)


@dataclass(frozen=True)
class Answer:
    """One served request with the margins that the referee found."""

    claim: Claim
    score: ClaimScore
    is_held_out: bool
    is_hostile: bool = False
    """Whether a search found the prompt: only users could ask it."""

    @property
    def band(self) -> tuple[int, int]:
        """(temperature, top-p) in thousandths; greedy answers share one band."""
        temperature_milli = self.claim.temperature_milli
        return temperature_milli, self.claim.top_p_milli if temperature_milli else 1000


def counts_per_band(
    answers: Sequence[Answer], edges: Sequence[float]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Tokens per bucket of each band."""
    margins: dict[tuple[int, int], list[float]] = defaultdict(list)
    for answer in answers:
        margins[answer.band] += answer.score.margins
    return {band: bucket_counts(found, edges) for band, found in sorted(margins.items())}


def fit(
    answers: Sequence[Answer], edges: Sequence[float], params: CalibrationParams
) -> tuple[Band, ...]:
    """Bounds of every band, from the part that is not held out."""
    counts = counts_per_band([answer for answer in answers if not answer.is_held_out], edges)
    return tuple(fitted_band(*band, found, len(counts), params) for band, found in counts.items())


def gaps_of(answers: Iterable[Answer]) -> Iterator[tuple[int, Sequence[float]]]:
    """(temperature in thousandths, gaps) of each answer that `readings` reads by its gaps."""
    free = (one for one in answers if one.claim.structure is None)
    return ((one.claim.temperature_milli, one.score.logprob_gaps) for one in free)


def checked(answers: Sequence[Answer], table: CalibrationTable, traffic: Traffic) -> HeldOut:
    """The bounds of one kind of traffic tried on held-out answers, all of them in one detector."""
    of_users = traffic.is_of_users
    above = 0
    for band, counts in counts_per_band(answers, table.edges_logits).items():
        p0 = table.bounds(*band, 0, of_users=of_users)
        assert p0 is not None, "the table covers what it was fitted on"
        above += sum(count > bound * sum(counts) for count, bound in zip(counts, p0, strict=True))
    params = EvidenceParams()
    state, peak, alarms = fresh_state(params), -math.inf, 0
    factors: dict[Bet, list[float]] = defaultdict(list)
    for answer in answers:
        found = readings(answer.claim, answer.score, table, traffic)
        assert found is not None, "likewise"
        for channel, reading in found.items():
            for bet in params.bets_of(channel):
                factors[bet].append(math.exp(log_factor(bet, reading, params)))
        state = update(state, found, params)
        evidence = log_evidence(state)
        peak = max(peak, evidence)
        if alarm(evidence, params):
            alarms, state = alarms + 1, fresh_state(params)
    return HeldOut(
        responses=len(answers),
        tokens=sum(len(answer.score.margins) for answer in answers),
        max_margin_logits=max(max(answer.score.margins) for answer in answers),
        buckets_above_p0=above,
        gap_buckets_above_p0=0 if of_users else table.gaps.buckets_above(gaps_of(answers)),
        mean_factor_max=max(float(np.mean(found)) for found in factors.values()),
        evidence_max=math.exp(min(peak, 700.0)),
        alarms=alarms,
    )
