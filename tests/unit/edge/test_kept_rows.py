"""What evidence rests on stays, whole and bounded; what no longer matters goes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from subnet.core.audit import AuditParams, Traffic
from subnet.core.bundle import EvidenceRules
from subnet.core.draws import period_secret
from subnet.core.verification.evidence import EvidenceParams, fresh_state
from subnet.core.verification.verdict import step
from subnet.edge.kept_rows import KeptLimits
from subnet.edge.state_reader import open_for_reading
from subnet.edge.validator_store import SqliteValidatorStore
from tests.evidence_support import MINER, audited, make_pending
from tests.validator_support import RELEASE, HashReferee, make_table

LIMITS = KeptLimits(answers_max=100_000, tokens_max=1_000_000)
TOKENS_EACH = 22
RULES = EvidenceRules(
    release=RELEASE, table=make_table(), evidence=EvidenceParams(), audit=AuditParams()
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "validator.sqlite"


@pytest.fixture
def store(path):
    opened = SqliteValidatorStore(path, {"hotkey": "validator"}, bytes(range(32)))
    opened.save_evidence_rules(RULES, LIMITS)
    yield opened
    opened.close()


def kept(numbers, *, is_honest=True, start=None, **kwargs):
    answers = [make_pending(n, is_honest=is_honest, **kwargs) for n in numbers]
    return audited(answers, HashReferee(), start=start)


def keep(store, answers):
    store.save_audits([], [], [], [], answers)


def numbers(window):
    return [answer.draw.counter for answer in window.answers]


def after(answer):
    return step(answer.before, answer.evidence.readings, RULES.evidence).state


def test_what_was_kept_comes_back_in_order(store, path):
    answers = kept(range(4))
    keep(store, answers[:3])
    keep(store, answers[3:])
    reader = open_for_reading(path)
    (window,) = reader.kept_windows(MINER.hotkey)
    reader.close()
    assert window.answers == tuple(one.evidence for one in answers)
    assert window.start == fresh_state(RULES.evidence)
    assert window.rules == RULES
    assert not window.led_to_alarm
    assert store.kept_windows("another") == []


def test_a_window_forgets_its_oldest_answers_and_keeps_the_state_before_the_rest(store):
    store.save_evidence_rules(RULES, replace(LIMITS, answers_max=3))
    answers = kept(range(8))
    keep(store, answers)
    (window,) = store.kept_windows(MINER.hotkey)
    assert numbers(window) == [5, 6, 7]
    assert window.start == answers[5].before != fresh_state(RULES.evidence)


def test_a_window_that_led_to_an_alarm_is_bounded_too(store):
    store.save_evidence_rules(RULES, replace(LIMITS, answers_max=1))
    guilty = kept(range(6), is_honest=False)
    keep(store, guilty)
    (alarm,) = store.kept_windows(MINER.hotkey)
    assert numbers(alarm) == [1]
    assert alarm.start == guilty[1].before


def test_all_windows_together_stay_within_their_tokens_and_alarms_go_last(store):
    store.save_evidence_rules(RULES, replace(LIMITS, tokens_max=5 * TOKENS_EACH))
    guilty = kept(range(6), is_honest=False)
    assert len(guilty) == 2
    keep(store, guilty)
    keep(store, kept(range(10, 20)))
    alarm, open_one = store.kept_windows(MINER.hotkey)
    assert alarm.led_to_alarm
    assert numbers(alarm) == [0, 1]
    assert numbers(open_one) == [17, 18, 19]
    store.save_evidence_rules(RULES, replace(LIMITS, tokens_max=TOKENS_EACH))
    keep(store, kept([20], start=after(kept(range(20))[-1])))
    (last,) = store.kept_windows(MINER.hotkey)
    assert last.led_to_alarm
    assert numbers(last) == [1]


def test_an_alarm_sets_its_answers_aside_until_the_next_alarm(store):
    keep(store, kept(range(6), is_honest=False))
    keep(store, kept(range(10, 12)))
    assert [numbers(one) for one in store.kept_windows(MINER.hotkey)] == [[0, 1], [10, 11]]
    keep(store, kept(range(20, 26), is_honest=False))
    (alarm,) = store.kept_windows(MINER.hotkey)
    assert numbers(alarm) == [20, 21]
    assert alarm.led_to_alarm


def test_a_detector_that_started_over_forgets_what_went_before(store):
    keep(store, kept(range(3)))
    keep(store, kept(range(5, 7)))
    (window,) = store.kept_windows(MINER.hotkey)
    assert numbers(window) == [5, 6]


def test_other_rules_open_another_window(store):
    answers = kept(range(4))
    keep(store, answers[:2])
    lax = RULES.model_copy(update={"audit": AuditParams(organic_ppm=7)})
    store.save_evidence_rules(lax, LIMITS)
    keep(store, answers[2:])
    (window,) = store.kept_windows(MINER.hotkey)
    assert window.rules == lax
    assert numbers(window) == [2, 3]
    assert window.start == answers[2].before
    store.save_evidence_rules(lax, LIMITS)
    with store._begin() as db:
        assert db.exec_driver_sql("select count(*) from evidence_rules").scalar() == 1


def test_each_kind_of_traffic_has_its_window(store):
    keep(store, kept(range(2)))
    keep(store, kept(range(5, 7), traffic=Traffic.ORGANIC))
    windows = store.kept_windows(MINER.hotkey)
    assert {one.traffic: numbers(one) for one in windows} == {
        Traffic.BENCHMARK: [0, 1],
        Traffic.ORGANIC: [5, 6],
    }


def test_users_words_do_not_leave_the_store_without_their_consent(store):
    keep(store, kept(range(2), traffic=Traffic.ORGANIC, has_consent=False))
    (window,) = store.kept_windows(MINER.hotkey)
    assert [answer.transcript for answer in window.answers] == [None, None]


def test_only_secrets_of_periods_without_running_requests_are_told(store):
    assert store.open_next_period() == 1
    assert store.open_next_period() == 2
    told = store.revealed_secrets({0, 1, 2, 3})
    assert told == {0: period_secret(bytes(range(32)), 0)}


VICTIM = """
import sys
from pathlib import Path
from subnet.core.standing import StandingParams, after_answer, fresh_standing
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.verification.verdict import step
from subnet.edge.validator_store import SqliteValidatorStore
from tests.unit.edge.test_kept_rows import LIMITS, RULES, after, kept

