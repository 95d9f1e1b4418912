"""What bursts proved follows from the answers, and no bad burst of a friend can be left out."""

from dataclasses import replace

import pytest

from subnet.core.checks import Outcome
from subnet.core.cover import burst_from, counted_window, interval_seconds
from subnet.core.records import (
    RECORD,
    Answered,
    Begun,
    InBurst,
    Measured,
    Started,
    Voided,
    VoidWord,
)
from subnet.core.replay import replay
from subnet.core.replay_bursts import ON_ROSTER_US, SLACK_US
from tests.replay_support import (
    behind,
    changed,
    of_burst,
    place_of,
    problem,
    records_of,
    restated,
    signed,
    verify,
)
from tests.validator_support import miner_hotkey


@pytest.fixture(scope="module")
def files(burst_files):
    return burst_files


def whole(files):
    """A file in which a first try begins and ends, with answers that were verified, and its
    number."""
    for file in files[1:]:
        records = records_of(file)
        began = {
            one.burst
            for one in records
            if isinstance(one, Begun) and one.period in file.secrets and one.instead_of is None
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: {"rate_tps_milli": one.rate_tps_milli + 1}, "not the rate told"),
        (lambda one: {"met_ppm": one.met_ppm + 1}, "met other company"),
        (lambda one: {"met_ppm": 0}, "met other company"),
        (lambda one: {"beside": (*one.beside, 2)}, "met other company"),
        (lambda one: {"cover": one.cover + 1}, "met other company"),
        (lambda one: {"burst": one.burst + 1}, "in which it was not"),
    ],
)
def test_another_rate_or_company_than_the_answers_give_is_seen(files, change, words):
    file, number = whole(files)
    at = place_of(file, Measured, of_burst(number, Measured))
    result = RECORD.validate_json(file.lines[at]).result
    other = result.model_copy(update=change(result))
    assert words in problem(changed(file, at, result=other))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: None, "untold"),
        (lambda told: told.model_copy(update={"tokens": 0}), "not what its times give"),
        (lambda told: told.model_copy(update={"tokens": told.tokens + 1}), "not what its times"),
        (lambda told: told.model_copy(update={"burst": 0}), "untold"),
    ],
)
def test_other_tokens_in_a_burst_than_an_answers_times_give_are_seen(files, change, words):
    file, number = whole(files)
    at = place_of(file, Begun, of_burst(number, Begun))
    begun = RECORD.validate_json(file.lines[at])
    window = counted_window(begun.at_us, file.rules.capacity)

    def is_inside(record):
        middle = window.start + 3_000_000 < record.at_us < window.stop - 2_000_000
        return of_burst(number, Answered)(record) and middle

    at = place_of(file, Answered, is_inside)
    told = RECORD.validate_json(file.lines[at]).in_burst
    assert told.tokens == RECORD.validate_json(file.lines[at]).response.output_tokens
    assert words in problem(changed(file, at, in_burst=change(told)))


def test_an_answer_for_a_burst_that_never_began_is_seen(files):
    file = files[1]
    at = place_of(file, Answered, lambda one: one.in_burst is None)
    told = InBurst(burst=10**6, tokens=0)
    assert "never began" in problem(changed(file, at, in_burst=told))


def test_more_tokens_than_an_answer_has_are_seen_before_the_secret_is(files):
    file, number = whole(files)
    at = place_of(file, Answered, of_burst(number, Answered))
    told = InBurst(burst=number, tokens=10**6)
    hidden = replace(changed(file, at, in_burst=told), secrets={})
    assert "than it has" in problem(hidden)


def test_a_friends_bad_burst_that_is_left_out_is_seen(files):
    file, number = whole(files)
    rates = of_burst(number, Measured)
    begun = next(filter(of_burst(number, Begun), records_of(file)))
    friend = next(hotkey for hotkey in begun.group if was_asked_before(file, hotkey, begun.at_us))
    assert "under way are others" in problem(without(file, rates))
    alone = without(file, lambda one: rates(one) and one.miner_hotkey == friend)
    assert "only some" in problem(alone)
    begin = place_of(alone, Begun, of_burst(number, Begun))
    others = {hotkey: beside for hotkey, beside in begun.group.items() if hotkey != friend}
    lines = [*changed(alone, begin, group=others).lines]
    for at, line in enumerate(lines):
        record = RECORD.validate_json(line)
        if isinstance(record, Answered) and record.miner_hotkey == friend:
            lines[at] = record.model_copy(update={"in_burst": None}).to_bytes()
    assert "was left out" in problem(restated(file, lines))


