import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import RejectedError, RejectionReason
from subnet.core.admission import (
    AdmissionParams,
    Caller,
    Load,
    _check_slots,
    admit_request,
    read_request,
    slots_share,
    tokens_budget,
)
from tests.miner_support import CALLER, RELEASE, make_request

PARAMS = AdmissionParams(tokens_per_tempo=1000)


def caller(stake_rao: int = 50, *, has_permit: bool = True) -> Caller:
    return Caller(CALLER.hotkey, has_permit, stake_rao)


def load(**changes: object) -> Load:
    facts = {
        "permitted_callers": 2,
        "permitted_stake_rao": 100,
        "caller_tokens_spent": 0,
        "blocks_left": 10,
        "is_nonce_served": False,
        "caller_requests_running": 0,
        "requests_running": 0,
        "requests_running_max": 4,
    }
    return Load(**{**facts, **changes})  # type: ignore[arg-type]


def reason_of(call) -> RejectionReason:
    with pytest.raises(RejectedError) as caught:
        call()
    return caught.value.reason


def test_an_admitted_request_reserves_prompt_and_longest_answer():
    request = make_request(tokens_max=8, prompt=(1, 2, 3))
    assert admit_request(request, caller(), load(), RELEASE, PARAMS) == 11


def test_an_answer_never_reserves_more_than_the_context_window():
    request = make_request(tokens_max=5000, prompt=(1,) * 250)
    assert admit_request(request, caller(), load(), RELEASE, PARAMS) == 256


@pytest.mark.parametrize(
    ("who", "facts", "request_changes", "reason"),
    [
        (None, {}, {}, RejectionReason.NOT_PERMITTED),
        (caller(has_permit=False), {}, {}, RejectionReason.NOT_PERMITTED),
        (caller(), {}, {"release_digest": "0" * 64}, RejectionReason.UNKNOWN_RELEASE),
        (caller(), {}, {"prompt": (1000,)}, RejectionReason.MALFORMED_REQUEST),
        (caller(), {}, {"prompt": (1,) * 256}, RejectionReason.CONTEXT_EXCEEDED),
        (caller(), {"is_nonce_served": True}, {}, RejectionReason.NONCE_REUSED),
        (caller(), {"caller_tokens_spent": 490}, {}, RejectionReason.TOKEN_BUDGET_EXCEEDED),
        (caller(stake_rao=0), {}, {}, RejectionReason.TOKEN_BUDGET_EXCEEDED),
        (caller(), {"requests_running": 4}, {}, RejectionReason.CAPACITY_FULL),
        (
            caller(),
            {"caller_requests_running": 20, "requests_running": 25, "requests_running_max": 32},
            {},
            RejectionReason.CAPACITY_FULL,
        ),
    ],
)
def test_each_rule_says_no_with_its_own_word(who, facts, request_changes, reason):
    request = make_request(**request_changes)
    assert reason_of(lambda: admit_request(request, who, load(**facts), RELEASE, PARAMS)) is reason


def test_a_release_with_a_narrower_top_k_refuses_a_wider_one():
    narrow = RELEASE.model_copy(update={"top_k_max": 20})
    request = make_request(top_k=21, release_digest=narrow.digest())
    refused = reason_of(lambda: admit_request(request, caller(), load(), narrow, PARAMS))
    assert refused is RejectionReason.PARAMETER_NOT_VERIFIED


def test_back_pressure_says_when_to_come_back():
    with pytest.raises(RejectedError) as caught:
        admit_request(make_request(), caller(), load(requests_running=4), RELEASE, PARAMS)
    assert caught.value.rejection.retry_after_ms == PARAMS.capacity_retry_after_ms
    with pytest.raises(RejectedError) as caught:
        admit_request(make_request(), caller(), load(caller_tokens_spent=500), RELEASE, PARAMS)
    assert caught.value.rejection.retry_after_ms == 10 * PARAMS.block_ms


