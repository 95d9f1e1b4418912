"""bytes -> SERVER -> miner's role -> bytes: the miner's HTTP face.

An ASGI application without a framework: three paths, and a framework's wrappers would cost more a
token than the rest of this file. Nothing is parsed, let alone computed or signed, before the
signature over the raw body is authenticated and its hotkey is found to hold a permit.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol

from pydantic import ValidationError

from protocol import PROTOCOL_VERSION
from protocol.errors import (
    HTTP_STATUS,
    REFUSAL_SIGNATURE_HEADER,
    RejectedError,
    Rejection,
    RejectionReason,
)
from protocol.handshake import HANDSHAKE_PATH, HandshakeRequest, HandshakeResponse
from protocol.inference import (
    INFER_PATH,
    REQUEST_BYTES_MAX,
    EndLine,
    ErrorLine,
    InferenceRequest,
    StreamLine,
)
from protocol.release import Release
from subnet.config import MinerSettings
from subnet.core.admission import AdmissionParams, read_request
from subnet.edge.btauth import SeenRequests, authenticate_request
from subnet.edge.http_limits import HttpLimits
from subnet.edge.http_server import Message, Receive, Send, serve_http, until_reader_leaves
from subnet.ports import Clock

HEALTH_PATH: Final = "/healthz"
STREAM_TYPE: Final = b"application/x-ndjson"
WRITE_GRACE_SECONDS: Final = 5.0
"""How long after a request's own deadline a slow reader is still waited for."""


class InferenceService(Protocol):
    """What the server asks of `subnet.roles.miner.Miner`."""

    @property
    def hotkey(self) -> str: ...

    @property
    def release(self) -> Release: ...

    @property
    def requests_running(self) -> int: ...

    def card(self, request: HandshakeRequest) -> HandshakeResponse: ...

    def check_caller(self, caller_hotkey: str) -> None: ...

    def serve(
        self, request: InferenceRequest, caller_hotkey: str, arrived_at_us: int
    ) -> AsyncGenerator[StreamLine, None]: ...

    def sign_refusal(
        self, request: InferenceRequest, caller_hotkey: str, error: RejectedError
    ) -> str: ...

    def stop(self) -> None: ...


