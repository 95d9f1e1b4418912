"""request -> CLIENT -> miner -> Exchange: `ports.MinerClient` over HTTP, trusting nobody.

Addresses are chosen by miners: private ones are refused, redirects are not followed, nothing is
decompressed; bytes, tokens and time are bounded. Whatever a miner does becomes a `Fault`.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp
from pydantic import ValidationError

from protocol import PROTOCOL_VERSION
from protocol.errors import REFUSAL_SIGNATURE_HEADER, Rejection
from protocol.handshake import HANDSHAKE_PATH, HandshakeRequest, HandshakeResponse, MinerCard
from protocol.inference import INFER_PATH, InferenceRequest
from subnet.edge.address_guard import AddressRefusedError, resolve_address
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from subnet.edge.btauth import HotkeySigner, sign_request, verify_signature
from subnet.edge.system import random_bytes
from subnet.ports import Clock, Endpoint, Exchange, Fault, SignatureVerifier

CONNECT_TIMEOUT_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 15.0
"""Shorter than the miners' own, so that we never write into a connection that they just closed."""
LINE_BYTES_MAX: Final = 131_072
SMALL_BODY_BYTES_MAX: Final = 65_536
"""Handshakes and refusals."""
STREAM_BYTES_PER_TOKEN_MAX: Final = 128
STREAM_BYTES_EXTRA: Final = 16_384
PAUSE_SECONDS: Final = 0.25
"""Before the second attempt of one whom a miner's connection limits turned away."""
TURNED_AWAY_US_MAX: Final = 1_000_000
"""Those limits answer at once. Later it is a miner that wants more time than others get."""


class _TurnedAwayError(StreamFaultError):
    """A 429 that nobody signed."""


