"""Whose fault it is: not to be turned into an excuse by a minority, nor into a penalty by us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Rejection
from subnet.core.audit import PPM
from subnet.core.capacity import CapacityParams
from subnet.core.faults import FaultParams, draw_witnesses, is_outage, is_over_asked
from subnet.core.scoring import ScoringParams, score_miner
from subnet.core.standing import (
    Blame,
    StandingParams,
    after_answer,
    after_fault,
    blame_of_refusal,
    fresh_standing,
    requests_refused,
)
from subnet.core.verification.evidence import EvidenceParams

PARAMS = FaultParams()
STANDING = StandingParams()
SECRET = bytes(range(32))
OURS = (Blame.NETWORK, Blame.GATEWAY, Blame.VERIFIER)


@pytest.mark.parametrize(
    ("reason", "retry_after_ms", "blame"),
    [
        ("CAPACITY_FULL", 1, Blame.BACK_PRESSURE),
        ("STOPPING", 60_000, Blame.BACK_PRESSURE),
        ("CAPACITY_FULL", None, Blame.MINER),
        ("STOPPING", None, Blame.MINER),
        ("CAPACITY_FULL", 0, Blame.MINER),
        ("CAPACITY_FULL", 60_001, Blame.MINER),
        ("TOKEN_BUDGET_EXCEEDED", 500, Blame.MINER),
        ("STALE_REQUEST", 500, Blame.MINER),
    ],
)
def test_back_pressure_names_a_time_to_ask_again(reason, retry_after_ms, blame):
    rejection = Rejection(reason=reason, detail="", retry_after_ms=retry_after_ms)
    assert blame_of_refusal(rejection, STANDING) is blame
    assert blame_of_refusal(None, STANDING) is Blame.MINER


def test_a_refusal_counts_for_the_requests_that_its_wait_keeps_away():
    def requests(wait_ms):
        rejection = Rejection(reason="CAPACITY_FULL", detail="", retry_after_ms=wait_ms)
        return requests_refused(rejection, STANDING)

    assert [requests(ms) for ms in (None, 500, 2000, 5000, 60_000)] == [1, 1, 1, 2.5, 30]


@given(st.dictionaries(st.text(max_size=3), st.sampled_from("abcdefgh"), max_size=60))
def test_each_owner_has_one_witness_at_most(owner_of):
    witnesses = draw_witnesses(SECRET, 1, owner_of, PARAMS)
    owners = [owner_of[hotkey] for hotkey in witnesses]
    assert len(owners) == len(set(owners)) == min(len(set(owner_of.values())), 15)


def test_nobody_can_tell_who_will_be_a_witness():
    owner_of = {f"miner-{number}": f"owner-{number}" for number in range(100)}
    drawn = {tuple(draw_witnesses(SECRET, look, owner_of, PARAMS)) for look in range(50)}
    assert len(drawn) == 50
    assert tuple(draw_witnesses(bytes(32), 1, owner_of, PARAMS)) not in drawn


def test_an_owner_of_many_hotkeys_is_one_witness():
    """90 of 100 hotkeys fail together and are one owner's: the network is fine."""
    owner_of = {f"mine-{number}": "me" for number in range(90)}
    owner_of |= {f"other-{number}": f"owner-{number}" for number in range(10)}
    for look in range(100):
        witnesses = draw_witnesses(SECRET, look, owner_of, PARAMS)
        failing = sum(hotkey.startswith("mine") for hotkey in witnesses)
        assert not is_outage(failing, len(witnesses), PARAMS)


@pytest.mark.parametrize(("share", "excused_max"), [(0.1, 0.0), (0.33, 0.02), (0.95, 1.0)])
def test_a_third_of_the_owners_can_hardly_pass_its_failure_off_as_the_networks(share, excused_max):
    owners = [f"owner-{number}" for number in range(200)]
    failing = set(owners[: round(share * 200)])
    excused = sum(
        is_outage(sum(owner in failing for owner in drawn), len(drawn), PARAMS)
        for look in range(2000)
        if (drawn := draw_witnesses(SECRET, look, dict(zip(owners, owners, strict=True)), PARAMS))
    )
    assert excused / 2000 <= excused_max
    assert share < 0.9 or excused > 1900


@given(st.integers(0, 300), st.integers(0, 300))
def test_an_outage_takes_most_of_several_owners(out_of_reach, witnesses):
    out_of_reach = min(out_of_reach, witnesses)
    if is_outage(out_of_reach, witnesses, PARAMS):
        assert witnesses >= 3 and out_of_reach > witnesses / 2
    assert is_outage(witnesses, witnesses, PARAMS) is (witnesses >= 3)


def test_the_bar_of_an_outage_is_a_majority_at_least():
    with pytest.raises(ValueError, match="greater than or equal to 500000"):
        FaultParams(outage_ppm=499_999)


def test_a_miner_is_asked_too_much_once_it_runs_what_it_offers_one_caller():
    assert [is_over_asked(others, 8) for others in range(9)] == [False] * 6 + [True] * 3
    assert [is_over_asked(others, 1) for others in range(2)] == [False, True]


@given(st.lists(st.sampled_from(Blame), max_size=40))
def test_blames_are_counted_apart_and_only_the_miners_own_cost(blames):
    clean = standing = fresh_standing("miner", "0" * 64, EvidenceParams())
    for blame in blames:
        standing = after_fault(standing, "TIMEOUT", blame, StandingParams())
        if blame not in OURS:
            clean = after_fault(clean, "TIMEOUT", blame, StandingParams())
    assert standing.blames == {blame: blames.count(blame) for blame in set(blames)}
    assert sum(standing.faults.values()) == standing.requests == len(blames)
    assert standing.availability == clean.availability
    assert standing.back_pressure == clean.back_pressure


def test_silence_costs_and_what_is_ours_does_not():
    standing = fresh_standing("miner", "0" * 64, EvidenceParams())
    for _ in range(50):
        standing = after_answer(standing, 1.0, StandingParams())

    def availability(blame):
        after = standing
        for _ in range(10):
            after = after_fault(after, "TIMEOUT", blame, StandingParams())
        score = score_miner(after, PPM, ScoringParams(), EvidenceParams(), CapacityParams())
        return score.availability_ppm

    assert availability(Blame.MINER) < 0.9 * PPM
    assert {availability(blame) for blame in OURS} == {PPM}
