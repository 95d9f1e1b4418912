"""A rule said no: the stable words for it, on the wire, in metrics and in tests."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import Field

from protocol.message import WireMessage
from protocol.units import Digest, Hotkey, RequestId


class RejectionReason(StrEnum):
    """Why a request was refused. Stable and language-neutral; a word is never reused."""

    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    """The body is not a message of this protocol."""
    PROTOCOL_VERSION_UNSUPPORTED = "PROTOCOL_VERSION_UNSUPPORTED"
    """The caller speaks a version that this node does not."""
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    MALFORMED_AUTH = "MALFORMED_AUTH"
    """The request is unsigned, or its authentication headers cannot be read."""
    BAD_SIGNATURE = "BAD_SIGNATURE"
    STALE_REQUEST = "STALE_REQUEST"
    """The authentication nonce is too old or lies in the future."""
    REPLAYED_REQUEST = "REPLAYED_REQUEST"
    """This signed request was already accepted once."""
    WRONG_RECEIVER = "WRONG_RECEIVER"
    """The request was signed for another hotkey."""
    NOT_PERMITTED = "NOT_PERMITTED"
    """The caller holds no validator permit on this subnet."""
    NONCE_REUSED = "NONCE_REUSED"
    """The sampling nonce was served before: a second answer would leak the first."""
    UNKNOWN_RELEASE = "UNKNOWN_RELEASE"
    PARAMETER_NOT_VERIFIED = "PARAMETER_NOT_VERIFIED"
    """The release does not verify this sampling parameter or value."""
    CONTEXT_EXCEEDED = "CONTEXT_EXCEEDED"
    """The prompt leaves no room for an answer in the release's context window."""
    TOKEN_BUDGET_EXCEEDED = "TOKEN_BUDGET_EXCEEDED"  # noqa: S105 - a word, not a secret
    """The caller used up the tokens that its stake buys in this window."""
    CAPACITY_FULL = "CAPACITY_FULL"
    """Every slot is taken; honest back-pressure, with Retry-After."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """The answer could not be finished inside the caller's timeout."""
    ENGINE_FAILED = "ENGINE_FAILED"
    """The inference engine failed on this request; the node keeps serving."""
    STOPPING = "STOPPING"
    """The node is shutting down and takes no new work."""


HTTP_STATUS: dict[RejectionReason, HTTPStatus] = {
    RejectionReason.MALFORMED_REQUEST: HTTPStatus.BAD_REQUEST,
    RejectionReason.PROTOCOL_VERSION_UNSUPPORTED: HTTPStatus.BAD_REQUEST,
    RejectionReason.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RejectionReason.MALFORMED_AUTH: HTTPStatus.UNAUTHORIZED,
    RejectionReason.BAD_SIGNATURE: HTTPStatus.UNAUTHORIZED,
    RejectionReason.STALE_REQUEST: HTTPStatus.UNAUTHORIZED,
    RejectionReason.REPLAYED_REQUEST: HTTPStatus.UNAUTHORIZED,
    RejectionReason.WRONG_RECEIVER: HTTPStatus.UNAUTHORIZED,
    RejectionReason.NOT_PERMITTED: HTTPStatus.FORBIDDEN,
    RejectionReason.NONCE_REUSED: HTTPStatus.CONFLICT,
    RejectionReason.UNKNOWN_RELEASE: HTTPStatus.NOT_FOUND,
    RejectionReason.PARAMETER_NOT_VERIFIED: HTTPStatus.UNPROCESSABLE_ENTITY,
    RejectionReason.CONTEXT_EXCEEDED: HTTPStatus.UNPROCESSABLE_ENTITY,
    RejectionReason.TOKEN_BUDGET_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    RejectionReason.CAPACITY_FULL: HTTPStatus.TOO_MANY_REQUESTS,
    RejectionReason.DEADLINE_EXCEEDED: HTTPStatus.REQUEST_TIMEOUT,
    RejectionReason.ENGINE_FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    RejectionReason.STOPPING: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Rejection(WireMessage):
    """A refusal as it is sent: the body of every 4xx and 5xx, and of a stream's error line."""

    reason: RejectionReason = Field(strict=False)
    detail: Annotated[str, Field(max_length=500)]
    """One sentence for people: what was wrong and how to mend it. Never echoes a secret."""
    retry_after_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    """When trying again makes sense, for reasons that pass by themselves."""


class Refusal(WireMessage):
    """What a miner signs when it refuses an authenticated request.

    Proof that it said so, and not the caller: back-pressure is cheap, silence is not.
    """

    request_id: RequestId
    request_digest: Digest
    miner_hotkey: Hotkey
    caller_hotkey: Hotkey
    rejection: Rejection


REFUSAL_SIGNATURE_HEADER: Final = "assay-refusal-signature"
"""Of a refusal's HTTP response: the miner's signature over the `Refusal`."""


class RejectedError(Exception):
    """A rule said no.

    Raised where the rule stands, answered at the edge as `HTTP_STATUS[reason]` and a `Rejection`.
    """

    def __init__(
        self, reason: RejectionReason, detail: str, *, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.rejection = Rejection(
            reason=reason, detail=detail[:500], retry_after_ms=retry_after_ms
        )

    @property
    def reason(self) -> RejectionReason:
        """The stable word."""
        return self.rejection.reason
