"""The miner's HTTP face over real sockets: typed refusals, nothing computed, and it goes on."""

import asyncio
import json
import time
from functools import partial

import aiohttp
import pytest

from protocol.errors import Rejection, RejectionReason
from protocol.handshake import HANDSHAKE_PATH
from protocol.inference import INFER_PATH, REQUEST_BYTES_MAX, InferenceRequest
from subnet.config import ConfigError, MinerSettings
from subnet.core.admission import AdmissionParams
from subnet.edge.btauth import sign_request, verify_signature
from subnet.edge.http_limits import address_group
from subnet.edge.http_server import bind_socket
from subnet.edge.miner_client import HttpMinerClient
from subnet.edge.system import SystemClock
from subnet.ports import Fault
from tests.miner_support import (
    CALLER,
    MINER,
    STRANGER,
    ScriptedEngine,
    make_request,
    running_miner,
)

QUICK = MinerSettings(read_timeout_seconds=1.5)


def client(signer=CALLER) -> HttpMinerClient:
    return HttpMinerClient(signer, SystemClock(), allow_private=True)


async def post(endpoint, body: bytes, headers=None, path=INFER_PATH) -> tuple[int, bytes]:
    if headers is None:
        headers = sign(body, path=path)
    url = f"http://127.0.0.1:{endpoint.port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.read()


def sign(body: bytes, *, path=INFER_PATH, receiver=MINER.hotkey, age_seconds=0.0, signer=CALLER):
    nonce_ns = time.time_ns() - int(age_seconds * 1e9)
    return sign_request(
        signer, method="POST", path=path, body=body, receiver=receiver, nonce_ns=nonce_ns
    )


def changed(**changes) -> bytes:
    message = json.loads(make_request().to_bytes())
    message["sampling"] |= changes.pop("sampling", {})
    return json.dumps({**message, **changes}).encode()


BODY = make_request().to_bytes()


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", None, 400, "MALFORMED_REQUEST"),
        (b"{", None, 400, "MALFORMED_REQUEST"),
        (changed(protocol_version=2), None, 400, "PROTOCOL_VERSION_UNSUPPORTED"),
        (changed(sampling={"min_p": 1}), None, 422, "PARAMETER_NOT_VERIFIED"),
        (changed(release_digest="0" * 64), None, 404, "UNKNOWN_RELEASE"),
        (changed(prompt_token_ids=[1] * 300), None, 422, "CONTEXT_EXCEEDED"),
        (BODY, {}, 401, "MALFORMED_AUTH"),
        (BODY, partial(sign, b"other"), 401, "BAD_SIGNATURE"),
        (BODY, partial(sign, BODY, path="/v1/other"), 401, "BAD_SIGNATURE"),
        (BODY, partial(sign, BODY, age_seconds=60), 401, "STALE_REQUEST"),
        (BODY, partial(sign, BODY, age_seconds=-60), 401, "STALE_REQUEST"),
        (BODY, partial(sign, BODY, receiver=STRANGER.hotkey), 401, "WRONG_RECEIVER"),
        (BODY, partial(sign, BODY, signer=STRANGER), 403, "NOT_PERMITTED"),
        (b"{", partial(sign, b"{", signer=STRANGER), 403, "NOT_PERMITTED"),
        (b" " * (REQUEST_BYTES_MAX + 1), {}, 413, "BODY_TOO_LARGE"),
    ],
)
async def test_bad_input_gets_a_typed_refusal_and_the_miner_keeps_serving(
    body, headers, status, reason
):
    headers = headers() if callable(headers) else headers  # Signed now: a signature ages.
    engine = ScriptedEngine()
    async with running_miner(engine) as endpoint, client() as caller:
        got_status, got_body = await post(endpoint, body, headers)
        assert (got_status, Rejection.model_validate_json(got_body).reason) == (status, reason)
        assert engine.requests == []
        assert (await caller.infer(endpoint, make_request())).fault is None


async def test_a_replayed_request_is_refused_and_computed_once():
    engine = ScriptedEngine()
    body = make_request().to_bytes()
    headers = sign(body)
    async with running_miner(engine) as endpoint:
        assert (await post(endpoint, body, headers))[0] == 200
        status, refusal = await post(endpoint, body, headers)
        assert status == 401
        assert Rejection.model_validate_json(refusal).reason is RejectionReason.REPLAYED_REQUEST
        assert len(engine.requests) == 1