store = SqliteValidatorStore(Path(sys.argv[1]), {"hotkey": "validator"}, bytes(range(32)))
store.save_evidence_rules(RULES, LIMITS)
standing = fresh_standing("miner", "0" * 64, EvidenceParams())
state = None
for number in range(10**6):
    standing = after_answer(standing, 1.0, StandingParams())
    answers = kept([number], start=state)
    state = after(answers[0])
    store.save_audits([standing], [], [], [], answers)
    print(number, flush=True)
"""


def test_kill_minus_nine_leaves_standing_and_evidence_of_the_same_audit(path):
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    )
    for line in victim.stdout:
        if int(line) >= 30:
            break
    os.kill(victim.pid, signal.SIGKILL)
    victim.stdout.read()
    victim.wait()
    reader = open_for_reading(path)
    (standing,) = reader.standings()
    (window,) = reader.kept_windows(MINER.hotkey)
    reader.close()
    assert standing.answered == len(window.answers) >= 31
    assert all(one + 1 == other for one, other in pairwise(numbers(window)))


def test_the_second_engine_sees_the_words_that_others_do_not(store):
    guilty = kept(range(4), is_honest=False, traffic=Traffic.ORGANIC, has_consent=False)
    keep(store, guilty)
    (window,) = store.kept_windows(MINER.hotkey)
    assert window.led_to_alarm and window.answers[0].transcript is None
    alarm = store.alarm_window(MINER.hotkey, RELEASE.digest())
    assert alarm.traffic is Traffic.ORGANIC and alarm.rules == RULES
    assert alarm.answers == tuple(one.evidence for one in guilty)
    assert alarm.answers[0].transcript is not None
    assert store.alarm_window(MINER.hotkey, "f" * 64) is None
    assert store.alarm_window("another", RELEASE.digest()) is None
