"""scored answers -> seeded RUNS -> answers until the alarm: the real detector, many times over.

The same recursion as `core.verification.evidence.update`, over many runs at once: each answer's
factor under each bet is computed once, and a run is an order in which answers arrive.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from subnet.core.verification.evidence import Channel, EvidenceParams, Readings, log_factor

STRUCTURE: Final = "structure"
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer as the validator judges it."""

    tokens: int
    readings: Readings | None
    """None outside the calibrated envelope."""
    fault: str | None
    """The exact check that it fails, which ends the matter."""


@dataclass(frozen=True, slots=True)
class Detection:
    """When one run ended, and by what; `channel` is None if it did not."""

    responses: int
    tokens: int
    channel: str | None


class Pool:
    """Answers to draw runs from."""

    def __init__(self, answers: Sequence[Judged], params: EvidenceParams) -> None:
        assert answers, "a pool needs answers"
        self._params = params
        self._tokens = np.array([answer.tokens for answer in answers])
        self._faulty = np.array([answer.fault is not None for answer in answers])
        self._factors: dict[Channel, _Array] = {}
        self._seen: dict[Channel, npt.NDArray[np.bool_]] = {}
        for channel in Channel:
            bets = params.bets_of(channel)
            found = [(answer.readings or {}).get(channel) for answer in answers]
            self._seen[channel] = np.array([reading is not None for reading in found])
            self._factors[channel] = np.array(
                [
                    [log_factor(bet, reading, params) for bet in bets]
                    if reading is not None
                    else [0.0] * len(bets)
                    for reading in found
                ]
            )

    def detections(self, picks: npt.NDArray[np.int64]) -> list[Detection]:
        """How each run of `picks` [runs, responses], indices of answers in order, ends."""
        runs, limit = picks.shape
        state = {
            channel: np.zeros((runs, factors.shape[1]))
            for channel, factors in self._factors.items()
        }
        ended: list[Detection | None] = [None] * runs
        tokens = np.zeros(runs, np.int64)
        is_open = np.ones(runs, bool)
        for step in range(limit):
            now = picks[:, step]
            tokens += np.where(is_open, self._tokens[now], 0)
            for channel, before in state.items():
                after = np.logaddexp(0.0, before + self._factors[channel][now])
                state[channel] = np.where(self._seen[channel][now][:, None], after, before)
            logs = {channel: _log_mean(values) for channel, values in state.items()}
            total = np.logaddexp.reduce(list(logs.values()), axis=0) - math.log(len(logs))
            is_alarm = total >= math.log(self._params.alarm_at)
            for run in np.flatnonzero(is_open & (self._faulty[now] | is_alarm)):
                loudest = max(logs, key=lambda channel: float(logs[channel][run]))
                word = STRUCTURE if self._faulty[now[run]] else loudest.lower()
                ended[run] = Detection(step + 1, int(tokens[run]), word)
                is_open[run] = False
            if not is_open.any():
                break
        return [
            found or Detection(limit, int(count), None)
            for found, count in zip(ended, tokens, strict=True)
        ]


def alarms_in_turn(answers: Sequence[Judged], params: EvidenceParams) -> list[int]:
    """How many answers each alarm or fault took, if all go to one detector that starts over."""
    alarms, rest = [], list(answers)
    while rest:
        (end,) = Pool(rest, params).detections(np.arange(len(rest))[None, :])
        if end.channel is None:
            break
        alarms.append(end.responses)
        rest = rest[end.responses :]
    return alarms


@dataclass(frozen=True, slots=True)
class Power:
    """How often and how soon one attack is caught. Percentiles count missed runs as infinite."""

    detected: float
    """Share of runs."""
    median_responses: int | None
    """None where fewer than that share of the runs were detected."""
    p95_responses: int | None
    median_tokens: int | None
    channel: str | None
    """What ended most runs."""


def power(found: Sequence[Detection]) -> Power:
    """The figures of one attack's runs."""
    caught = [one for one in found if one.channel is not None]
    channels = Counter(one.channel for one in caught)
    return Power(
        detected=len(caught) / len(found),
        median_responses=_percentile([one.responses for one in caught], len(found), 0.5),
        p95_responses=_percentile([one.responses for one in caught], len(found), 0.95),
        median_tokens=_percentile([one.tokens for one in caught], len(found), 0.5),
        channel=channels.most_common(1)[0][0] if channels else None,
    )


def _percentile(caught: Sequence[int], runs: int, share: float) -> int | None:
    rank = math.ceil(share * runs)
    return sorted(caught)[rank - 1] if rank <= len(caught) else None


def _log_mean(log1p_values: _Array) -> _Array:
    """log of the mean M [runs] of log(M + 1) [runs, bets]."""
    peak = log1p_values.max(axis=1)
    total = (np.exp(log1p_values - peak[:, None]) - np.exp(-peak)[:, None]).sum(axis=1)
    with np.errstate(divide="ignore"):
        mean: _Array = peak + np.log(np.maximum(total, 0.0)) - math.log(log1p_values.shape[1])
    return mean