async def test_a_request_is_digested_once_and_a_strangers_never(monkeypatch):
    """A digest over the longest prompt holds the loop for a tenth of a second."""
    digest_of, requests = InferenceRequest.digest, []

    def counted(request):
        requests.append(request)
        return digest_of(request)

    monkeypatch.setattr(InferenceRequest, "digest", counted)
    served, refused = make_request(), make_request(release_digest="0" * 64)
    async with running_miner(ScriptedEngine()) as endpoint:
        for signer, request, status, digests in [
            (STRANGER, served, 403, 0),
            (CALLER, served, 200, 1),
            (CALLER, refused, 404, 1),
        ]:
            requests.clear()
            body = request.to_bytes()
            assert (await post(endpoint, body, sign(body, signer=signer)))[0] == status
            assert len(requests) == digests


async def test_back_pressure_is_a_429_with_retry_after():
    engine = ScriptedEngine(hang_after=1, concurrent_requests_max=1)
    async with running_miner(engine) as endpoint, client() as caller:
        first = asyncio.create_task(caller.infer(endpoint, make_request()))
        await engine.asked.wait()
        body = make_request().to_bytes()
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://127.0.0.1:{endpoint.port}{INFER_PATH}", data=body, headers=sign(body)
            ) as answer,
        ):
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        second = await caller.infer(endpoint, make_request())
        assert (second.fault, second.rejection_reason) == (Fault.REFUSED, "CAPACITY_FULL")
        said = second.refusal
        assert verify_signature(said.signing_bytes(), second.refusal_signature, MINER.hotkey)
        assert said.request_digest == second.request.digest()
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_caller_that_leaves_frees_its_slot_at_once():
    engine = ScriptedEngine(hang_after=2, concurrent_requests_max=1)
    async with running_miner(engine) as endpoint, client() as caller:
        body = make_request(timeout_ms=600_000).to_bytes()
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{endpoint.port}{INFER_PATH}"
            answer = await session.post(url, data=body, headers=sign(body))
            await answer.content.readline()
            answer.close()
        await engine.closed_early.wait()
        engine.hang_after = None
        assert (await caller.infer(endpoint, make_request())).fault is None


async def test_an_engine_that_fails_at_once_is_a_500_and_the_miner_goes_on():
    engine = ScriptedEngine(fail_after=0)
    async with running_miner(engine) as endpoint, client() as caller:
        exchange = await caller.infer(endpoint, make_request())
        assert (exchange.fault, exchange.rejection_reason) == (Fault.REFUSED, "ENGINE_FAILED")
        engine.fail_after = None
        assert (await caller.infer(endpoint, make_request())).fault is None


