"""Answers of one token accuse no honest miner, however many in a row, and every cheat soon."""

from pathlib import Path

import numpy as np
import pytest

from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import (
    EvidenceParams,
    alarm,
    fresh_state,
    log_evidence,
    update,
)
from subnet.edge.release_files import load_release_files
from subnet.edge.tokenizer import HubTokenizer
from subnet.edge.vllm_runtime import set_engine_environment
from subnet.lab.adversary import Lab
from subnet.lab.detection import alarms_in_turn
from subnet.lab.one_token import one_token_result
from subnet.lab.play import Jury, questions_of, requests_of
from subnet.lab.transcripts import ENGINES, make_referee
from tests.unit.lab.test_detection import some

TINY = Path(__file__).parents[3] / "assets" / "tiny"
PARAMS = EvidenceParams()


@pytest.mark.parametrize("loud", [0.0, 0.06, 0.4])
def test_alarms_in_turn_are_those_of_one_detector_that_starts_over(loud):
    answers = some(np.random.default_rng(8), loud, 300)
    state, found = fresh_state(PARAMS), []
    for answer in answers:
        state = update(state, answer.readings, PARAMS)
        if alarm(log_evidence(state), PARAMS):
            found.append(state.responses)
            state = fresh_state(PARAMS)
    assert alarms_in_turn(answers, PARAMS) == found


@pytest.mark.engine
def test_the_smaller_model_raises_an_alarm_and_honest_answers_of_one_token_none():
    """`assay lab verify` asks for 20,000 and 200 of them; a test for as many as take seconds."""
    set_engine_environment(ENGINES["eager"])
    files = load_release_files(str(TINY))
    tokenizer = HubTokenizer(TINY)
    table = CalibrationTable.model_validate_json((TINY / "calibration.json").read_text())
    found = one_token_result(
        files,
        requests_of(files.release, tokenizer, 200, 21, []),
        questions_of(requests_of(files.release, tokenizer, 40, 22, [])),
        Lab(files.release, TINY, TINY.with_name("tiny-weak")),
        Jury(make_referee(files, table.slack_logits), table),
        PARAMS,
        lambda title, total: lambda count: None,
    )
    assert (found.honest_responses, found.honest_alarms) == (200, 0)
    assert found.dishonest_alarms >= 1 and found.first_alarm_responses <= 40
