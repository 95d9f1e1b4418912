"""The first test pins btauth/1 by its published vector (bittensor's signed-requests guide)."""

import hashlib

import pytest
from bittensor import http_auth
from bittensor.keyfiles import Keypair
from bittensor.sp_core import CRYPTO_ED25519

from protocol.errors import RejectedError, RejectionReason
from subnet.edge.btauth import (
    HotkeySigner,
    SeenRequests,
    authenticate_request,
    sign_request,
    verify_signature,
)
from tests.miner_support import CALLER, MINER

NONCE_NS = 1752076800000000000
BODY = b'{"prompt": "hello"}'
PATH = "/generate?stream=false"
VECTOR_BODY_HASH = "341c57448e531310fbbe83f44cea2a5e838bd9e8a6b82b269f01d0dbbc23c3cc"
VECTOR_SIGNATURE = (
    "1a6b631988bf1f7ea093ab9d5acf61f05c316d0b0e428b24b487b75a5f6ee0e1"
    "a56a26918fdf871b6cf09437e6588023a4ce423cf622621b2a7feee17612f704"
)


def signed(**changes: object) -> dict[str, str]:
    facts = {
        "method": "POST",
        "path": PATH,
        "body": BODY,
        "receiver": MINER.hotkey,
        "nonce_ns": NONCE_NS,
    }
    return sign_request(CALLER, **{**facts, **changes})  # type: ignore[arg-type]


def authenticate(headers, body=BODY, seen=None, now_ns=NONCE_NS + 1_000_000, path=PATH) -> str:
    return authenticate_request(
        headers,
        body,
        method="POST",
        path=path,
        receiver=MINER.hotkey,
        seen=SeenRequests(100, 12.0) if seen is None else seen,
        now_ns=now_ns,
        age_seconds_max=10.0,
        skew_seconds_max=2.0,
    )


def reason_of(*arguments, **options) -> RejectionReason:
    with pytest.raises(RejectedError) as caught:
        authenticate(*arguments, **options)
    return caught.value.reason


def test_the_published_vector_holds():
    assert hashlib.sha256(BODY).hexdigest() == VECTOR_BODY_HASH
    alice = Keypair.create_from_uri("//Alice", crypto_type=CRYPTO_ED25519)
    headers = http_auth.sign(
        alice,
        method="POST",
        path=PATH,
        body=BODY,
        receiver_ss58=MINER.hotkey,
        nonce_ns=NONCE_NS,
    )
    assert headers["X-Bittensor-Signature"] == "0x" + VECTOR_SIGNATURE


def test_a_signed_request_authenticates_its_sender():
    assert authenticate(signed()) == CALLER.hotkey


@pytest.mark.parametrize(
    ("changes", "options", "reason"),
    [
        ({"receiver": CALLER.hotkey}, {}, RejectionReason.WRONG_RECEIVER),
        ({"nonce_ns": NONCE_NS - 11 * 10**9}, {}, RejectionReason.STALE_REQUEST),
        ({"nonce_ns": NONCE_NS + 3 * 10**9}, {}, RejectionReason.STALE_REQUEST),
        ({}, {"body": b"other"}, RejectionReason.BAD_SIGNATURE),
        ({}, {"path": "/other"}, RejectionReason.BAD_SIGNATURE),
    ],
)
def test_whatever_was_not_signed_for_us_now_is_refused(changes, options, reason):
    assert reason_of(signed(**changes), **options) is reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Bittensor-Version", "2"),
        ("X-Bittensor-Hotkey", ""),
        ("X-Bittensor-Hotkey", "5"),
        ("X-Bittensor-Hotkey", "é" * 48),
        ("X-Bittensor-Nonce", "now"),
        ("X-Bittensor-Signature", "0xzz"),
        ("X-Bittensor-Signature", "0x00"),
        ("X-Bittensor-Crypto", "rot13"),
    ],
)
def test_unreadable_headers_are_malformed(name, value):
    assert reason_of({**signed(), name: value}) is RejectionReason.MALFORMED_AUTH


def test_absurd_nonces_are_refused():
    for nonce in ("9" * 4000, "9" * 5000, "-1"):
        reason = reason_of({**signed(), "X-Bittensor-Nonce": nonce})
        assert reason in (RejectionReason.STALE_REQUEST, RejectionReason.MALFORMED_AUTH)


def test_an_unsigned_request_is_malformed():
    assert reason_of({}) is RejectionReason.MALFORMED_AUTH


def test_a_request_is_accepted_once():
    seen = SeenRequests(100, 12.0)
    authenticate(signed(), seen=seen)
    assert reason_of(signed(), seen=seen) is RejectionReason.REPLAYED_REQUEST


def test_an_ed25519_hotkey_is_refused():
    keypair = Keypair.create_from_uri("//Alice", crypto_type=CRYPTO_ED25519)
    headers = http_auth.sign(
        keypair,
        method="POST",
        path=PATH,
        body=BODY,
        receiver_ss58=MINER.hotkey,
        nonce_ns=NONCE_NS,
    )
    assert reason_of(headers) is RejectionReason.BAD_SIGNATURE
    with pytest.raises(AssertionError):
        HotkeySigner(keypair)


def test_the_replay_store_is_bounded_and_forgets_only_what_cannot_pass_any_more():
    seen = SeenRequests(2, 12.0)
    second = 10**9
    assert seen.at(0).check_and_store("a", 1)
    assert seen.at(0).check_and_store("b", 1)
    with pytest.raises(RejectedError) as caught:
        seen.at(12 * second).check_and_store("c", 1)
    assert caught.value.reason is RejectionReason.CAPACITY_FULL
    assert seen.at(12 * second + 1).check_and_store("c", 1)


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "0" * 128])
def test_a_forged_signature_is_false_not_an_error(signature):
    assert not verify_signature(b"message", signature, MINER.hotkey)


def test_a_right_signature_in_another_spelling_is_false():
    """`protocol.units.Signature` takes one spelling: a record of any other would be an error."""
    right = MINER.sign(b"message")
    assert verify_signature(b"message", right, MINER.hotkey)
    spellings = right.upper(), right[:64] + " " + right[64:], f" {right}", f"{right}\n"
    assert not any(verify_signature(b"message", one, MINER.hotkey) for one in spellings)


def test_a_foreign_signature_is_false():
    signature = MINER.sign(b"message")
    assert verify_signature(b"message", signature, MINER.hotkey)
    assert not verify_signature(b"message", signature, CALLER.hotkey)
    assert not verify_signature(b"other", signature, MINER.hotkey)
    assert not verify_signature(b"message", signature, "no address")
