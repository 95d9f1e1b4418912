"""What bursts proved follows from the answers, and no bad burst of a friend can be left out."""

from itertools import count

import pytest

from subnet.core.checks import Outcome
from subnet.core.cover import interval_seconds
from subnet.core.records import (
    RECORD,
    Answered,
    Begun,
    Measured,
    Started,
    Voided,
    VoidWord,
)
from subnet.core.replay import replay
from subnet.sim.loop import run_virtual
from tests.replay_support import changed, failed, place_of, restated, signed, verify
from tests.validator_support import FakeMiner, Subnet, make_settings, miner_hotkey

CAPACITY = {
    "is_measured": True,
    "bursts_per_day": 86_400 // 20,
    "duration_seconds_min": 3.0,
    "duration_seconds_max": 4.0,
    "answer_seconds_max": 5.0,
    "group_size": 4,
}
WORDS = ("honest", "honest", "full", "slow", "honest", "foreign seed", "honest")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Epochs with bursts of two blocks at a time, over two processes of one validator."""
    path = tmp_path_factory.mktemp("bursts") / "validator.sqlite"
    made = {}
    for run in range(2):
        settings = make_settings(
            validator={"epochs_max": 7}, audit={"organic_ppm": 0}, capacity=CAPACITY
        )
        miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(WORDS)]
        subnet = Subnet(path, miners, settings, first_block=1000 * run)
        subnet.store.add_prompts([f"prompt {run} {n}" for n in range(20)])
        run_virtual(subnet.run())
        for block in subnet.store.closed_epochs():
            made[block] = subnet.store.epoch_file(block)
        subnet.store.close()
    return list(made.values())


def records_of(file):
    return [RECORD.validate_json(line) for line in file.lines]


def whole(files):
    """A file in which a burst begins and ends, with answers that were verified, and its number."""
    for file in files[1:]:
        records = records_of(file)
        began = {
            one.burst for one in records if isinstance(one, Begun) and one.period in file.secrets
        }
        for one in records:
            if (
                isinstance(one, Measured)
                and one.result.burst in began
                and one.result.rate_tps_milli
            ):
                return file, one.result.burst
    raise AssertionError("no burst")


def without(file, which):
    return restated(file, [line for line in file.lines if not which(RECORD.validate_json(line))])


def test_honest_bursts_replay_over_epochs_and_restarts(files):
    kinds, open_ones = set(), 0
    for file in files:
        found = {one.name: one for one in replay(file, verify)}
        assert all(one.outcome is not Outcome.FAILED for one in found.values()), found
        kinds |= {type(one) for one in records_of(file)}
        open_ones += len(file.said.open_bursts)
    assert kinds >= {Begun, Measured, Voided, Started}
    assert open_ones > 0, "some burst outlives its epoch"
    words = {one.word for file in files for one in records_of(file) if isinstance(one, Voided)}
    assert VoidWord.STOPPED in words


def test_another_rate_than_the_answers_give_is_seen(files):
    file, number = whole(files)
    at = place_of(
        file, Measured, lambda one: one.result.burst == number and one.result.rate_tps_milli
    )
    result = RECORD.validate_json(file.lines[at]).result
    for change in (
        {"rate_tps_milli": result.rate_tps_milli + 1},
        {"met_ppm": result.met_ppm + 1},
        {"met_ppm": 0},
        {"beside": (*result.beside, 2)},
        {"burst": number + 1},
        {"cover": result.cover + 1},
    ):
        other = result.model_copy(update=change)
        assert "bursts" in failed(changed(file, at, result=other)), change


def test_more_tokens_in_a_burst_than_an_answers_times_give_are_seen(files):
    file, number = whole(files)

    def counts(record):
        return record.in_burst is not None and record.in_burst.burst == number

    inside = place_of(file, Answered, lambda one: counts(one) and one.in_burst.tokens)
    told = RECORD.validate_json(file.lines[inside]).in_burst
    for other in (
        None,
        told.model_copy(update={"tokens": 0}),
        told.model_copy(update={"burst": 0}),
    ):
        assert "bursts" in failed(changed(file, inside, in_burst=other)), other
    for tokens in (told.tokens + 10**6,):
        more = told.model_copy(update={"tokens": tokens})
        assert "bursts" in failed(changed(file, inside, in_burst=more))


def test_a_friends_bad_burst_that_is_left_out_is_seen(files):
    file, number = whole(files)
    of_burst = lambda one: isinstance(one, Measured) and one.result.burst == number  # noqa: E731
    friend = next(one.miner_hotkey for one in records_of(file) if of_burst(one))
    assert "bursts" in failed(without(file, of_burst))
    assert "bursts" in failed(
        without(file, lambda one: of_burst(one) and one.miner_hotkey == friend)
    )
    begin = place_of(file, Begun, lambda one: one.burst == number)
    assert "bursts" in failed(
        without(file, lambda one: isinstance(one, Begun) and one.burst == number)
    )
    group = RECORD.validate_json(file.lines[begin]).group
    fewer = {hotkey: beside for hotkey, beside in group.items() if hotkey != friend}
    lines = [*changed(file, begin, group=fewer).lines]
    hidden = restated(file, lines)
    hidden = without(hidden, lambda one: of_burst(one) and one.miner_hotkey == friend)
    assert "bursts" in failed(hidden)
    lines = []
    for line in hidden.lines:
        record = RECORD.validate_json(line)
        if isinstance(record, Answered) and record.miner_hotkey == friend:
            line = record.model_copy(update={"in_burst": None}).to_bytes()
        lines.append(line)
    assert "bursts" in failed(restated(file, lines)), "it was asked before and after the instant"


@pytest.mark.parametrize("word", VoidWord)
def test_a_burst_that_is_called_void_without_a_sign_of_it_is_seen(files, word):
    """But for our own machine's fault: that it was overloaded is the validator's word."""
    file, number = whole(files)
    lines, is_told = [], False
    for line in file.lines:
        record = RECORD.validate_json(line)
        if isinstance(record, Measured) and record.result.burst == number:
            if not is_told:
                void = Voided(at_us=record.at_us, first=number, last=number, word=word)
                lines.append(void.to_bytes())
            is_told = True
        else:
            lines.append(line)
    assert ("bursts" in failed(restated(file, lines))) is (word is not VoidWord.VERIFIER)


def test_a_burst_that_never_began_for_a_reason_of_others_is_seen(files):
    file, number = whole(files)
    for word in (VoidWord.NETWORK, VoidWord.VERIFIER, VoidWord.STOPPED):
        lines = []
        for line in file.lines:
            record = RECORD.validate_json(line)
            if isinstance(record, Begun) and record.burst == number:
                void = Voided(at_us=record.at_us, first=number, last=number, word=word)
                line = void.to_bytes()
            if not isinstance(record, Measured):
                lines.append(line)
        assert "bursts" in failed(restated(file, lines)), word


def test_another_instant_turn_cover_or_company_is_seen(files):
    file, number = whole(files)
    at = place_of(file, Begun, lambda one: one.burst == number)
    begun = RECORD.validate_json(file.lines[at])
    first, *others = begun.blocks
    stranger = miner_hotkey(40)
    for change in (
        {"at_us": begun.at_us + 6_000_000},
        {"at_us": begun.at_us - 6_000_000},
        {"turn": begun.turns},
        {"turns": 100},
        {"period": begun.period + 1},
        {"pair": (0, 99)},
        {"burst": number + 1},
        {"group": {**begun.group, first[0]: (0,)}},
    ):
        assert "bursts" in failed(changed(file, at, **change)), change
    assert stranger not in first and others


def test_a_cover_whose_order_is_chosen_is_seen(files):
    for file in files[1:]:
        for at, record in zip(count(), records_of(file), strict=False):
            is_drawn_here = isinstance(record, Begun) and record.cover == record.burst + 1
            if is_drawn_here and record.period in file.secrets:
                first, second, *rest = record.blocks
                swapped = ((second[0], *first[1:]), (first[0], *second[1:]), *rest)
                assert "bursts" in failed(changed(file, at, blocks=swapped))
                return
    raise AssertionError("no cover was drawn")


def test_a_validator_that_stops_its_bursts_is_seen(files):
    """Whoever would keep a rate from better days."""
    file = next(one for one in files[1:] if one.said.next_burst is not None)
    late_us = 1000 * 10**6 + round(interval_seconds(file.rules.capacity) * 10**6)
    assert "bursts" in failed(signed(file, at_us=file.said.at_us + late_us))
    assert "bursts" in failed(signed(file, next_burst=file.said.next_burst + 1))
    assert "bursts" in failed(
        signed(file, open_bursts=()) if file.said.open_bursts else signed(file, next_burst=None)
    )


def test_bursts_under_way_at_an_epochs_end_are_carried_over(files):
    file = next(one for one in files if one.said.open_bursts)
    (one,) = file.said.open_bursts
    for other in (
        (),
        (one.model_copy(update={"credits_ppm": {miner_hotkey(0): 10**12}}),),
        (one.model_copy(update={"waiting": ()}),) if one.waiting else (),
    ):
        assert "bursts" in failed(signed(file, open_bursts=other))
