"""Hotkeys at work: btauth/1 on every request, our own signature on every answer.

`bittensor.http_auth` gives identity for requests only, and accepts any key type; this subnet
accepts sr25519 alone, because answers carry no type and are authenticated as sr25519.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from bittensor import http_auth
from bittensor.keyfiles import Keypair
from bittensor.sp_core import CRYPTO_SR25519
from bittensor.sp_core import verify as verify_raw

from protocol.errors import RejectedError, RejectionReason

_REASON_OF: Final = {
    http_auth.MalformedAuth: RejectionReason.MALFORMED_AUTH,
    http_auth.WrongReceiver: RejectionReason.WRONG_RECEIVER,
    http_auth.StaleRequest: RejectionReason.STALE_REQUEST,
    http_auth.ReplayedRequest: RejectionReason.REPLAYED_REQUEST,
    http_auth.BadSignature: RejectionReason.BAD_SIGNATURE,
}
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


class HotkeySigner:
    """`ports.Signer` over an sr25519 keypair."""

    def __init__(self, keypair: Keypair) -> None:
        assert keypair.crypto_type == CRYPTO_SR25519, "hotkeys of this subnet are sr25519"
        self.keypair = keypair
        self.hotkey: str = keypair.ss58_address

    def sign(self, message: bytes) -> str:
        """An sr25519 signature, lower-case hex without 0x."""
        return bytes(self.keypair.sign(message)).hex()


def verify_signature(message: bytes, signature: str, hotkey: str) -> bool:
    """`ports.SignatureVerifier`: whether `hotkey` signed `message` (128 lower-case hex characters).

    Another spelling of a right signature is a wrong one: no message could hold it.
    """
    if not _SIGNATURE.fullmatch(signature):
        return False
    try:
        return bool(verify_raw(message, bytes.fromhex(signature), hotkey, CRYPTO_SR25519))
    except ValueError:
        return False


def sign_request(
    signer: HotkeySigner, *, method: str, path: str, body: bytes, receiver: str, nonce_ns: int
) -> dict[str, str]:
    """btauth/1 headers. `nonce_ns` is the wall time and must rise with each request."""
    return http_auth.sign(
        signer.keypair,
        method=method,
        path=path,
        body=body,
        receiver_ss58=receiver,
        nonce_ns=nonce_ns,
    )


class SeenRequests:
    """`http_auth.NonceStore` with a bound on entries and with time from the requests themselves.

    A request's nonce is its signing time, so entries expire by nonce: those older than the
    freshness window can no longer pass as fresh.
    """

    def __init__(self, entries_max: int, retention: float) -> None:
        self.retention = retention
        """Seconds that an entry must survive; read by `http_auth.verify`."""
        self._entries_max = entries_max
        self._now_ns = 0
        self._accepted_at: OrderedDict[tuple[str, int], int] = OrderedDict()

    def at(self, now_ns: int) -> "SeenRequests":
        """This store, its clock set."""
        self._now_ns = now_ns
        return self

    def check_and_store(self, hotkey_ss58: str, nonce_ns: int) -> bool:
        """False for a request that was accepted before. Raises RejectedError when full."""
        horizon = self._now_ns - int(self.retention * 1e9)
        while self._accepted_at and next(iter(self._accepted_at.values())) < horizon:
            self._accepted_at.popitem(last=False)
        key = (hotkey_ss58, nonce_ns)
        if key in self._accepted_at:
            return False
        if len(self._accepted_at) >= self._entries_max:
            raise RejectedError(
                RejectionReason.CAPACITY_FULL,
                "too many requests to tell fresh ones from replays",
                retry_after_ms=int(self.retention * 1000),
            )
        self._accepted_at[key] = self._now_ns
        return True


def authenticate_request(
    headers: Mapping[str, str],
    body: bytes,
    *,
    method: str,
    path: str,
    receiver: str,
    seen: SeenRequests,
    now_ns: int,
    age_seconds_max: float,
    skew_seconds_max: float,
) -> str:
    """The hotkey that signed this request for us. Raises RejectedError; never echoes a secret."""
    try:
        caller = http_auth.verify(
            headers,
            body,
            method=method,
            path=path,
            self_hotkey_ss58=receiver,
            max_age=age_seconds_max,
            allowed_skew=skew_seconds_max,
            nonce_store=seen.at(now_ns),
            now_ns=now_ns,
        )
    except http_auth.AuthError as error:
        raise RejectedError(_REASON_OF[type(error)], str(error)) from error
    if caller.crypto_type != CRYPTO_SR25519:
        raise RejectedError(RejectionReason.BAD_SIGNATURE, "only sr25519 hotkeys are accepted")
    return caller.hotkey_ss58