class MinerApp:
    """The ASGI application."""

    def __init__(
        self,
        service: InferenceService,
        clock: Clock,
        settings: MinerSettings,
        admission: AdmissionParams,
        log: Callable[[EndLine], None] | None = None,
    ) -> None:
        """`log` keeps what was signed; see `edge.answer_log`."""
        self._log = log
        self._service = service
        self._clock = clock
        self._read_timeout_seconds = settings.read_timeout_seconds
        self._admission = admission
        self._seen = SeenRequests(
            admission.signed_requests_kept,
            admission.request_age_seconds_max + admission.clock_skew_seconds_max,
        )
        self._is_stopping = False
        self._release_digest = service.release.digest()

    def stop(self) -> None:
        """Take no new requests."""
        self._is_stopping = True
        self._service.stop()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; a refusal is a `Rejection`, never a traceback."""
        route = (scope["method"], scope["path"])
        try:
            if route == ("POST", INFER_PATH):
                await self._infer(scope, receive, send)
            elif route == ("POST", HANDSHAKE_PATH):
                await self._handshake(scope, receive, send)
            elif route == ("GET", HEALTH_PATH):
                await self._health(send)
            else:
                raise RejectedError(
                    RejectionReason.MALFORMED_REQUEST,
                    f"known here: POST {INFER_PATH}, POST {HANDSHAKE_PATH}, GET {HEALTH_PATH}",
                )
        except RejectedError as error:
            await _send_rejection(send, error.rejection)

    async def _infer(self, scope: Message, receive: Receive, send: Send) -> None:
        arrived_at_us = self._clock.monotonic_us()
        body, caller = await self._authenticated_body(scope, receive)
        self._service.check_caller(caller)
        request = read_request(body)
        async with (
            aclosing(self._service.serve(request, caller, arrived_at_us)) as lines,
            until_reader_leaves(scope, receive, request.timeout_ms / 1000 + WRITE_GRACE_SECONDS),
        ):
            try:
                line = await anext(lines)
            except RejectedError as error:
                signature = self._service.sign_refusal(request, caller, error)
                await _send_rejection(send, error.rejection, signature)
                return
            if isinstance(line, ErrorLine):
                await _send_rejection(send, line.rejection, line.signature)
                return
            await send(_start(200, STREAM_TYPE))
            await send(_line_body(line))
            async for line in lines:
                if self._log is not None and isinstance(line, EndLine):
                    self._log(line)
                await send(_line_body(line))

    async def _handshake(self, scope: Message, receive: Receive, send: Send) -> None:
        body, _ = await self._authenticated_body(scope, receive)
        try:
            request = HandshakeRequest.model_validate_json(body)
        except ValidationError as error:
            raise RejectedError(
                RejectionReason.MALFORMED_REQUEST, error.errors()[0]["msg"]
            ) from error
        await _send_json(send, 200, self._service.card(request).to_bytes())

    async def _health(self, send: Send) -> None:
        state = "stopping" if self._is_stopping else "serving"
        body = (
            f'{{"status":"{state}","protocol_version":{PROTOCOL_VERSION},'
            f'"release_digest":"{self._release_digest}",'
            f'"requests_running":{self._service.requests_running}}}'
        )
        await _send_json(send, 503 if self._is_stopping else 200, body.encode())

    async def _authenticated_body(self, scope: Message, receive: Receive) -> tuple[bytes, str]:
        """The raw body and the hotkey that signed it. Raises RejectedError."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            async with asyncio.timeout(self._read_timeout_seconds):
                body = await _read_body(headers.get("content-length"), receive)
        except TimeoutError as error:
            raise RejectedError(
                RejectionReason.MALFORMED_REQUEST, "the body did not arrive in time"
            ) from error
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        caller = authenticate_request(
            headers,
            body,
            method="POST",
            path=target,
            receiver=self._service.hotkey,
            seen=self._seen,
            now_ns=self._clock.now_ns(),
            age_seconds_max=self._admission.request_age_seconds_max,
            skew_seconds_max=self._admission.clock_skew_seconds_max,
        )
        return body, caller


async def serve_app(app: MinerApp, bound: socket.socket, settings: MinerSettings) -> None:
    """Serve until cancelled; then running answers end within `stop_grace_seconds`."""
    limits = HttpLimits(
        settings.connections_max,
        settings.connections_per_address_max,
        settings.read_timeout_seconds,
    )
    await serve_http(
        app,
        bound,
        limits,
        keep_alive_seconds=settings.keep_alive_seconds,
        stop_grace_seconds=settings.stop_grace_seconds,
        on_stop=app.stop,
    )


async def _read_body(content_length: str | None, receive: Receive) -> bytes:
    too_large = RejectedError(
        RejectionReason.BODY_TOO_LARGE, f"a request has at most {REQUEST_BYTES_MAX} bytes"
    )
    if content_length is not None and int(content_length) > REQUEST_BYTES_MAX:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RejectedError(RejectionReason.MALFORMED_REQUEST, "the body was cut short")
        body += message.get("body", b"")
        if len(body) > REQUEST_BYTES_MAX:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


async def _send_rejection(send: Send, rejection: Rejection, signature: str | None = None) -> None:
    """Close afterwards: the rest of a refused body may still be on its way."""
    extra = [(b"connection", b"close")]
    if signature is not None:
        extra.append((REFUSAL_SIGNATURE_HEADER.encode(), signature.encode()))
    if rejection.retry_after_ms is not None:
        seconds = max(1, -(-rejection.retry_after_ms // 1000))
        extra.append((b"retry-after", str(seconds).encode()))
    status = HTTP_STATUS[rejection.reason].value
    await _send_json(send, status, rejection.to_bytes(), extra)


async def _send_json(
    send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(_start(status, b"application/json", [length, *(extra or [])]))
    await send(_body(body, more=False))


def _start(
    status: int, content_type: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> Message:
    headers = [(b"content-type", content_type), *(extra or [])]
    return {"type": "http.response.start", "status": status, "headers": headers}


def _line_body(line: StreamLine) -> Message:
    return _body(line.to_bytes() + b"\n", more=not isinstance(line, EndLine | ErrorLine))


def _body(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