def test_budgets_follow_stake_and_never_exceed_the_whole():
    shares = [tokens_budget(caller(stake), load(), PARAMS) for stake in (50, 30, 20)]
    assert shares == [500, 300, 200]
    assert tokens_budget(caller(0), load(permitted_stake_rao=0), PARAMS) == 500


@settings(max_examples=300)
@given(
    st.integers(1, 64),
    st.lists(st.integers(0, 10**18), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), max_size=120),
)
def test_the_last_quarter_of_the_slots_is_for_callers_below_their_share(slots, stakes, arrivals):
    params = AdmissionParams(tokens_per_tempo=2**53)
    running = [0] * len(stakes)
    for arrival in arrivals:
        which = arrival % len(stakes)
        facts = load(
            permitted_callers=len(stakes),
            permitted_stake_rao=sum(stakes),
            caller_requests_running=running[which],
            requests_running=sum(running),
            requests_running_max=slots,
        )
        who = caller(stakes[which])
        free = slots - sum(running)
        try:
            _check_slots(who, facts, params)
        except RejectedError as error:
            assert (error.reason, error.rejection.retry_after_ms) == (
                RejectionReason.CAPACITY_FULL,
                params.capacity_retry_after_ms,
            )
            assert free == 0 or (free < slots / 4 and running[which] >= slots_share(who, facts))
        else:
            assert free > 0
            assert free >= slots / 4 or running[which] < slots_share(who, facts)
            running[which] += 1


@pytest.mark.parametrize(
    ("stake_rao", "permitted_stake_rao", "running_max"),
    [(50, 50, 32), (1, 100, 25), (0, 100, 25), (30, 100, 25), (90, 100, 29), (0, 0, 25)],
)
def test_a_flood_from_one_caller_ends_where_others_shares_begin(
    stake_rao, permitted_stake_rao, running_max
):
    running = 0
    with pytest.raises(RejectedError) as caught:
        while True:
            facts = load(
                permitted_stake_rao=permitted_stake_rao,
                caller_requests_running=running,
                requests_running=running,
                requests_running_max=32,
            )
            _check_slots(caller(stake_rao), facts, PARAMS)
            running += 1
    assert (running, caught.value.reason) == (running_max, RejectionReason.CAPACITY_FULL)


def body(**changes: object) -> bytes:
    message = json.loads(make_request().to_bytes())
    for key, value in changes.items():
        section, _, leaf = key.rpartition("__")
        (message[section] if section else message)[leaf] = value
    return json.dumps(message).encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", RejectionReason.MALFORMED_REQUEST),
        (b"not json", RejectionReason.MALFORMED_REQUEST),
        (b"[" * 100_000, RejectionReason.MALFORMED_REQUEST),
        (body(prompt_token_ids=[]), RejectionReason.MALFORMED_REQUEST),
        (body(prompt_token_ids=["5"]), RejectionReason.MALFORMED_REQUEST),
        (body(seed=7), RejectionReason.MALFORMED_REQUEST),
        (body(nonce="xyz"), RejectionReason.MALFORMED_REQUEST),
        (body(sampling__temperature_milli=0.7), RejectionReason.MALFORMED_REQUEST),
        (body(sampling__logit_bias={}), RejectionReason.PARAMETER_NOT_VERIFIED),
        (body(sampling__top_k=65), RejectionReason.PARAMETER_NOT_VERIFIED),
        (body(sampling__temperature_milli=2001), RejectionReason.PARAMETER_NOT_VERIFIED),
        (body(protocol_version=2), RejectionReason.PROTOCOL_VERSION_UNSUPPORTED),
        (body(protocol_version=2, news=1), RejectionReason.PROTOCOL_VERSION_UNSUPPORTED),
    ],
)
def test_an_unreadable_request_names_what_the_caller_can_mend(raw, reason):
    assert reason_of(lambda: read_request(raw)) is reason


def test_a_good_body_reads_back_as_the_same_request():
    request = make_request()
    assert read_request(request.to_bytes()) == request