def was_asked_before(file, hotkey, at_us):
    """So shortly that it was surely on the roster at that instant."""
    return any(
        at_us - ON_ROSTER_US < record.at_us - record.total_us < at_us
        for record in records_of(file)
        if isinstance(record, Answered) and record.miner_hotkey == hotkey
    )


def test_rates_that_come_before_the_audits_are_seen(files):
    file, number = whole(files)
    at = place_of(file, Measured, of_burst(number, Measured))
    first = place_of(file, Answered, of_burst(number, Answered))
    line = file.lines[at]
    early = without(file, lambda one: one.to_bytes() == line)
    assert "before all answers were audited" in problem(behind(early, first, line))


@pytest.mark.parametrize("word", VoidWord)
def test_a_burst_that_is_called_void_without_a_sign_of_it_is_seen(files, word):
    """That our machine was overloaded is the validator's word; but then the burst comes again."""
    file, number = whole(files)
    rates = of_burst(number, Measured)
    at = place_of(file, Measured, rates)
    at_us = RECORD.validate_json(file.lines[at]).at_us
    void = Voided(at_us=at_us, first=number, last=number, word=word).to_bytes()
    told = problem(without(behind(file, at - 1, void), rates))
    words = {
        VoidWord.STOPPED: "no process had stopped",
        VoidWord.NETWORK: "no request shows it",
        VoidWord.VERIFIER: "other bursts come next",
    }.get(word, "no reason there")
    assert words in told
    assert "its rates are told" in problem(behind(file, at, void))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"last": 10**9}, "before its interval began"),
        ({"first": 10**9}, "before its interval began"),
        ({"first": 1}, "was due"),
        ({"word": VoidWord.NETWORK}, "no reason there"),
        ({"word": VoidWord.VERIFIER}, "no reason there"),
    ],
)
def test_an_interval_without_a_burst_has_its_reason(files, change, words):
    def never_began(record):
        return record.word in (VoidWord.LATE, VoidWord.STOPPED, VoidWord.NOBODY)

    for file in files[1:]:
        records = records_of(file)
        began = {one.burst for one in records if isinstance(one, Begun)}
        began |= {one.begun.burst for one in file.said_before.open_bursts}
        for at, record in enumerate(records):
            if isinstance(record, Voided) and never_began(record) and record.first not in began:
                assert words in problem(changed(file, at, **change))
                return
    raise AssertionError("every interval had its burst")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: {"at_us": one.at_us + 6_000_000}, "another instant"),
        (lambda one: {"at_us": one.at_us - 6_000_000}, "another instant"),
        (lambda one: {"turn": one.turns}, "no turn"),
        (lambda one: {"turns": 100}, "no turn"),
        (lambda one: {"period": one.period + 2}, "not of period"),
        (lambda one: {"pair": (0, 99)}, "no such blocks"),
        (lambda one: {"burst": one.burst + 1}, "was due, and burst"),
        (lambda one: {"group": one.group | {one.blocks[one.pair[0]][0]: (99,)}}, "other blocks"),
        (lambda one: {"group": one.group | {miner_hotkey(5): one.pair}}, "was closed"),
        (lambda one: {"group": one.group | {aside(one): one.pair}}, "nothing lets"),
        (
            lambda one: {"group": one.group | {miner_hotkey(40 + n): one.pair for n in range(4)}},
            "newcomers",
        ),
    ],
)
def test_another_instant_or_company_than_is_drawn_is_seen(files, change, words):
    file, number = whole(files)
    at = place_of(file, Begun, of_burst(number, Begun))
    begun = RECORD.validate_json(file.lines[at])
    assert len(begun.blocks) > 2
    assert words in problem(changed(file, at, **change(begun)))


def aside(begun):
    """A hotkey of a block that does not meet."""
    there = {0, 1, 2} - {*begun.pair}
    return begun.blocks[min(there)][0]


def test_a_burst_that_outlives_its_process_is_seen(files):
    file, number = whole(files)
    started = Started(at_us=1, rules=file.rules, release_digest=file.said.release_digest)
    at = place_of(file, Begun, of_burst(number, Begun))
    assert "outlived the process" in problem(behind(file, at, started.to_bytes()))