class HttpMinerClient:
    """One caller's connections to all miners."""

    def __init__(
        self,
        signer: HotkeySigner,
        clock: Clock,
        *,
        allow_private: bool,
        verify: SignatureVerifier = verify_signature,
    ) -> None:
        """`allow_private` admits loopback and private addresses: for the devnet only."""
        self._signer = signer
        self._clock = clock
        self._allow_private = allow_private
        self._verify = verify
        self._last_nonce_ns = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def handshake(self, endpoint: Endpoint, timeout_seconds: float) -> MinerCard | Fault:
        """The miner's authenticated card, or why there is none."""
        nonce = random_bytes(32).hex()
        request = HandshakeRequest(protocol_versions=(PROTOCOL_VERSION,), nonce=nonce)
        try:
            async with (
                _world_as_faults(),
                asyncio.timeout(timeout_seconds),
                self._post(
                    self._open_session(), endpoint, HANDSHAKE_PATH, request.to_bytes()
                ) as answer,
            ):
                body = await _read_small(answer)
        except StreamFaultError as error:
            return error.fault
        try:
            response = HandshakeResponse.model_validate_json(body)
        except ValidationError:
            return Fault.BROKEN_STREAM
        card = response.card
        is_authentic = (
            card.nonce == nonce
            and card.miner_hotkey == endpoint.hotkey
            and self._verify(card.signing_bytes(), response.signature, endpoint.hotkey)
        )
        return card if is_authentic else Fault.FALSE_CLAIM

    async def infer(self, endpoint: Endpoint, request: InferenceRequest) -> Exchange:
        """Ask, and read the answer to its signed end; never raises for what a miner does.

        A miner's connection limits hold no key, and whoever shares our address may fill them: when
        they turn us away at once, we try once more. Times count from the second attempt.
        """
        until = asyncio.get_running_loop().time() + request.timeout_ms / 1000
        exchange, is_turned_away = await self._attempt(
            endpoint, request, until, self._open_session()
        )
        if not is_turned_away or asyncio.get_running_loop().time() + PAUSE_SECONDS >= until:
            return exchange
        await asyncio.sleep(PAUSE_SECONDS)
        async with _new_session() as fresh:
            exchange, _ = await self._attempt(endpoint, request, until, fresh)
        return exchange

    async def _attempt(
        self,
        endpoint: Endpoint,
        request: InferenceRequest,
        until: float,
        session: aiohttp.ClientSession,
    ) -> tuple[Exchange, bool]:
        """One exchange until the loop's time `until`; whether we were turned away at once."""
        reader = AnswerReader(request, endpoint.hotkey, self._signer.hotkey, self._verify)
        sent_at_ns = self._clock.now_ns()
        started_us = self._clock.monotonic_us()
        failure: StreamFaultError | None = None
        try:
            async with (
                _world_as_faults(),
                asyncio.timeout_at(until),
                self._post(session, endpoint, INFER_PATH, request.to_bytes(), reader) as answer,
            ):
                await self._read_stream(answer, reader, started_us)
        except StreamFaultError as error:
            failure = error
        exchange = Exchange(
            request=request,
            miner_hotkey=endpoint.hotkey,
            sent_at_ns=sent_at_ns,
            token_ids=tuple(reader.token_ids),
            logprobs=tuple(reader.logprobs),
            token_times_us=tuple(reader.token_times_us),
            total_us=self._clock.monotonic_us() - started_us,
            response=None if failure else reader.response,
            response_signature=None if failure else reader.response_signature,
            fault=failure.fault if failure else None,
            fault_detail=failure.detail if failure else "",
            rejection_reason=failure.rejection_reason if failure else None,
            refusal=failure.refusal if failure else None,
            refusal_signature=failure.refusal_signature if failure else None,
        )
        is_turned_away = isinstance(failure, _TurnedAwayError)
        return exchange, is_turned_away and exchange.total_us <= TURNED_AWAY_US_MAX

    async def _read_stream(
        self, answer: aiohttp.ClientResponse, reader: AnswerReader, started_us: int
    ) -> None:
        bytes_left = (
            STREAM_BYTES_EXTRA + STREAM_BYTES_PER_TOKEN_MAX * reader.request.sampling.tokens_max
        )
        rest = b""
        async for data in answer.content.iter_any():
            now_us = self._clock.monotonic_us() - started_us
            bytes_left -= len(data)
            if bytes_left < 0:
                raise StreamFaultError(Fault.BROKEN_STREAM, "the stream is longer than its tokens")
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                reader.read_line(line, now_us)
            if len(rest) > LINE_BYTES_MAX:
                raise StreamFaultError(Fault.BROKEN_STREAM, "a line is too long")
        if rest or reader.response is None:
            raise StreamFaultError(Fault.BROKEN_STREAM, "the stream ended without a signed end")

    @asynccontextmanager
    async def _post(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        reader: AnswerReader | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200 and a plain body. Raises StreamFaultError for any other."""
        url = await self._url(endpoint, path)
        self._last_nonce_ns = max(self._clock.now_ns(), self._last_nonce_ns + 1)
        headers = sign_request(
            self._signer,
            method="POST",
            path=path,
            body=body,
            receiver=endpoint.hotkey,
            nonce_ns=self._last_nonce_ns,
        )
        headers["Content-Type"] = "application/json"
        headers["Accept-Encoding"] = "identity"
        answer = await session.post(url, data=body, headers=headers, allow_redirects=False)
        try:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise StreamFaultError(Fault.BROKEN_STREAM, "the body is compressed")
            if answer.status != 200:
                raise await _refusal(answer, reader)
            yield answer
            answer.release()
        finally:
            answer.close()

    async def _url(self, endpoint: Endpoint, path: str) -> str:
        if not 0 < endpoint.port < 65_536:
            raise StreamFaultError(Fault.UNREACHABLE, f"{endpoint.port} is not a port")
        try:
            address = await resolve_address(
                endpoint.host, endpoint.port, allow_private=self._allow_private
            )
        except AddressRefusedError as error:
            raise StreamFaultError(Fault.UNREACHABLE, str(error)) from error
        host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
        return f"http://{host}:{endpoint.port}{path}"

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _new_session()
        return self._session


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent",),
    )


@asynccontextmanager
async def _world_as_faults() -> AsyncIterator[None]:
    """Turn what the network and aiohttp raise into StreamFaultError."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise StreamFaultError(Fault.UNREACHABLE, str(error)[:200]) from error
    except TimeoutError as error:
        raise StreamFaultError(Fault.TIMEOUT, "the answer did not end in time") from error
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise StreamFaultError(Fault.BROKEN_STREAM, detail[:200]) from error


async def _read_small(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for data in answer.content.iter_any():
        body += data
        if len(body) > SMALL_BODY_BYTES_MAX:
            raise StreamFaultError(Fault.BROKEN_STREAM, "the body is too long")
    return bytes(body)


async def _refusal(answer: aiohttp.ClientResponse, reader: AnswerReader | None) -> StreamFaultError:
    """The typed refusal in a response that is no success; anything else is a broken stream.

    Without a `reader` nothing was asked that a signature could be about.
    """
    if answer.status >= 400:
        try:
            rejection = Rejection.model_validate_json(await _read_small(answer))
        except ValidationError:
            return StreamFaultError(
                Fault.BROKEN_STREAM, f"status {answer.status} without a typed refusal"
            )
        if reader is None:
            return StreamFaultError(Fault.REFUSED, rejection.detail)
        signature = answer.headers.get(REFUSAL_SIGNATURE_HEADER)
        refused = reader.refused(rejection, signature)
        if signature is None and answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _TurnedAwayError(refused.fault, refused.detail)
        return refused
    return StreamFaultError(Fault.BROKEN_STREAM, f"unexpected status {answer.status}")
