"""Each kind of attack leaves its mark where it should, and an honest lab answer leaves none."""

from pathlib import Path

import numpy as np
import pytest

from subnet.core.audit import Traffic
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import Channel
from subnet.edge.release_files import load_release_files
from subnet.edge.tokenizer import HubTokenizer
from subnet.lab.adversary import Lab
from subnet.lab.attacks import ATTACKS
from subnet.lab.play import Jury, answers_scored, chosen_attacks, questions_of, requests_of
from subnet.lab.transcripts import make_referee

RELEASE = Path(__file__).parents[3] / "assets" / "tiny"


@pytest.fixture(scope="module")
def lab():
    files = load_release_files(str(RELEASE))
    return Lab(files.release, RELEASE, RELEASE.with_name("tiny-weak"))


@pytest.fixture(scope="module")
def questions(lab):
    return questions_of(requests_of(lab.release, HubTokenizer(RELEASE), 48, 9, []))


@pytest.fixture(scope="module")
def jury():
    files = load_release_files(str(RELEASE))
    table = CalibrationTable.model_validate_json((RELEASE / "calibration.json").read_text())
    return Jury(make_referee(files, table.slack_logits), table)


def marks(lab, questions, answers, jury):
    """(share of tokens above .1 logits, share of answers with a gap beyond 95 %, faults)."""
    judged = [
        one.judged(jury.table, Traffic.BENCHMARK)
        for one in answers_scored(lab, questions, answers, jury)
    ]
    margins = np.sum([one.readings[Channel.MARGIN].counts for one in judged], axis=0)
    heard = [one.readings[Channel.LOGPROB] for one in judged if Channel.LOGPROB in one.readings]
    assert len(heard) >= 0.7 * len(judged), "structured answers are read by margins alone"
    gaps = np.sum([reading.counts for reading in heard], axis=0)
    faults = [one.fault for one in judged if one.fault]
    return margins[2:].sum() / margins.sum(), gaps[2:].sum() / gaps.sum(), faults


def test_honest_lab_answers_leave_no_mark(lab, questions, jury):
    answers = lab.answers([lab.strong], [lab.job(question) for question in questions])
    margin, gap, faults = marks(lab, questions, answers, jury)
    assert margin == 0 and gap < 0.2 and faults == []


def test_an_answer_is_the_same_whatever_is_answered_beside_it(lab, questions):
    """Jobs end at different steps, and leave the batch."""
    jobs = [lab.job(question) for question in questions[::4]]
    together = lab.answers([lab.strong, lab.weak], jobs)
    alone = [lab.answers([lab.strong, lab.weak], [job])[0] for job in jobs]
    assert len({len(answer.token_ids) for answer in together}) > 4
    assert any(job.structure for job in jobs)
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]


@pytest.mark.parametrize(
    ("name", "margin_min"),
    [
        ("replay", 0.2),
        ("relay with a foreign permit", 0.2),
        ("earlier checkpoint", 0.02),
        ("context evicted", 0.02),
        ("loose speculation .05", 0.005),
        ("top_k 5", 0.05),
        ("skipped stop", 0.02),
    ],
)
def test_a_cheat_at_sampling_or_at_weights_shows_in_margins(lab, questions, jury, name, margin_min):
    (attack,) = chosen_attacks([name])
    margin, _, faults = marks(lab, questions, attack.answers(lab, questions), jury)
    assert margin > margin_min and faults == []


def test_four_bit_weights_show_in_gaps_more_than_in_margins(lab, questions, jury):
    (attack,) = chosen_attacks(["int4 weights"])
    margin, gap, _ = marks(lab, questions, attack.answers(lab, questions), jury)
    assert margin < 0.02 and gap > 0.5


@pytest.mark.parametrize(
    ("name", "word"), [("wrong counts", "FALSE_CLAIM"), ("cut off", "TOO_SHORT")]
)
def test_false_ends_fail_an_exact_check(lab, questions, jury, name, word):
    (attack,) = chosen_attacks([name])
    _, _, faults = marks(lab, questions, attack.answers(lab, questions), jury)
    assert word in faults


def test_forged_log_probabilities_hide_other_weights_from_gaps_only(lab, questions, jury):
    (attack,) = chosen_attacks(["forged log-probabilities"])
    margin, gap, _ = marks(lab, questions, attack.answers(lab, questions), jury)
    assert margin > 0.02 and gap < 0.2


def test_attacks_have_names_of_their_own():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 30
