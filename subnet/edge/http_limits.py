"""connection -> LIMITS -> request: what uvicorn leaves unbounded before an application runs.

Its httptools protocol takes any number of headers of any size, however slowly they come; and
answers in plain text. Here each has a bound, and every refusal is a typed `Rejection`.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from protocol.errors import HTTP_STATUS, RejectedError, RejectionReason

HEAD_BYTES_MAX: Final = 32_768
HEADERS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one server."""

    connections_max: int
    read_timeout_seconds: float


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds on connections and on request heads."""

    def __init__(self, *arguments: Any, limits: HttpLimits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept, or refuse at once when all connections are taken."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections_max:
            self._refuse(RejectionReason.CAPACITY_FULL, "too many connections")
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, counting the bytes of an unfinished head."""
        if self.transport.is_closing():
            return
        is_between_requests = self.cycle is None or self.cycle.response_complete
        if is_between_requests and self._head_timer is None:
            self._await_head()
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(RejectionReason.MALFORMED_REQUEST, "the request's head is too large")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; the parser turns the error into a refusal."""
        if len(self.headers) >= HEADERS_MAX:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is in: its timer stops."""
        self._end_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._end_head()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(RejectionReason.MALFORMED_REQUEST, msg)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(
            self._limits.read_timeout_seconds,
            self._refuse,
            RejectionReason.MALFORMED_REQUEST,
            "the request's head did not arrive in time",
        )

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, reason: RejectionReason, detail: str) -> None:
        self._end_head()
        if self.transport.is_closing():
            return
        status = HTTP_STATUS[reason]
        body = RejectedError(reason, detail).rejection.to_bytes()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
