"""A release is admitted if honest answers raise no alarm and known cheats raise one in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.core.scoring import ScoringParams
from subnet.core.verification.admission import refused
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.power import (
    POWER_BARS,
    PROBATION_RESPONSES,
    AttackPower,
    PowerBar,
    shortfalls,
)
from subnet.lab.attacks import ATTACKS
from tests.validator_support import CALM, GOOD, power_report, whole_table


def test_every_bar_names_a_shipped_attack_once():
    names = [bar.attack for bar in POWER_BARS]
    assert len(set(names)) == len(names)
    assert set(names) <= {attack.name for attack in ATTACKS}


def test_the_first_bar_is_the_probation_of_the_scores():
    assert ScoringParams().probation_answers == PROBATION_RESPONSES


@given(st.integers(1, 100), st.one_of(st.none(), st.integers(1, 200)))
def test_a_bar_is_met_by_95_percent_in_time_and_by_nothing_else(limit, p95):
    bar = PowerBar(attack="a", p95_responses_max=limit)
    one = AttackPower(attack="a", detected=0.5, median_responses=None, p95_responses=p95)
    assert (shortfalls([one], [bar]) == ()) == (p95 is not None and p95 <= limit)
    assert shortfalls([], [bar]) == ("a: not played",)


@given(st.sets(st.integers(0, len(GOOD) - 1)))
def test_every_missed_bar_is_named(places):
    found = [
        one.model_copy(update={"p95_responses": None}) if n in places else one
        for n, one in enumerate(GOOD)
    ]
    lines = shortfalls(found)
    assert len(lines) == len(places)
    assert all(GOOD[n].attack in " ".join(lines) for n in places)


def test_a_table_that_was_tried_and_stood_is_not_refused():
    assert refused(whole_table()) == ()


def test_power_is_asked_for_on_both_kinds_of_traffic():
    weak = tuple(one.model_copy(update={"p95_responses": 10**6}) for one in GOOD)
    assert len(refused(whole_table(power=power_report(benchmark=weak)))) == len(POWER_BARS)
    assert all(
        line.startswith("of users")
        for line in refused(whole_table(power=power_report(organic=weak)))
    )


@pytest.mark.parametrize("change", [{"alarms": 1}, {"mean_factor_max": 1.001}])
def test_honest_answers_that_look_guilty_refuse_a_whole_table(change):
    loud = CALM.model_copy(update=change)
    assert "benchmarks" in refused(whole_table(held_out=loud))[0]
    assert "hostile prompts" in refused(whole_table(hostile=loud))[0]


def test_one_question_that_convicts_when_repeated_refuses_a_table():
    whole = whole_table()
    users = whole.users.model_copy(update={"repeated_alarms": 2})
    (line,) = refused(whole.model_copy(update={"users": users}))
    assert line.startswith("2 hostile prompts")


def test_what_was_not_measured_refuses_too():
    whole = whole_table()
    for missing in ("held_out", "users", "power"):
        assert refused(whole.model_copy(update={missing: None}))


def test_a_power_table_survives_json_and_takes_no_key_that_is_not_its_own():
    whole = whole_table()
    text = whole.model_dump_json()
    assert CalibrationTable.model_validate_json(text) == whole
    with pytest.raises(ValueError, match="verdict"):
        CalibrationTable.model_validate_json(
            text.replace('"benchmark":', '"verdict":1,"benchmark":')
        )
