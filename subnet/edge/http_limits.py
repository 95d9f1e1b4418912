"""connection -> LIMITS -> request: what uvicorn leaves unbounded before an application runs.

Its httptools protocol takes any number of headers of any size, however slowly they come; and
answers in plain text. Here each has a bound, and every refusal is a typed `Rejection`. Sockets are
free to open, so one address gets only some of them, and when all are taken the connection that
keeps us waiting longest for a request gives way to the newcomer.
"""

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from protocol.errors import HTTP_STATUS, RejectedError, RejectionReason

HEAD_BYTES_MAX: Final = 32_768
HEADERS_MAX: Final = 64
ABORT: Final = "assay.abort"
"""Of a request's ASGI extensions: `call` drops the connection, and what its reader left unread."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one server."""

    connections_max: int
    connections_per_address_max: int
    read_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Connections:
    """The open connections of one server."""

    per_address: Counter[str] = field(default_factory=Counter)
    waiting: "OrderedDict[LimitedProtocol, None]" = field(default_factory=OrderedDict)
    """Those that owe us the rest of a request, longest first; a kept-alive one owes its next."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds on connections and on request heads."""

    def __init__(
        self, *arguments: Any, limits: HttpLimits, open_connections: Connections, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._open = open_connections
        self._address = ""
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept; or refuse at once, when the address or all that work hold all connections."""
        super().connection_made(transport)
        self._address = address_group(self.client[0]) if self.client else ""
        self._open.per_address[self._address] += 1
        if self._open.per_address[self._address] > self._limits.connections_per_address_max:
            self._refuse(RejectionReason.CAPACITY_FULL, "too many connections from your address")
            return
        if len(self.connections) > self._limits.connections_max:
            if not self._open.waiting:
                self._refuse(RejectionReason.CAPACITY_FULL, "too many connections")
                return
            longest = next(iter(self._open.waiting))
            longest._refuse(RejectionReason.CAPACITY_FULL, "others need this idle connection")
        self._open.waiting[self] = None
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

    def on_message_begin(self) -> None:
        """Let the application drop a reader: closing waits until the last byte is read."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; the parser turns the error into a refusal."""
        if len(self.headers) >= HEADERS_MAX:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is in: its timer stops."""
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is in: now the caller waits for us."""
        self._open.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out: a kept connection is idle, unless another request is in line."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._open.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._end_head()
        self._open.waiting.pop(self, None)
        self._open.per_address[self._address] -= 1
        if self._open.per_address[self._address] == 0:
            del self._open.per_address[self._address]
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
        self._open.waiting.pop(self, None)
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


def address_group(host: str) -> str:
    """Whom an address counts for: itself, or for IPv6 its /64, which is what one customer gets."""
    address = ip_address(host)
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
