"""The stream of choices is the same on every machine, and fair enough to plan with."""

from collections import Counter

import pytest

from subnet.core.benchmark.draws import Draws


def test_the_stream_is_pinned():
    draws = Draws(b"label", b"nonce")
    assert [draws.below(1000) for _ in range(6)] == [13, 397, 933, 521, 984, 941]


def test_labels_do_not_run_into_each_other():
    assert Draws(b"ab", b"c").word() != Draws(b"a", b"bc").word()


@pytest.mark.parametrize("bound", [1, 2, 7, 256])
def test_every_value_below_the_bound_occurs_and_none_above(bound):
    draws = Draws(b"range")
    assert {draws.below(bound) for _ in range(40 * bound)} == set(range(bound))


def test_both_ends_of_a_range_occur():
    draws = Draws(b"ends")
    assert {draws.between(3, 5) for _ in range(100)} == {3, 4, 5}


def test_earlier_items_are_favoured_and_every_item_stays_possible():
    draws = Draws(b"favour")
    counts = Counter(draws.favoured("abcd") for _ in range(4000))
    assert counts["a"] > counts["b"] > counts["c"] > counts["d"] > 300


def test_a_sample_is_distinct_and_may_be_everything():
    draws = Draws(b"sample")
    assert sorted(draws.sample("abcd", 4)) == list("abcd")
    assert len(set(draws.sample(range(100), 50))) == 50


def test_a_chance_happens_as_often_as_it_says():
    draws = Draws(b"chance")
    assert 200 < sum(draws.chance(1, 4) for _ in range(1000)) < 300
