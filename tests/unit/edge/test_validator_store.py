"""The validator's memory: what was saved is there after `kill -9`, whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from protocol.structure import Structure
from subnet.config import ConfigError
from subnet.core import cover
from subnet.core.audit import PPM, Traffic
from subnet.core.audited import AuditRecord, PendingAudit
from subnet.core.echoes import EchoPool, PeriodStart
from subnet.core.gaming import ExchangeMark, Observation
from subnet.core.gate import Hold
from subnet.core.history import EpochIncome, EpochRecord, UserPrompt
from subnet.core.packed import pack
from subnet.core.records import RECORD as RECORDS
from subnet.core.records import Lost, Opined
from subnet.core.rules import RuleParams
from subnet.core.second_opinion import OpinionRecord, Verdict
from subnet.core.standing import StandingParams, after_answer, fresh_standing
from subnet.core.verification.claim import Claim
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge import mark_rows, period_rows, validator_store
from subnet.edge.epoch_history import total_of
from subnet.edge.state_reader import InUse, open_for_reading
from subnet.edge.validator_store import SqliteValidatorStore
from tests.evidence_support import make_signed
from tests.records_support import make_statement

HOTKEY = "5" + "C" * 47
IDENTITY = {"hotkey": "validator", "subnet": "1"}
SECRET = bytes(range(32))
CLAIM = Claim((1, 2), (3, 4), 1000, 950, 50, 2**62, (-0.5, -1.25), "stop")
PENDING = PendingAudit(
    "a" * 32, "miner", Traffic.BENCHMARK, 0, 7, "d" * 64, CLAIM, make_signed(), PPM
)
RECORD = AuditRecord("a" * 32, "miner", Traffic.BENCHMARK, "open", 5, (2, 0, 0, 0), None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "validator.sqlite"


@pytest.fixture
def store(path):
    opened = SqliteValidatorStore(path, IDENTITY, SECRET)
    yield opened
    opened.close()


def standing(hotkey="miner", answers=0):
    made = fresh_standing(hotkey, "0" * 64, EvidenceParams())
    for _ in range(answers):
        made = after_answer(made, 1.0, StandingParams())
    return made


def save(store, standing, pending=None, prompt=None, mark=None):
    store.save_ending(standing, Lost(at_us=1, period=0, counter=0), pending, prompt, mark)


def close(store, epoch, moved=(), pool=None):
    statement = make_statement(epoch_block=epoch.epoch_block, lines=store.open_records().lines)
    packed = pack(store.open_records(), [])
    store.close_epoch(epoch, statement, RuleParams(), packed, moved, [], pool or EchoPool())


def opined(verdict):
    return Opined(
        at_us=1,
        miner_hotkey=HOTKEY,
        asked=Hold(traffic=Traffic.ORGANIC, detail="", at_ns=1),
        engine="vllm",
        verdict=verdict,
        first_log_evidence=20.0,
        second_log_evidence=0.0,
        answers=3,
    )


def test_the_file_is_for_its_owner_only(store, path):
    save(store, standing())
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_standing_is_replaced_by_the_newer_one_of_the_same_hotkey_and_release(store):
    save(store, standing(answers=1))
    save(store, standing(answers=2))
    save(store, standing("other"))
    assert {s.hotkey: s.answered for s in store.standings()} == {"miner": 2, "other": 0}


def test_a_pending_audit_comes_back_as_it_went_in(store):
    save(store, standing(), PENDING)
    assert store.pending_audits(10) == [PENDING]
    store.name_draw_block([PENDING.request_id], 12)
    assert store.pending_audits(10) == [replace(PENDING, draw_block=12)]


def test_a_structure_comes_back_as_it_went_in(store):
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    pending = replace(PENDING, claim=replace(CLAIM, structure=vote))
    save(store, standing(), pending)
    assert store.pending_audits(10) == [pending]


def test_a_claim_without_logprobs_comes_back_without(store):
    bare = replace(PENDING, claim=replace(CLAIM, logprobs=None))
    save(store, standing(), bare)
    assert store.pending_audits(10) == [bare]


def test_an_audited_answer_waits_no_longer(store):
    save(store, standing(), PENDING)
    store.save_audits([standing(answers=1)], [PENDING.request_id], [RECORD], [])
    assert store.pending_audits(10) == []
    assert store.standings()[0].answered == 1


def test_only_the_latest_records_are_kept(store, monkeypatch):
    monkeypatch.setattr(validator_store, "AUDIT_RECORDS_MAX", 3)
    for number in range(5):
        store.save_audits([], [], [replace(RECORD, audited_at_ns=number)], [])
    with store._begin() as db:
        kept = db.exec_driver_sql("select audited_at_ns from audit_records").scalars().all()
    assert kept == [2, 3, 4]


def test_counters_never_repeat_across_restarts(store, path):
    first = [store.reserve_counter() for _ in range(9)]
    store.close()
    again = SqliteValidatorStore(path, IDENTITY, bytes(32))
    everything = [*first, *(again.reserve_counter() for _ in range(3))]
    assert everything == sorted(set(everything))
    assert again.master_secret == SECRET
    again.close()


def test_periods_move_on_and_stay(store, path):
    assert (store.period(), store.open_next_period(), store.period()) == (0, 1, 1)
    store.close()
    again = SqliteValidatorStore(path, IDENTITY, SECRET)
    assert again.period() == 1
    again.close()


def test_where_a_period_begins_and_what_it_may_ask_again_outlive_a_restart(store, path):
    assert store.period_start(1) is None
    store.reserve_counter()
    store.open_next_period()
    assert store.period_start(1) == PeriodStart(1, EchoPool())
    pool = EchoPool(turns=7)
    close(store, EpochRecord(20, ()), pool=pool)
    assert store.period_start(2) == PeriodStart(None, pool)
    store.reserve_counter()
    store.close()
    again = SqliteValidatorStore(path, IDENTITY, SECRET)
    assert again.open_next_period() == 2
    assert again.period_start(2) == PeriodStart(2, pool)
    for _ in range(max(validator_store.STATEMENTS_MAX, cover.PERIODS_MAX) + 1):
        again.open_next_period()
    assert again.period_start(2) == PeriodStart(2, pool), "a statement on file may name it"
    for _ in range(period_rows.STORED_PERIODS_MAX):
        again.open_next_period()
    assert again.period_start(2) is None
    again.close()


def test_a_lost_request_is_of_the_period_that_it_was_drawn_in(store, path):
    store.open_next_period()
    early = store.reserve_counter()
    store.open_next_period()
    late = store.reserve_counter()
    store.close()
    again = SqliteValidatorStore(path, IDENTITY, SECRET)
    again.begin(1, InUse(rules=RuleParams(), release_digest="f" * 64))
    records = [RECORDS.validate_json(line) for line in again.open_records().lines]
    lost = {one.counter: one.period for one in records if isinstance(one, Lost)}
    assert lost == {early: 1, late: 2}
    again.close()


def test_an_epoch_is_replaced_once_its_weights_were_accepted(store):
    income = EpochIncome("miner", 0.5, 10)
    store.save_epoch(EpochRecord(40, (income,)))
    done = EpochRecord(40, (income,), 42, 1 << 32, {3: 7}, {"miner": 9})
    store.save_epoch(done)
    assert store.epochs() == [done]


def test_weights_and_what_they_did_to_standings_are_one_transaction(store, monkeypatch):
    standing = fresh_standing("miner", "0" * 64, EvidenceParams())
    owed = standing.model_copy(update={"owed_ppm": 7})
    close(store, EpochRecord(40, ()), [owed])
    assert store.standings() == [owed]
    monkeypatch.setattr(validator_store, "_save_standing", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        close(store, EpochRecord(60, ()), [standing])
    assert store.closed_epochs() == [40]
    assert [one.epoch_block for one in store.epochs()] == [40]


def test_a_second_opinion_is_remembered_with_the_standing_that_it_made(store):
    standing = fresh_standing("miner", "0" * 64, EvidenceParams())
    record = OpinionRecord(
        "miner", "0" * 64, Traffic.ORGANIC, "vllm", Verdict.CONTRADICTED, 5, 20.0, 0.0, 3
    )
    confirmed = replace(record, verdict=Verdict.CONFIRMED)
    store.save_opinion(standing, confirmed, opined(Verdict.CONFIRMED))
    assert store.contradictions() == []
    store.save_opinion(standing, record, opined(Verdict.CONTRADICTED))
    assert store.contradictions() == [record]
    assert store.standings() == [standing]


def test_old_epochs_are_dropped_and_what_they_paid_stays_counted(store, path, monkeypatch):
    monkeypatch.setattr(validator_store, "EPOCHS_MAX", 3)
    records = [
        EpochRecord(20 * n, (EpochIncome("miner", 0.5, 10**n),), 20 * n + 1, is_settled=n > 2)
        for n in range(1, 9)
    ]
    for record in records:
        store.save_epoch(replace(record, submitted_block=None))
        store.save_epoch(record)
    assert [one.epoch_block for one in store.epochs()] == [120, 140, 160]
    assert store.epoch_totals() == total_of(records)
    reader = open_for_reading(path)
    assert reader.epoch_totals().emission_rao == {"miner": 111_111_100}
    reader.close()


def test_a_prompt_keeps_its_answer(store):
    store.add_prompts(["hello", "again"])
    first = store.prompts()[0]
    answered = replace(first, answer="hi", answered_by="miner", request_id="a" * 32)
    save(store, standing(), None, answered)
    assert store.prompts() == [answered, UserPrompt(2, "again")]


def mark(request_id, fault=None):
    return ExchangeMark(
        request_id, "miner", Traffic.ORGANIC, "e" * 16, 1, fault, 5, 9, 3, bytes(range(256))
    )


def test_marks_come_back_in_order_with_what_their_audits_found(store):
    save(store, standing(), mark=mark("a" * 32))
    save(store, standing(), mark=mark("b" * 32, "TIMEOUT"))
    loud = replace(RECORD, request_id="a" * 32, counts=(3, 0, 1, 0), grade=0.5)
    store.save_audits([standing()], ["a" * 32], [loud], [])
    assert store.observations() == [
        Observation(mark("a" * 32), "open", True, 0.5),
        Observation(mark("b" * 32, "TIMEOUT"), "", None, None),
    ]


def test_old_marks_go(store, monkeypatch):
    monkeypatch.setattr(mark_rows, "MARKS_MAX", 10)
    monkeypatch.setattr(mark_rows, "TRIM_EVERY", 4)
    for number in range(40):
        save(store, standing(), mark=mark(f"{number:032x}"))
    assert [one.mark.request_id for one in store.observations()] == [
        f"{number:032x}" for number in range(30, 40)
    ]


def test_a_prompt_keeps_its_structure_and_is_another_one_without_it(store):
    shape = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    store.add_prompts(["hello"])
    store.add_prompts(["hello", "hello"], structure=shape)
    store.add_prompts(["hello"], structure=shape)
    assert [prompt.structure for prompt in store.open_prompts()] == [None, shape]
    second = store.prompts()[1]
    answered = replace(second, answer="yes", answered_by="miner", request_id="1" * 32)
    save(store, standing(), None, answered)
    assert store.prompts()[1] == answered


def test_a_prompt_is_asked_once_however_often_it_is_given(store):
    store.add_prompts(["hello", "hello"])
    (first,) = store.prompts()
    save(store, standing(), None, replace(first, answer="hi", answered_by="miner"))
    store.add_prompts(["hello", "new"])
    assert [prompt.text for prompt in store.prompts()] == ["hello", "new"]
    assert [prompt.text for prompt in store.open_prompts()] == ["new"]


def test_a_file_of_another_validator_is_refused(store, path):
    store.close()
    with pytest.raises(ConfigError, match="belongs to hotkey validator, not thief"):
        SqliteValidatorStore(path, {**IDENTITY, "hotkey": "thief"}, SECRET)


def test_a_file_of_another_schema_is_refused(store, path):
    with store._begin() as db:
        db.exec_driver_sql("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(ConfigError, match="schema version 99"):
        SqliteValidatorStore(path, IDENTITY, SECRET)
    with pytest.raises(ConfigError, match="schema version 99"):
        open_for_reading(path)


def test_a_file_that_is_no_database_is_one_line(path):
    path.write_text("not a database, but long enough to be looked at by the library" * 20)
    with pytest.raises(ConfigError, match="cannot use the state file"):
        SqliteValidatorStore(path, IDENTITY, SECRET)


def test_others_read_while_the_validator_writes(store, path):
    assert open_for_reading(path.with_name("none.sqlite")) is None
    save(store, standing(answers=3))
    reader = open_for_reading(path)
    assert reader.standings()[0].answered == 3
    save(store, standing(answers=4))
    assert reader.standings()[0].answered == 4
    reader.close()


VICTIM = """
import sys
from pathlib import Path
from dataclasses import replace
from subnet.core.standing import StandingParams, after_answer, fresh_standing
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.audit import Traffic
from subnet.core.verification.claim import Claim
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.core.audited import PendingAudit
from subnet.core.packed import pack
from subnet.core.records import Lost

