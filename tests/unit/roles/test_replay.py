"""What a validator signed of an epoch, anybody computes again; and no lie of it stays unseen."""

import asyncio
from dataclasses import replace

import pytest

from subnet.core import epoch_file
from subnet.core.audit import PPM
from subnet.core.checks import Outcome
from subnet.core.records import RECORD, Answered, Audited, Faulted, Lost, Measured, PassedOver
from subnet.core.replay import contradicted, replay
from subnet.core.statement import SignedStatement, records_root
from tests.validator_support import (
    FakeMiner,
    FakeSigner,
    Subnet,
    inline,
    is_signed,
    make_settings,
    miner_hotkey,
    run_virtual,
)

BURSTS = {
    "is_measured": True,
    "bursts_per_day": 86_400 // 15,
    "duration_seconds_min": 3.0,
    "duration_seconds_max": 4.0,
}
WORDS = ("honest", "foreign seed", "full", "times out", "slow", "skips stops")


def verify(message, signature, hotkey):
    """The validator signs; what fake miners sign is a row of zeros."""
    return signature == "0" * 128 or is_signed(message, signature, hotkey)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every epoch of a validator that met all sorts of miners, users and a restart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", inline)
        settings = make_settings(
            validator={"epochs_max": 4}, audit={"organic_ppm": PPM // 2}, capacity=BURSTS
        )
        path = tmp_path_factory.mktemp("replay") / "validator.sqlite"
        made = []
        for run in range(2):
            miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(WORDS)]
            subnet = Subnet(path, miners, settings, first_block=1000 * run)
            subnet.store.add_prompts([f"prompt {run} {n}" for n in range(40)])
            run_virtual(subnet.run())
            made += [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
            subnet.store.close()
        return list({one.signed.statement.epoch_block: one for one in made}.values())


@pytest.fixture
def file(files):
    """One with records of many kinds."""
    return max(files[1:], key=lambda one: len(one.lines))


def signed(file, **changes):
    """The same file, its statement changed and signed by the validator itself."""
    statement = file.signed.statement.model_copy(update=changes)
    signature = FakeSigner().sign(statement.signing_bytes())
    return replace(file, signed=SignedStatement(statement=statement, signature=signature))


def restated(file, lines):
    """A validator that signs other records."""
    lines = tuple(lines)
    changed = signed(file, records=len(lines), records_root=records_root(lines))
    return replace(changed, lines=lines)


def failed(file):
    return {one.name for one in replay(file, verify) if one.outcome is Outcome.FAILED}


def has(file, kind, which):
    records = map(RECORD.validate_json, file.lines)
    return any(isinstance(record, kind) and which(record) for record in records)


def place_of(file, kind, which=lambda record: True):
    return next(
        n
        for n, line in enumerate(file.lines)
        if isinstance(record := RECORD.validate_json(line), kind) and which(record)
    )


def test_every_epoch_replays_to_the_same_standings_factors_and_weights(files):
    assert len(files) >= 6
    for file in files:
        checks = replay(epoch_file.from_bytes(epoch_file.to_bytes(file)), verify)
        assert len(checks) == 11
        assert {one.outcome for one in checks} <= {Outcome.HELD, Outcome.OPEN}, checks
    seen = {type(RECORD.validate_json(line)) for one in files for line in one.lines}
    assert seen >= {Answered, Audited, Faulted, Lost, Measured, PassedOver}


@pytest.mark.parametrize("place", [0, -1, 7])
def test_a_record_flipped_dropped_added_or_moved_is_seen(file, place):
    lines = list(file.lines)
    flipped = [*lines]
    flipped[place] = flipped[place].replace(b"0", b"1", 1)
    dropped = [*lines]
    del dropped[place]
    moved = [*lines]
    moved[place], moved[3] = moved[3], moved[place]
    for wrong in (flipped, dropped, [*lines, lines[place]], moved):
        assert "records" in failed(replace(file, lines=tuple(wrong)))


def test_a_validator_that_drops_an_ending_and_signs_again_is_seen(file):
    lines = [*file.lines]
    del lines[place_of(file, Faulted)]
    assert "due" in failed(restated(file, lines))


def test_an_ending_that_was_never_due_is_seen(file):
    line = file.lines[place_of(file, Lost | Answered)]
    record = RECORD.validate_json(line)
    foreign = record.model_copy(update={"counter": file.signed.statement.next_counter + 5})
    assert "due" in failed(restated(file, [*file.lines, foreign.to_bytes()]))
    assert "due" in failed(restated(file, [*file.lines, line]))


def test_an_audit_that_is_left_out_is_seen(file):
    """Of an answer of the same epoch: only there can a reader know that it was due."""
    lines = [*file.lines]
    records = [RECORD.validate_json(line) for line in lines]
    here = {one.counter for one in records if isinstance(one, Answered)}
    is_here = lambda one: one.traffic == "BENCHMARK" and one.draw.counter in here  # noqa: E731
    del lines[place_of(file, Audited, is_here)]
    assert "audits" in failed(restated(file, lines))


def test_an_answer_that_no_longer_waits_and_was_not_audited_is_seen(files):
    file = next(one for one in files[1:] if one.signed.statement.waiting)
    waiting = file.signed.statement.waiting
    assert "audits" in failed(signed(file, waiting=waiting[1:]))
    assert "audits" in failed(signed(file, waiting=(*waiting, waiting[0])))


def test_a_lucky_task_for_a_friend_is_seen(file):
    at = place_of(file, Answered, lambda one: one.traffic == "BENCHMARK")
    record = RECORD.validate_json(file.lines[at])
    for change in ({"prompt_digest": "0" * 64}, {"request_id": "0" * 32}):
        lines = [*file.lines]
        lines[at] = record.model_copy(update=change).to_bytes()
        assert "draws" in failed(restated(file, lines))


def test_an_audit_draw_that_decides_otherwise_is_seen(files):
    file = next(one for one in files if any(b'"kind":"pass"' in line for line in one.lines))
    at = place_of(file, PassedOver)
    record = RECORD.validate_json(file.lines[at])
    lines = [*file.lines]
    draws = (record.draw.model_copy(update={"block_hash": f"{n:064x}"}) for n in range(99))
    tried = []
    for draw in draws:
        lines[at] = record.model_copy(update={"draw": draw}).to_bytes()
        tried.append("audits" in failed(restated(file, lines)))
    assert any(tried)


def test_an_answer_that_the_miner_did_not_sign_is_seen(file):
    at = place_of(file, Answered)
    lines = [*file.lines]
    record = RECORD.validate_json(lines[at])
    lines[at] = record.model_copy(update={"signature": "1" * 128}).to_bytes()
    assert "signatures" in failed(restated(file, lines))


def test_a_better_grade_than_the_statement_counts_is_seen(files):
    def is_graded(record):
        return record.grade_ppm is not None and record.miner_hotkey == miner_hotkey(0)

    file = next(one for one in files[1:] if has(one, Audited, is_graded))
    at = place_of(file, Audited, is_graded)
    lines = [*file.lines]
    record = RECORD.validate_json(lines[at])
    lines[at] = record.model_copy(update={"grade_ppm": PPM - record.grade_ppm}).to_bytes()
    assert {"standings", "factors"} <= failed(restated(file, lines))


def test_a_factor_a_weight_or_a_uid_that_does_not_follow_is_seen(file):
    said = file.signed.statement
    first, *rest = said.miners
    better = first.model_copy(update={"factors": first.factors | {"latency_ppm": 1}})
    assert failed(signed(file, miners=(better, *rest))) == {"factors", "weights"}
    share, *others = said.weights
    more = share.model_copy(update={"share": share.share + 1})
    assert failed(signed(file, weights=(more, *others))) == {"weights"}
    assert "weights" in failed(signed(file, weights=()))


def test_another_past_or_another_signature_is_seen(files):
    first, second, third = files[:3]
    assert failed(replace(third, previous=first.signed)) >= {"statement"}
    assert "statement" in failed(replace(third, before=second.before))
    forged = SignedStatement(statement=third.signed.statement, signature="1" * 128)
    assert "statement" in failed(replace(third, signed=forged))


def test_other_rules_and_other_secrets_than_committed_are_seen(file):
    scoring = file.rules.scoring.model_copy(update={"probation_answers": 1})
    other = file.rules.model_copy(update={"scoring": scoring})
    assert "rules" in failed(replace(file, rules=other))
    assert "secrets" in failed(replace(file, secrets=dict.fromkeys(file.secrets, bytes(32))))
    assert "secrets" in failed(replace(file, secrets=file.secrets | {999: bytes(32)}))


def test_a_miners_own_log_contradicts_a_claimed_timeout(files):
    records = [RECORD.validate_json(line) for file in files for line in file.lines]
    fault = next(one for one in records if isinstance(one, Faulted) and one.word == "TIMEOUT")
    answer = next(one for one in records if isinstance(one, Answered)).response
    log = {fault.request_digest: (answer, "0" * 128)}
    assert contradicted(records, log, verify) == [fault]
    assert contradicted(records, {fault.request_digest: (answer, "1" * 128)}, verify) == []
    assert contradicted(records, {}, verify) == []
