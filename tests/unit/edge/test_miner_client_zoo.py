"""A zoo of bad servers: each costs the client bounded time and memory, and becomes a fault."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from protocol.errors import (
    REFUSAL_SIGNATURE_HEADER,
    Refusal,
    RejectedError,
    Rejection,
    RejectionReason,
)
from protocol.handshake import HandshakeResponse
from protocol.inference import (
    CheckpointLine,
    EndLine,
    InferenceRequest,
    OutputHash,
    StreamCheckpoint,
)
from subnet.edge.miner_client import HttpMinerClient
from subnet.edge.system import SystemClock
from subnet.ports import Endpoint, Fault
from tests.miner_support import (
    CALLER,
    MINER,
    RELEASE,
    STRANGER,
    ScriptedEngine,
    make_miner,
    make_request,
    running_miner,
)

Behave = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def bad_miner(behave: Behave):
    """A server that reads one request and then behaves."""

    async def on_connection(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await behave(await reader.readexactly(length), writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        yield Endpoint(MINER.hotkey, "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


def caller(*, allow_private=True) -> HttpMinerClient:
    return HttpMinerClient(CALLER, SystemClock(), allow_private=allow_private)


async def ask(behave: Behave, **changes):
    request = make_request(**changes)
    async with bad_miner(behave) as endpoint, caller() as client:
        return await client.infer(endpoint, request)


def chunked(*lines: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\n\r\n" % (len(line) + 1, line) for line in lines)


def says(*data: bytes) -> Behave:
    async def behave(body, writer):
        for part in data:
            writer.write(part)
        await writer.drain()

    return behave


async def drips(body, writer):
    writer.write(CHUNKED)
    while True:
        writer.write(b"1\r\n{\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def floods(body, writer):
    writer.write(CHUNKED)
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def never_ends_its_head(body, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


async def is_silent(body, writer):
    await asyncio.sleep(60)


CHUNK = b'{"type":"chunk","token_ids":[1],"logprobs":[0]}'
BOMB = gzip.compress(b"\0" * 10_000_000)
REFUSAL = RejectedError(RejectionReason.CAPACITY_FULL, "full").rejection.to_bytes()


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (drips, Fault.TIMEOUT),
        (is_silent, Fault.TIMEOUT),
        (floods, Fault.BROKEN_STREAM),
        (never_ends_its_head, Fault.BROKEN_STREAM),
        (says(), Fault.BROKEN_STREAM),
        (says(b"nonsense\r\n\r\n"), Fault.BROKEN_STREAM),
        (says(CHUNKED + chunked(b"{]")), Fault.BROKEN_STREAM),
        (says(CHUNKED + chunked(CHUNK)), Fault.BROKEN_STREAM),
        (says(CHUNKED + chunked(CHUNK) + b"0\r\n\r\n"), Fault.BROKEN_STREAM),
        (says(CHUNKED + chunked(*[CHUNK] * 9)), Fault.BROKEN_STREAM),
        (says(OK + b"content-length: 5\r\n\r\nab"), Fault.BROKEN_STREAM),
        (says(OK + b"content-encoding: gzip\r\n\r\n" + BOMB), Fault.BROKEN_STREAM),
        (
            says(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n"),
            Fault.BROKEN_STREAM,
        ),
        (says(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops"), Fault.BROKEN_STREAM),
        (
            # Unsigned: anybody on the way could have said so.
            says(b"HTTP/1.1 429 X\r\ncontent-length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)),
            Fault.BROKEN_STREAM,
        ),
        (
            says(CHUNKED + chunked(CHUNK, b'{"type":"error","rejection":%s}' % REFUSAL)),
            Fault.BROKEN_STREAM,
        ),
    ],
)
async def test_every_bad_server_is_a_fault_and_never_an_exception(behave, fault):
    timeout_ms = 300 if fault is Fault.TIMEOUT else 20_000
    exchange = await ask(behave, timeout_ms=timeout_ms)
    assert (exchange.fault, exchange.response) == (fault, None), exchange.fault_detail
    assert len(exchange.token_ids) <= 8
    assert exchange.rejection_reason is exchange.refusal is None


async def test_a_signature_that_no_record_could_hold_is_none():
    async def shouts(body, writer):
        refusal = Refusal(
            request_digest=InferenceRequest.model_validate_json(body).digest(),
            miner_hotkey=MINER.hotkey,
            caller_hotkey=CALLER.hotkey,
            rejection=Rejection.model_validate_json(REFUSAL),
        )
        signature = MINER.sign(refusal.signing_bytes()).upper()
        head = f"HTTP/1.1 429 X\r\n{REFUSAL_SIGNATURE_HEADER}: {signature}\r\n"
        writer.write(head.encode() + b"content-length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL))

    exchange = await ask(shouts)
    assert (exchange.fault, exchange.refusal_signature) == (Fault.BROKEN_STREAM, None)


async def test_a_redirect_is_not_followed():
    visits = []

    async def counts(body, writer):
        visits.append(body)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with bad_miner(counts) as target:
        location = b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:%d/\r\n\r\n" % target.port
        assert (await ask(says(location))).fault is Fault.BROKEN_STREAM
    assert visits == []


async def test_a_compressed_body_is_refused_before_it_is_opened():
    exchange = await ask(says(OK + b"content-encoding: gzip\r\n\r\n" + BOMB))
    assert exchange.fault_detail == "the body is compressed"


async def test_lines_without_tokens_cannot_go_on_for_ever():
    async def repeats_itself(body, writer):
        digest = InferenceRequest.model_validate_json(body).digest()
        checkpoint = StreamCheckpoint(
            request_digest=digest, output_tokens=0, running_hash=OutputHash(digest).hexdigest()
        )
        signature = MINER.sign(checkpoint.signing_bytes())
        line = chunked(CheckpointLine(checkpoint=checkpoint, signature=signature).to_bytes())
        writer.write(CHUNKED)
        while True:
            writer.write(line)
            await writer.drain()

    exchange = await ask(repeats_itself, timeout_ms=60_000)
    assert exchange.fault_detail == "the stream is longer than its tokens"


async def test_a_lie_about_counts_is_a_false_claim():
    async def lies(body, writer):
        request = make_request().model_validate_json(body)
        miner = await make_miner(ScriptedEngine())
        lines = [
            line async for line in miner.serve(request, CALLER.hotkey, miner._clock.monotonic_us())
        ]
        response = lines[-1].response.model_copy(update={"output_tokens": 9})
        lines[-1] = EndLine(response=response, signature=MINER.sign(response.signing_bytes()))
        writer.write(CHUNKED + chunked(*(line.to_bytes() for line in lines)) + b"0\r\n\r\n")
        await writer.drain()

    exchange = await ask(lies)
    assert exchange.fault is Fault.FALSE_CLAIM
    assert exchange.response is None


async def test_a_miner_that_is_not_there_is_unreachable():
    async with bad_miner(says()) as endpoint:
        pass
    async with caller() as client:
        exchange = await client.infer(endpoint, make_request())
        assert exchange.fault is Fault.UNREACHABLE
        assert await client.handshake(endpoint, 1.0) is Fault.UNREACHABLE


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 80), ("localhost", 80), ("10.0.0.1", 80), ("1.1.1.1", 0), ("1.1.1.1", 70_000)],
)
async def test_an_address_that_we_do_not_call_is_unreachable(host, port):
    async with caller(allow_private=False) as client:
        exchange = await client.infer(Endpoint(MINER.hotkey, host, port), make_request())
    assert exchange.fault is Fault.UNREACHABLE


async def test_an_honest_exchange_is_measured_at_this_end():
    engine = ScriptedEngine()
    request = make_request(tokens_max=40)
    async with running_miner(engine) as endpoint, caller() as client:
        exchange = await client.infer(endpoint, request)
    assert (exchange.fault, exchange.fault_detail) == (None, "")
    assert exchange.token_ids == tuple(range(10, 50))
    assert exchange.response.output_tokens == len(exchange.token_times_us) == 40
    assert exchange.response_signature
    assert max(exchange.token_times_us) <= exchange.total_us


async def test_a_card_is_believed_only_with_its_signature_nonce_and_identity():
    async with running_miner(ScriptedEngine()) as endpoint, caller() as client:
        card = await client.handshake(endpoint, 20.0)
        assert card.release == RELEASE
        impostor = Endpoint(STRANGER.hotkey, endpoint.host, endpoint.port)
        assert await client.handshake(impostor, 20.0) is Fault.REFUSED
    stale = HandshakeResponse(card=card, signature=MINER.sign(card.signing_bytes())).to_bytes()
    reply = OK + b"content-length: %d\r\n\r\n%s" % (len(stale), stale)
    async with bad_miner(says(reply)) as endpoint, caller() as client:
        assert await client.handshake(endpoint, 20.0) is Fault.FALSE_CLAIM
    async with bad_miner(floods) as endpoint, caller() as client:
        assert await client.handshake(endpoint, 20.0) is Fault.BROKEN_STREAM
    async with bad_miner(is_silent) as endpoint, caller() as client:
        assert await client.handshake(endpoint, 0.2) is Fault.TIMEOUT
