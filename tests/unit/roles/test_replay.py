"""What a validator signed of an epoch, anybody computes again; and which lies of it are seen."""

from dataclasses import replace

import pytest

from subnet.core import epoch_file
from subnet.core.audit import PPM
from subnet.core.checks import Outcome
from subnet.core.draws import Anchor
from subnet.core.records import (
    RECORD,
    Answered,
    Audited,
    Faulted,
    Lost,
    Measured,
    Paid,
    PassedOver,
    Started,
)
from subnet.core.replay import chain_checks, contradicted, draw_blocks, replay
from subnet.core.standing import Blame
from subnet.core.statement import InFlight, SignedStatement, head_after
from subnet.sim.loop import run_virtual
from tests.replay_support import changed, failed, has, place_of, restated, signed, verify
from tests.validator_support import (
    VALIDATOR,
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
)

BURSTS = {
    "is_measured": True,
    "bursts_per_day": 86_400 // 15,
    "duration_seconds_min": 3.0,
    "duration_seconds_max": 4.0,
}
USUAL_PPM, SUSPECT_PPM = 300_000, 600_000
WORDS = (
    *("honest", "foreign seed", "full", "times out", "slow", "skips stops", "tarpit"),
    *("honest", "honest"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every epoch of a validator that met all sorts of miners, users, and a restart by other
    rules; some answers outlive an epoch."""
    path = tmp_path_factory.mktemp("replay") / "validator.sqlite"
    made = []
    for run in range(2):
        settings = make_settings(
            validator={"epochs_max": 4},
            audit={"organic_ppm": PPM // 2},
            capacity=BURSTS,
            scoring={"probation_answers": 20 + run},
            draws={"window_requests": 8},
        )
        miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(WORDS)]
        subnet = Subnet(path, miners, settings, first_block=1000 * run)
        subnet.store.add_prompts([f"prompt {run} {n}" for n in range(20)])
        subnet.store.add_prompts([f"shown {run} {n}" for n in range(20)], has_consent=True)
        run_virtual(subnet.run())
        made += [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
        subnet.store.close()
    return list({one.signed.statement.epoch_block: one for one in made}.values())


@pytest.fixture
def file(files):
    """One with records of many kinds."""
    return max(files[1:], key=lambda one: len(one.lines))


def test_every_epoch_replays_to_the_same_standings_factors_and_weights(files):
    assert len(files) >= 6
    for file in files:
        checks = replay(epoch_file.from_bytes(epoch_file.to_bytes(file)), verify)
        assert len(checks) == 14
        assert {one.outcome for one in checks} <= {Outcome.HELD, Outcome.OPEN}, checks
    seen = {type(RECORD.validate_json(line)) for one in files for line in one.lines}
    assert seen >= {Answered, Audited, Faulted, Lost, Measured, PassedOver}


def test_a_file_of_another_format_accuses_nobody(file):
    content = epoch_file.to_bytes(file)
    older = content.replace(epoch_file.FORMAT.encode(), b"assay/epoch/2", 1)
    with pytest.raises(epoch_file.EpochFileError, match="assay/epoch/2, and this code reads"):
        epoch_file.from_bytes(older)


def test_a_file_that_was_cut_short_says_so(file):
    (records,) = [
        one.detail
        for one in replay(replace(file, lines=file.lines[:-2]), verify)
        if one.name == "records"
    ]
    assert "the file may be cut short" in records


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
    draw = RECORD.validate_json(file.lines[at]).draw
    assert "audits" in failed(changed(file, at, draw=draw.model_copy(update={"block": None})))

    def rehashed(digest):
        """Every draw of that block told with another hash."""
        lines = []
        for line in file.lines:
            record = RECORD.validate_json(line)
            if isinstance(record, Audited | PassedOver) and record.draw.block == draw.block:
                other = record.draw.model_copy(update={"block_hash": digest})
                line = record.model_copy(update={"draw": other}).to_bytes()
            lines.append(line)
        return restated(file, lines)

    assert "audits" not in failed(rehashed(draw.block_hash))
    assert any("audits" in failed(rehashed(f"{n:064x}")) for n in range(20))
    hashes_of = {n: bytes.fromhex(digest) for n, digest in draw_blocks(file).items()}
    assert chain_outcomes(file, hashes_of)["blocks"] is Outcome.HELD
    assert chain_outcomes(file, dict.fromkeys(hashes_of, bytes(32)))["blocks"] is Outcome.FAILED
    assert chain_outcomes(file, {})["blocks"] is Outcome.OPEN


def redrawn(file, which, share_ppm):
    """The validator says that another share of such answers is audited."""
    lines, told = [], 0
    for line in file.lines:
        record = RECORD.validate_json(line)
        if isinstance(record, Audited | PassedOver) and record.draw.block and which(record):
            told += 1
            draw = record.draw.model_copy(update={"share_ppm": share_ppm})
            line = record.model_copy(update={"draw": draw}).to_bytes()
        lines.append(line)
    assert told
    return restated(file, lines)


@pytest.fixture(scope="module")
def sparse_files(tmp_path_factory):
    """Few answers are audited, and more of those on probation."""
    audit = {"benchmark_ppm": USUAL_PPM, "suspect_ppm": SUSPECT_PPM}
    settings = make_settings(validator={"epochs_max": 4}, audit=audit)
    miners = [FakeMiner(miner_hotkey(n)) for n in range(3)]
    subnet = Subnet(tmp_path_factory.mktemp("sparse") / "validator.sqlite", miners, settings)
    run_virtual(subnet.run())
    made = [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
    subnet.store.close()
    return made


@pytest.mark.parametrize(
    ("share_ppm", "others_ppm"),
    [(SUSPECT_PPM, (USUAL_PPM, PPM, 0)), (USUAL_PPM, (SUSPECT_PPM, PPM, 0))],
)
def test_a_miner_that_is_audited_otherwise_than_it_stands_is_seen(
    sparse_files, share_ppm, others_ppm
):
    """A friend under suspicion like the others, or a rival as if it were suspect."""

    def passed(record):
        return record.draw.share_ppm == share_ppm

    file = next(one for one in sparse_files if has(one, PassedOver, passed))
    at = place_of(file, PassedOver, passed)
    counter = RECORD.validate_json(file.lines[at]).draw.counter
    same = lambda one: one.draw.counter == counter  # noqa: E731
    assert failed(redrawn(file, same, share_ppm)) == set()
    for other in others_ppm:
        assert "audits" in failed(redrawn(file, same, other))


def test_an_audited_share_that_is_chosen_when_the_draw_is_known_is_seen(files):
    """An answer that waits at an epoch's end waits with its share."""
    file = next(one for one in files[1:] if one.said.waiting)
    first, *rest = file.said.waiting
    other = first.model_copy(update={"share_ppm": first.share_ppm // 2})
    assert "audits" in failed(signed(file, waiting=(other, *rest)))


def test_a_benchmark_passed_over_or_audited_out_of_nowhere_is_seen(file):
    at = place_of(file, Audited, lambda one: one.traffic == "BENCHMARK")
    audit = RECORD.validate_json(file.lines[at])
    spared = PassedOver(
        at_us=audit.at_us,
        miner_hotkey=audit.miner_hotkey,
        draw=audit.draw.model_copy(
            update={"share_ppm": PPM // 2, "block": 7, "block_hash": "0" * 64}
        ),
        response_digest=audit.response_digest,
        traffic=audit.traffic,
    )
    lines = [*file.lines]
    lines[at] = spared.to_bytes()
    assert "audits" in failed(restated(file, lines))
    invented = audit.draw.model_copy(update={"counter": 10**9})
    again = audit.model_copy(update={"draw": invented}).to_bytes()
    assert "audits" in failed(restated(file, [*file.lines, again]))
    assert "audits" in failed(changed(file, at, miner_hotkey=miner_hotkey(9)))


def test_an_ending_that_is_hidden_in_flight_or_as_lost_is_seen(files):
    first, second = files[1], files[2]
    before = {one.counter for one in files[0].said.in_flight}
    at = place_of(first, Faulted, lambda one: one.counter not in before)
    fault = RECORD.validate_json(first.lines[at])
    lost = Lost(at_us=fault.at_us, period=fault.period, counter=fault.counter)
    lines = [*first.lines]
    lines[at] = lost.to_bytes()
    assert "due" in failed(restated(first, lines))
    started = next(line for one in files for line in one.lines if b'"kind":"start"' in line)
    assert "due" in failed(restated(first, [started, lines[at], *lines[:at], *lines[at + 1 :]]))
    del lines[at]
    flying = InFlight(period=fault.period, counter=fault.counter, since_us=first.said.at_us)
    hidden = restated(first, lines)
    hidden = signed(hidden, in_flight=(*hidden.said.in_flight, flying))
    assert "due" not in failed(hidden), "for once"
    late = signed(
        replace(second, previous=hidden.signed),
        previous=hidden.said.digest(),
        in_flight=(*second.said.in_flight, flying),
        at_us=flying.since_us + 661 * 10**6,
    )
    assert "due" in failed(late)
    fresh = flying.model_copy(update={"since_us": late.said.at_us})
    assert "due" in failed(signed(late, in_flight=(*second.said.in_flight, fresh)))


def test_other_rules_than_the_process_began_with_are_seen(files):
    file = next(one for one in files[1:] if not any(b'"kind":"start"' in n for n in one.lines))
    scoring = file.rules.scoring.model_copy(update={"full_pay_answers": 1})
    other = Started(
        at_us=1,
        rules=file.rules.model_copy(update={"scoring": scoring}),
        release_digest=file.said.release_digest,
    )
    assert "rules" in failed(restated(file, [*file.lines, other.to_bytes()]))
    consistent = signed(
        restated(file, [*file.lines, other.to_bytes()]), rules_digest=other.rules.digest()
    )
    assert "factors" in failed(consistent), "the factors must be those of the named rules"


def test_periods_secrets_counters_and_epochs_follow_the_statement_before(file):
    at = place_of(file, Answered)
    assert "due" in failed(changed(file, at, period=10**6))
    said = file.said
    for change in (
        {"period": said.period + 7},
        {"netuid": said.netuid + 1},
        {"epoch_block": 0},
        {"at_us": 0},
        {"periods": said.periods[:1]},
        *(
            {"periods": tuple(one.model_copy(update=other) for one in said.periods)}
            for other in ({"secret_digest": "0" * 64}, {"pool_digest": "0" * 64})
        ),
    ):
        assert "statement" in failed(signed(file, **change)), change
    assert "due" in failed(signed(file, next_counter=0))
    assert "due" in failed(signed(file, next_counter=2**52))
    later = replace(file, later=("0" * 64,) * 1)
    assert "secrets" not in failed(later)
    assert "secrets" in failed(replace(later, secrets={}))


def test_blame_and_refusals_follow_from_what_the_miner_signed(files):
    file = next(one for one in files if any(b'"refusal":{' in line for line in one.lines))
    at = place_of(file, Faulted, lambda one: one.refusal is not None)
    refused = RECORD.validate_json(file.lines[at])
    other = refused.refusal.model_copy(update={"request_id": "0" * 32})
    for change in (
        {"refusal": None},
        {"refusal": other},
        {"blame": Blame.MINER},
        *[
            {"refusal": refused.refusal.model_copy(update={"rejection": rejection})}
            for rejection in (
                refused.refusal.rejection.model_copy(update={"retry_after_ms": wait_ms})
                for wait_ms in (None, 0, 60_001)
            )
        ],
        {"word": "TIMEOUT"},
        {"refusal_signature": "1" * 128},
    ):
        assert "signatures" in failed(changed(file, at, **change)), change
    file = next(one for one in files if any(b'"word":"TIMEOUT"' in line for line in one.lines))
    at = place_of(file, Faulted, lambda one: one.word == "TIMEOUT")
    assert "signatures" in failed(changed(file, at, blame=Blame.BACK_PRESSURE))
    assert "signatures" in failed(changed(file, at, word="CAPACITY_FULL"))


def test_a_gift_of_withheld_pay_is_seen(file):
    gift = Paid(at_us=1, miner_hotkey=miner_hotkey(0), withheld_ppm=10**9, owed_ppm=0)
    assert "paid" in failed(restated(file, [*file.lines, gift.to_bytes()]))


def test_a_hostile_file_fails_and_does_not_crash(file):
    said = file.said
    first, *rest = said.miners
    for miners in (
        (first.model_copy(update={"factors": {}}), *rest),
        (first, first, *rest),
        (first.model_copy(update={"uid": rest[0].uid}), *rest),
    ):
        assert "weights" in failed(signed(file, miners=miners))
    at = place_of(file, Answered)
    response = RECORD.validate_json(file.lines[at]).response
    empty = response.model_copy(update={"output_tokens": 0})
    assert "standings" in failed(changed(file, at, response=empty))
    debt = Paid(at_us=1, miner_hotkey=miner_hotkey(0), withheld_ppm=None, owed_ppm=5)
    assert "standings" in failed(restated(file, [*file.lines, debt.to_bytes()]))


def chain_outcomes(file, hashes, anchor=None, weights=None):
    return {one.name: one.outcome for one in chain_checks(file, anchor, weights or {}, hashes)}


def test_a_statement_of_the_past_stands_under_todays_anchor(files):
    last, past = files[-1], files[-3]
    head = head_after(last.head_before, last.said.digest())
    prefix = bytes.fromhex(last.said.rules_digest)[:16]
    anchor = Anchor(last.said.period + 1, bytes(32), None, prefix, head)
    for file in (last, past):
        assert chain_outcomes(file, {}, anchor)["anchor"] is Outcome.HELD
    rewritten = signed(past, weights=())
    assert chain_outcomes(rewritten, {}, anchor)["anchor"] is Outcome.FAILED
    other_rules = replace(anchor, params_prefix=bytes(16))
    assert chain_outcomes(last, {}, other_rules)["anchor"] is Outcome.FAILED
    younger = replace(anchor, period=anchor.period + 1, statements_head=bytes([1] * 32))
    assert chain_outcomes(past, {}, younger)["anchor"] is Outcome.OPEN
    older = replace(anchor, period=last.said.period, statements_head=last.head_before)
    assert chain_outcomes(last, {}, older)["anchor"] is Outcome.OPEN
    shares = {one.uid: float(one.share) for one in last.said.weights}
    assert chain_outcomes(last, {}, anchor, shares)["chain"] is Outcome.HELD
    assert chain_outcomes(last, {}, anchor, {0: 1.0})["chain"] is Outcome.OPEN


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
    assert "standings" in failed(restated(file, lines))


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
    scoring = file.rules.scoring.model_copy(update={"full_pay_answers": 1})
    other = file.rules.model_copy(update={"scoring": scoring})
    assert "rules" in failed(replace(file, rules=other))
    assert "rules" in failed(replace(file, rules=None))
    assert "secrets" in failed(replace(file, secrets=dict.fromkeys(file.secrets, bytes(32))))
    assert "secrets" in failed(replace(file, secrets=file.secrets | {999: bytes(32)}))


def test_a_miners_own_log_contradicts_a_claimed_timeout(files):
    records = [RECORD.validate_json(line) for file in files for line in file.lines]
    fault = next(one for one in records if isinstance(one, Faulted) and one.word == "TIMEOUT")
    other = next(one for one in records if isinstance(one, Answered)).response
    answer = other.model_copy(update={"request_digest": fault.request_digest})
    log = {fault.request_digest: (answer, "0" * 128)}
    assert contradicted(records, log, VALIDATOR, verify) == [fault]
    for wrong in ({}, {fault.request_digest: (answer, "1" * 128)}):
        assert contradicted(records, wrong, VALIDATOR, verify) == []
    foreign = {fault.request_digest: (other, "0" * 128)}
    assert contradicted(records, foreign, VALIDATOR, verify) == []
