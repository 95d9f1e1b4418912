import json

import pytest

from protocol.errors import RejectedError, RejectionReason
from subnet.core.admission import (
    AdmissionParams,
    Caller,
    Load,
    admit_request,
    read_request,
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