async def test_health_and_unknown_paths_answer_in_json():
    async with (
        running_miner(ScriptedEngine()) as endpoint,
        aiohttp.ClientSession(f"http://127.0.0.1:{endpoint.port}") as session,
    ):
        async with session.get("/healthz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "serving")
        for method, path in (("GET", INFER_PATH), ("POST", "/"), ("GET", "/docs")):
            async with session.request(method, path) as answer:
                assert answer.status == 400
                Rejection.model_validate_json(await answer.read())


async def test_a_handshake_of_another_version_or_shape_is_refused():
    async with running_miner(ScriptedEngine()) as endpoint:
        other = json.dumps({"protocol_versions": [9], "nonce": "a" * 64}).encode()
        for body, reason in ((other, "PROTOCOL_VERSION_UNSUPPORTED"), (b"7", "MALFORMED_REQUEST")):
            status, refusal = await post(endpoint, body, path=HANDSHAKE_PATH)
            assert (status, Rejection.model_validate_json(refusal).reason) == (400, reason)


async def raw(endpoint, *parts: bytes, pause=0.0) -> bytes:
    """What the server says to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"POST /v1/infer HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (b"\x16\x03\x01 nonsense\r\n\r\n",),
        (HEAD, *(b"x-%d: y\r\n" % n for n in range(100)), b"\r\n"),
        (HEAD + b"x: " + b"y" * 200_000,),
        (b"POST /" + b"a" * 200_000,),
        (HEAD,),
        (HEAD + b"content-length: 10\r\n\r\n12",),
        (b"",),
        (HEAD + b"content-length: -1\r\n\r\n",),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",),
    ],
    ids=[
        "tls",
        "headers",
        "long-header",
        "long-url",
        "half-head",
        "half-body",
        "silent",
        "neg",
        "bad-chunk",
    ],
)
async def test_a_hostile_connection_is_ended_and_the_miner_keeps_serving(parts):
    async with running_miner(ScriptedEngine(), QUICK) as endpoint, client() as caller:
        answer = await raw(endpoint, *parts)
        assert answer == b"" or b'"reason":"MALFORMED_REQUEST"' in answer
        assert (await caller.infer(endpoint, make_request())).fault is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((HEAD + b"x: " + b"y" * 33_000,), b"head is too large"),
        ((b"POST /" + b"a" * 33_000,), b"head is too large"),
        ((HEAD + b"content-length: 2000001\r\n\r\n",), b"BODY_TOO_LARGE"),
        (
            (
                HEAD + b"transfer-encoding: chunked\r\n\r\n",
                *[b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 31,
            ),
            b"BODY_TOO_LARGE",
        ),
    ],
    ids=["header", "url", "announced", "chunked"],
)
async def test_sizes_are_bounded_by_themselves_not_by_the_clock(parts, words):
    patient = MinerSettings(read_timeout_seconds=600)
    async with running_miner(ScriptedEngine(), patient) as endpoint:
        assert words in await raw(endpoint, *parts)


async def test_a_newcomer_takes_the_place_of_whoever_is_idle_longest():
    patient = MinerSettings(read_timeout_seconds=600, connections_max=8)
    async with running_miner(ScriptedEngine(), patient) as endpoint, client() as caller:
        idle = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(8)]
        assert (await caller.infer(endpoint, make_request())).fault is None
        assert b"CAPACITY_FULL" in await asyncio.wait_for(idle[0][0].read(), 20)
        idle[1][1].write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(idle[1][0].readline(), 20) == b"HTTP/1.1 200 OK\r\n"
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize(
    "first_part",
    [HEAD, HEAD + b"content-length: 10\r\n\r\n12", b"GET /healthz HTTP/1.1\r\n\r\n"],
    ids=["half-head", "half-body", "kept-alive"],
)
async def test_a_stranger_cannot_hold_places_by_beginning_a_request(first_part):
    patient = MinerSettings(read_timeout_seconds=600, keep_alive_seconds=600, connections_max=3)
    async with running_miner(ScriptedEngine(), patient) as endpoint, client() as caller:
        held = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(3)]
        for reader, writer in held:
            writer.write(first_part)
            if first_part.startswith(b"GET"):
                await asyncio.wait_for(reader.readuntil(b"}"), 20)
        assert (await caller.infer(endpoint, make_request())).fault is None
        for _, writer in held:
            writer.close()


async def test_connections_that_work_are_never_closed_for_a_newcomer():
    engine = ScriptedEngine(hang_after=1)
    settings = MinerSettings(connections_max=2)
    async with running_miner(engine, settings) as endpoint, aiohttp.ClientSession() as session:
        answers = []
        for _ in range(2):
            body = make_request().to_bytes()
            url = f"http://127.0.0.1:{endpoint.port}{INFER_PATH}"
            answers.append(await session.post(url, data=body, headers=sign(body)))
        assert b"CAPACITY_FULL" in await raw(endpoint)
        for answer in answers:
            assert b'"chunk"' in await answer.content.readline()
            answer.close()


async def test_one_address_cannot_take_all_connections_and_gets_its_own_back():
    settings = MinerSettings(read_timeout_seconds=600, connections_per_address_max=3)
    async with running_miner(ScriptedEngine(), settings) as endpoint, client() as caller:
        elsewhere = {"local_addr": ("127.0.0.2", 0)}
        port = endpoint.port
        idle = [await asyncio.open_connection("127.0.0.1", port, **elsewhere) for _ in range(4)]
        assert b"from your address" in await asyncio.wait_for(idle[3][0].read(), 20)
        assert (await caller.infer(endpoint, make_request())).fault is None
        idle[0][1].write(b"not http\r\n\r\n")
        assert b"MALFORMED_REQUEST" in await asyncio.wait_for(idle[0][0].read(), 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **elsewhere)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.readline(), 20) == b"HTTP/1.1 200 OK\r\n"
        for _, open_writer in [*idle, (reader, writer)]:
            open_writer.close()


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(host, group):
    assert address_group(host) == group


async def test_a_stopped_server_ends_running_streams_within_its_grace():
    engine = ScriptedEngine(hang_after=2)
    settings = MinerSettings(stop_grace_seconds=0.2)
    async with client() as caller:
        async with running_miner(engine, settings) as endpoint:
            asking = asyncio.create_task(caller.infer(endpoint, make_request(timeout_ms=60_000)))
            await engine.hanging.wait()
        exchange = await asking
        assert (exchange.fault, exchange.rejection_reason) == (Fault.REFUSED, "STOPPING")
        assert len(exchange.token_ids) == 2


async def test_the_token_budget_reaches_the_wire():
    admission = AdmissionParams(tokens_per_tempo=12)
    async with running_miner(ScriptedEngine(), admission=admission) as endpoint, client() as caller:
        assert (await caller.infer(endpoint, make_request())).fault is None
        refused = await caller.infer(endpoint, make_request())
        assert refused.rejection_reason is RejectionReason.TOKEN_BUDGET_EXCEEDED


def test_a_busy_port_is_one_clear_line():
    with bind_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* is busy.*--port"):
            bind_socket("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_one_clear_line():
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ConfigError, match=host):
            bind_socket(host, 0)
