"""Runs on pools end exactly where the validator's own detector would."""

import numpy as np
import pytest

from subnet.core.verification.bounds import Reading
from subnet.core.verification.evidence import (
    Channel,
    EvidenceParams,
    alarm,
    fresh_state,
    log_evidence,
    update,
)
from subnet.lab.detection import STRUCTURE, Detection, Judged, Pool, power

PARAMS = EvidenceParams()
P0 = (1.0, 0.003, 0.0015, 0.0014)
GAP_P0 = (1.0, 0.3, 0.1, 0.03, 0.01)


def judged(margins, gap=None, fault=None):
    found = {Channel.MARGIN: Reading(tuple(int(count) for count in margins), P0)}
    if gap is not None:
        counts = tuple(int(place == gap) for place in range(5))
        found[Channel.LOGPROB] = Reading(counts, GAP_P0)
    return Judged(sum(found[Channel.MARGIN].counts), found, fault)


def some(dice, loud, count=60):
    truth = (1 - loud, loud / 4, loud / 4, loud / 2)
    return [
        judged(dice.multinomial(int(dice.integers(1, 40)), truth), dice.integers(0, 6) % 5 or None)
        for _ in range(count)
    ]


@pytest.mark.parametrize("loud", [0.0, 0.02, 0.06, 0.4])
def test_a_run_ends_where_the_detector_of_validators_does(loud):
    dice = np.random.default_rng(5)
    answers = some(dice, loud)
    picks = dice.integers(0, len(answers), (20, 300))
    found = Pool(answers, PARAMS).detections(picks)
    for order, end in zip(picks, found, strict=True):
        state = fresh_state(PARAMS)
        for place in order:
            state = update(state, answers[place].readings, PARAMS)
            if alarm(log_evidence(state), PARAMS):
                break
        assert (end.channel is not None) == alarm(log_evidence(state), PARAMS)
        assert (end.responses, end.tokens) == (state.responses, state.tokens)


def test_an_exact_check_ends_a_run_at_its_first_fault():
    pool = Pool([judged((9, 0, 0, 0)), judged((5, 0, 0, 0), fault="TOO_SHORT")], PARAMS)
    (end,) = pool.detections(np.array([[0, 0, 1, 0]]))
    assert end == Detection(3, 23, STRUCTURE)


def test_what_no_table_covers_never_ends_a_run():
    pool = Pool([Judged(40, None, None)], PARAMS)
    assert pool.detections(np.zeros((1, 50), np.int64)) == [Detection(50, 2000, None)]


def test_percentiles_count_missed_runs_as_infinite():
    caught = [Detection(n, 10 * n, "margin") for n in range(1, 91)]
    missed = [Detection(4000, 40_000, None)] * 10
    found = power([*missed, *caught])
    assert (found.detected, found.median_responses, found.median_tokens) == (0.9, 50, 500)
    assert found.p95_responses is None and found.channel == "margin"
    assert power(missed).channel is None and power(missed).median_responses is None
