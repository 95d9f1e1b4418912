"""A zoo of bad servers: each costs the client bounded time and memory, and becomes a fault."""

import asyncio
import contextlib
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
from subnet.config import MinerSettings
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

UNSIGNED = b"HTTP/1.1 429 X\r\ncontent-length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)


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
            says(UNSIGNED),
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


async def answered(body: bytes) -> list:
    """The lines of an honest answer."""
    request = InferenceRequest.model_validate_json(body)
    miner = await make_miner(ScriptedEngine())
    started_us = miner._clock.monotonic_us()
    return [line async for line in miner.serve(request, CALLER.hotkey, started_us)]


async def answers(body, writer):
    writer.write(CHUNKED + chunked(*(line.to_bytes() for line in await answered(body))))
    writer.write(b"0\r\n\r\n")
    await writer.drain()


class HandClock:
    """Stands still until it is told."""

    now_us = 10**15

    def now_ns(self):
        return self.now_us * 1000

    def monotonic_us(self):
        return self.now_us


async def turned_away(times: int, *, wait_us: int, reply: bytes = UNSIGNED):
    """The exchange with a miner that turns its caller away so often, each time after `wait_us`;
    how often it was asked, and when last.
    """
    clock, asked_at_us = HandClock(), []

    async def behave(body, writer):
        asked_at_us.append(clock.now_us)
        if len(asked_at_us) <= times:
            clock.now_us += wait_us
            await says(reply)(body, writer)
        else:
            clock.now_us += 5
            await answers(body, writer)

    client = HttpMinerClient(CALLER, clock, allow_private=True)
    async with bad_miner(behave) as endpoint, client:
        exchange = await client.infer(endpoint, make_request())
    return exchange, len(asked_at_us), asked_at_us[-1]


async def test_whom_connection_limits_turn_away_asks_once_more_and_times_count_from_then():
    exchange, visits, asked_at_us = await turned_away(1, wait_us=999_000)
    assert (exchange.fault, exchange.fault_detail, visits) == (None, "", 2)
    assert exchange.sent_at_ns == asked_at_us * 1000
    assert set(exchange.token_times_us) == {exchange.total_us} == {5}
    exchange, visits, _ = await turned_away(2, wait_us=0)
    assert (exchange.fault, visits) == (Fault.BROKEN_STREAM, 2)


async def test_nobody_gets_a_second_attempt_by_a_late_word_a_false_signature_or_another_status():
    forged = UNSIGNED.replace(b"\r\n", b"\r\nassay-refusal-signature: " + b"0" * 128 + b"\r\n", 1)
    for wait_us, reply in [
        (1_000_001, UNSIGNED),
        (0, forged),
        (0, UNSIGNED.replace(b"429", b"503")),
    ]:
        exchange, visits, _ = await turned_away(1, wait_us=wait_us, reply=reply)
        assert (exchange.fault, visits) == (Fault.BROKEN_STREAM, 1)


async def test_a_second_attempt_ends_with_the_requests_own_time():
    visits = []

    async def behave(body, writer):
        visits.append(body)
        await (says(UNSIGNED) if len(visits) == 1 else is_silent)(body, writer)

    async with asyncio.timeout(10):
        assert (await ask(behave, timeout_ms=600)).fault is Fault.TIMEOUT
        assert len(visits) == 2
        assert (await ask(says(UNSIGNED), timeout_ms=200)).fault is Fault.BROKEN_STREAM


async def test_the_second_attempt_goes_over_no_connection_that_was_there_before():
    """A miner whose sockets are all taken gives up idle ones: the pool's others may be dead too."""
    are_kept, both_asked = True, asyncio.Barrier(2)

    async def on_connection(reader, writer):
        was_there = are_kept
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if are_kept:
                    await both_asked.wait()
                    await answers(body, writer)
                else:
                    await (says(UNSIGNED) if was_there else answers)(body, writer)

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    endpoint = Endpoint(MINER.hotkey, "127.0.0.1", server.sockets[0].getsockname()[1])
    async with caller() as client:
        asked = [client.infer(endpoint, make_request()) for _ in range(2)]
        assert [one.fault for one in await asyncio.gather(*asked)] == [None, None]
        are_kept = False
        assert (await client.infer(endpoint, make_request())).fault is None
    server.close()


async def test_a_neighbour_behind_our_address_costs_a_miner_nothing():
    settings = MinerSettings(connections_per_address_max=1)
    async with running_miner(ScriptedEngine(), settings) as endpoint, caller() as client:
        _, neighbour = await asyncio.open_connection(endpoint.host, endpoint.port)
        await asyncio.sleep(0)
        asking = asyncio.create_task(client.infer(endpoint, make_request()))
        await asyncio.sleep(0.1)
        neighbour.close()
        assert (await asking).fault is None


async def test_a_lie_about_counts_is_a_false_claim():
    async def lies(body, writer):
        lines = await answered(body)
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