from subnet.core.gate import Hold
from subnet.core.packed import pack
from subnet.core.records import RECORD as RECORDS
from subnet.core.records import Lost, Opined
from subnet.core.rules import RuleParams
from tests.evidence_support import make_signed
from tests.records_support import make_statement

signed = make_signed()
store = SqliteValidatorStore(Path(sys.argv[1]), {"hotkey": "validator", "subnet": "1"}, bytes(32))
standing = fresh_standing("miner", "0" * 64, EvidenceParams())
claim = Claim((1,), (2,) * 500, 1000, 950, 50, 1, None, "length")
for number in range(10**9):
    standing = after_answer(standing, 1.0, StandingParams())
    request = f"{store.reserve_counter():032x}"
    pending = PendingAudit(
        request, "miner", Traffic.BENCHMARK, 0, number, "d" * 64, claim, signed, 1_000_000
    )
    ending = Lost(at_us=1, period=0, counter=number)
    store.save_ending(standing, ending, pending)
    print(number, flush=True)
"""


def test_kill_minus_nine_loses_nothing_that_was_saved(path):
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    )
    saved = -1
    for line in victim.stdout:
        saved = int(line)
        if saved >= 40:
            break
    os.kill(victim.pid, signal.SIGKILL)
    saved = max([saved, *(int(line) for line in victim.stdout.read().splitlines())])
    victim.wait()
    store = SqliteValidatorStore(path, IDENTITY, SECRET)
    (survivor,) = store.standings()
    waiting = store.pending_audits(10**6)
    assert survivor.answered >= saved + 1
    assert len(waiting) == survivor.answered, "an answer and its standing are one transaction"
    assert store.reserve_counter() >= survivor.answered
    store.close()