def test_what_comes_to_the_next_process_while_a_burst_would_run_is_not_its_own(files):
    file, number = whole(files)
    at = place_of(file, Begun, of_burst(number, Begun))
    begun = RECORD.validate_json(file.lines[at])
    window = counted_window(begun.at_us, file.rules.capacity)
    came = place_of(file, Answered, of_burst(number, Answered))
    assert RECORD.validate_json(file.lines[came]).at_us < window.stop - SLACK_US
    untold = changed(file, came, in_burst=None)
    assert "untold" in problem(untold)
    stopped = {"first": number, "last": number, "word": VoidWord.STOPPED}
    restart = (
        Started(at_us=begun.at_us, rules=file.rules, release_digest=file.said.release_digest),
        Voided(at_us=begun.at_us, **stopped),
    )
    told = problem(behind(untold, at, *(one.to_bytes() for one in restart)))
    assert told and "untold" not in told


def test_a_cover_whose_order_is_chosen_is_seen(files):
    places = [
        (file, at, record)
        for file in files[1:]
        for at, record in enumerate(records_of(file))
        if isinstance(record, Begun) and record.period in file.secrets
    ]
    file, at, record = next(one for one in places if one[2].cover == one[2].burst + 1)
    assert "than the secret draws" in problem(changed(file, at, **swapped(record)))
    upcoming = burst_from(record.burst + 1, file.rules.capacity)
    later = record.model_copy(update={"burst": upcoming, **swapped(record)})
    assert "has other blocks" in problem(behind(file, at, later.to_bytes()))


def swapped(begun):
    """Two hotkeys change places."""
    (one, *first), (other, *second), *rest = begun.blocks
    blocks = ((other, *first), (one, *second), *rest)
    places = {one: other, other: one}
    group = {places.get(hotkey, hotkey): beside for hotkey, beside in begun.group.items()}
    return {"blocks": blocks, "group": group}


def test_a_validator_that_stops_its_bursts_is_seen(files):
    """Whoever would keep a rate from better days."""
    file = next(one for one in files[1:] if one.said.next_burst is not None)
    late_us = 1000 * 10**6 + round(interval_seconds(file.rules.capacity) * 10**6)
    told = problem(signed(file, at_us=file.said.at_us + late_us))
    assert "neither began nor is void" in told
    assert "next burst" in problem(signed(file, next_burst=file.said.next_burst + 1))
    assert "next burst" in problem(signed(file, next_burst=None))


def test_a_pair_that_is_chosen_in_the_first_cover_is_seen(files):
    """While most are newcomers as later."""
    file, at, begun = next(
        (file, at, record)
        for file in files
        for at, record in enumerate(records_of(file))
        if isinstance(record, Begun) and record.period in file.secrets
    )
    assert begun.cover == begun.burst + 1, "the first of all"
    for pair in {(0, 1), (0, 2), (1, 2)} - {begun.pair}:
        first, second = pair
        seats = dict.fromkeys(begun.blocks[first], (second,))
        group = seats | dict.fromkeys(begun.blocks[second], (first,))
        chosen = changed(file, at, pair=pair, group=group)
        assert "the secret draws another pair" in problem(chosen)


def test_bursts_under_way_at_an_epochs_end_are_carried_over(files):
    file = next(one for one in files if one.said.open_bursts)
    (one,) = file.said.open_bursts
    for other in (
        (),
        (one.model_copy(update={"credits_ppm": {miner_hotkey(0): 10**12}}),),
        (one.model_copy(update={"begun": one.begun.model_copy(update={"at_us": 1})}),),
    ):
        assert "under way are others" in problem(signed(file, open_bursts=other))


def test_a_fault_of_the_network_before_an_epochs_end_still_voids_a_burst(files):
    """Its void waits for all audits, and may stand in the next file."""
    for file in files[1:]:
        for one in file.said_before.open_bursts:
            rates = of_burst(one.begun.burst, Measured)
            if any(map(rates, records_of(file))):
                break
        else:
            continue
        break
    else:
        raise AssertionError("no burst is concluded in the file after the one that it began in")
    number = one.begun.burst
    at = place_of(file, Measured, rates)
    at_us = RECORD.validate_json(file.lines[at]).at_us
    void = Voided(at_us=at_us, first=number, last=number, word=VoidWord.NETWORK).to_bytes()
    voided = without(behind(file, at - 1, void), rates)
    assert "no request shows it" in problem(voided)
    failed_before = one.model_copy(update={"had_network_fault": True})
    said = file.said_before.model_copy(
        update={
            "open_bursts": tuple(
                failed_before if other == one else other for other in file.said_before.open_bursts
            )
        }
    )
    previous = file.previous.model_copy(update={"statement": said})
    assert "no request shows it" not in problem(replace(voided, previous=previous))
