import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest

from protocol.errors import RejectedError, RejectionReason
from protocol.handshake import HandshakeRequest
from protocol.inference import CheckpointLine, ChunkLine, EndLine, ErrorLine, OutputHash
from protocol.sampling import derive_seed
from protocol.structure import Structure
from subnet.config import MinerSettings
from subnet.core.admission import AdmissionParams
from subnet.edge.btauth import verify_signature
from subnet.ports import Endpoint, EngineError, UnsupportedRequestError
from subnet.roles.miner import NotRegisteredError, float16_bits
from tests.miner_support import (
    CALLER,
    MINER,
    RELEASE,
    STRANGER,
    ScriptedEngine,
    StaticChain,
    make_miner,
    make_request,
)


async def lines_of(miner, request, caller=CALLER.hotkey):
    return [line async for line in miner.serve(request, caller, miner._clock.monotonic_us())]


async def refusal_of(miner, request, caller=CALLER.hotkey) -> RejectionReason:
    with pytest.raises(RejectedError) as caught:
        await lines_of(miner, request, caller)
    return caught.value.reason


async def test_the_engine_gets_a_seed_that_only_this_pair_can_derive():
    engine = ScriptedEngine()
    request = make_request()
    await lines_of(await make_miner(engine), request)
    assert engine.requests[0].seed == derive_seed(
        request.nonce,
        request.request_id,
        CALLER.hotkey,
        MINER.hotkey,
        request.prompt_token_ids,
    )


@pytest.mark.parametrize("step_tokens", [1, 3, 32, 100])
async def test_every_32_tokens_and_the_end_are_signed_over_the_tokens_sent(step_tokens):
    request = make_request(tokens_max=100)
    miner = await make_miner(ScriptedEngine(step_tokens=step_tokens))
    lines = await lines_of(miner, request)
    running = OutputHash(request.digest())
    signed_at = []
    for line in lines:
        if isinstance(line, ChunkLine):
            running.update(line.token_ids, line.logprobs)
        elif isinstance(line, CheckpointLine):
            signed_at.append(line.checkpoint.output_tokens)
            assert line.checkpoint.running_hash == running.hexdigest()
            message = line.checkpoint.signing_bytes()
            assert verify_signature(message, line.signature, MINER.hotkey)
    end = lines[-1]
    assert isinstance(end, EndLine)
    assert signed_at == [32, 64, 96]
    assert end.response.output_hash == running.hexdigest()
    assert end.response.output_tokens == running.tokens == 100
    assert verify_signature(end.response.signing_bytes(), end.signature, MINER.hotkey)
    assert end.response.queued_us <= end.response.first_token_us <= end.response.total_us


async def test_a_nonce_is_served_once():
    engine = ScriptedEngine()
    miner = await make_miner(engine)
    nonce = "c" * 64
    await lines_of(miner, make_request(nonce=nonce))
    assert await refusal_of(miner, make_request(nonce=nonce)) is RejectionReason.NONCE_REUSED
    assert len(engine.requests) == 1


async def test_a_refused_request_does_not_burn_its_nonce():
    miner = await make_miner(ScriptedEngine())
    request = make_request()
    assert await refusal_of(miner, request, STRANGER.hotkey) is RejectionReason.NOT_PERMITTED
    assert isinstance((await lines_of(miner, request))[-1], EndLine)


async def test_unused_tokens_return_to_the_budget():
    admission = AdmissionParams(tokens_per_tempo=30)
    engine = ScriptedEngine(fail_after=2)
    miner = await make_miner(engine, admission=admission)
    assert isinstance((await lines_of(miner, make_request(tokens_max=20)))[-1], ErrorLine)
    engine.fail_after = None
    assert isinstance((await lines_of(miner, make_request(tokens_max=20)))[-1], EndLine)
    reason = await refusal_of(miner, make_request(tokens_max=20))
    assert reason is RejectionReason.TOKEN_BUDGET_EXCEEDED


async def test_budgets_are_fresh_in_the_next_tempo():
    chain = StaticChain()
    miner = await make_miner(ScriptedEngine(), chain, AdmissionParams(tokens_per_tempo=11))
    await lines_of(miner, make_request())
    assert await refusal_of(miner, make_request()) is RejectionReason.TOKEN_BUDGET_EXCEEDED
    chain.block += 360
    await miner.refresh()
    assert isinstance((await lines_of(miner, make_request()))[-1], EndLine)


async def test_what_an_answer_left_unused_in_the_last_tempo_is_no_gift_in_this_one():
    chain = StaticChain()
    engine = ScriptedEngine(hang_after=1)
    miner = await make_miner(engine, chain, AdmissionParams(tokens_per_tempo=30))
    async with aclosing(miner.serve(make_request(tokens_max=20), CALLER.hotkey, 10**18)) as old:
        await anext(old)
        chain.block += 360
        await miner.refresh()
        engine.hang_after = None
        assert isinstance((await lines_of(miner, make_request(tokens_max=20)))[-1], EndLine)
    reason = await refusal_of(miner, make_request(tokens_max=20))
    assert reason is RejectionReason.TOKEN_BUDGET_EXCEEDED


async def test_a_full_miner_refuses_and_a_closed_stream_frees_its_slot():
    engine = ScriptedEngine(hang_after=1, concurrent_requests_max=1)
    miner = await make_miner(engine)
    async with aclosing(miner.serve(make_request(), CALLER.hotkey, 10**18)) as stream:
        await anext(stream)
        assert miner.requests_running == 1
        assert await refusal_of(miner, make_request()) is RejectionReason.CAPACITY_FULL
    assert (miner.requests_running, engine.aborted) == (0, 1)


class TwoPermitsChain(StaticChain):
    """The stranger holds a permit too, and nearly all the stake."""

    async def metagraph(self):
        graph = await super().metagraph()
        rows = tuple(replace(row, has_validator_permit=row.uid != 1) for row in graph.neurons)
        return replace(graph, neurons=rows)


async def test_a_cheap_permit_cannot_take_the_last_slots_from_the_others():
    engine = ScriptedEngine(hang_after=1, concurrent_requests_max=8)
    miner = await make_miner(engine, TwoPermitsChain())
    async with AsyncExitStack() as streams:

        async def ask(caller: str) -> None:
            stream = miner.serve(make_request(), caller, miner._clock.monotonic_us())
            await anext(await streams.enter_async_context(aclosing(stream)))

        for _ in range(7):
            await ask(CALLER.hotkey)
        assert await refusal_of(miner, make_request()) is RejectionReason.CAPACITY_FULL
        await ask(STRANGER.hotkey)
        assert miner.requests_running == 8


async def test_a_missed_deadline_ends_the_stream_and_aborts_the_engine():
    engine = ScriptedEngine(hang_after=3)
    miner = await make_miner(engine)
    lines = await lines_of(miner, make_request(timeout_ms=100))
    assert lines[-1].rejection.reason is RejectionReason.DEADLINE_EXCEEDED
    assert [type(line) for line in lines[:-1]] == [ChunkLine] * 3
    assert (miner.requests_running, engine.aborted) == (0, 1)


async def test_an_engine_fault_is_told_to_the_caller_without_its_inner_words():
    miner = await make_miner(ScriptedEngine(fail_after=1))
    last = (await lines_of(miner, make_request()))[-1]
    assert last.rejection.reason is RejectionReason.ENGINE_FAILED
    assert "scripted" not in last.rejection.detail


class UnableEngine(ScriptedEngine):
    async def generate(self, request):
        self.requests.append(request)
        raise UnsupportedRequestError("sampling.structure: unclosed bracket")
        yield


async def test_a_structure_reaches_the_engine_and_its_refusal_the_caller():
    release = RELEASE.model_copy(update={"grammar": "xgrammar-0.2.8"})
    engine = UnableEngine(release=release)
    miner = await make_miner(engine)
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    request = make_request(structure=vote, release_digest=release.digest())
    (line,) = await lines_of(miner, request)
    assert engine.requests[0].structure == vote
    assert line.rejection.reason is RejectionReason.PARAMETER_NOT_VERIFIED
    assert line.rejection.detail == "sampling.structure: unclosed bracket"


async def test_a_release_without_grammar_takes_no_structure():
    miner = await make_miner(ScriptedEngine())
    request = make_request(structure=Structure(kind="json_schema", text='{"enum": ["yes", "no"]}'))
    assert await refusal_of(miner, request) is RejectionReason.PARAMETER_NOT_VERIFIED


async def test_a_stopping_miner_takes_nothing_new_and_ends_what_runs():
    settings = MinerSettings(stop_grace_seconds=0.05)
    miner = await make_miner(ScriptedEngine(hang_after=1), settings=settings)
    stream = miner.serve(make_request(), CALLER.hotkey, miner._clock.monotonic_us())
    await anext(stream)
    miner.stop()
    last = await anext(stream)
    assert last.rejection.reason is RejectionReason.STOPPING
    assert last.rejection.retry_after_ms == AdmissionParams().stopping_retry_after_ms
    assert await refusal_of(miner, make_request()) is RejectionReason.STOPPING


async def test_the_card_is_signed_and_carries_the_callers_nonce():
    miner = await make_miner(ScriptedEngine())
    response = miner.card(HandshakeRequest(protocol_versions=(1, 9), nonce="d" * 64))
    assert response.card.nonce == "d" * 64
    assert verify_signature(response.card.signing_bytes(), response.signature, MINER.hotkey)
    with pytest.raises(RejectedError) as caught:
        miner.card(HandshakeRequest(protocol_versions=(2,), nonce="d" * 64))
    assert caught.value.reason is RejectionReason.PROTOCOL_VERSION_UNSUPPORTED


async def test_an_endpoint_is_published_only_when_it_changed():
    chain = StaticChain(endpoint=Endpoint(MINER.hotkey, "10.0.0.1", 8091))
    miner = await make_miner(ScriptedEngine(), chain)
    await miner.publish("10.0.0.1", 8091)
    assert chain.published == []
    await miner.publish("10.0.0.1", 8092)
    assert chain.published == [("10.0.0.1", 8092)]


async def test_an_unregistered_hotkey_is_told_how_to_register():
    chain = StaticChain()
    chain.is_registered = False
    with pytest.raises(NotRegisteredError, match="btcli subnets register"):
        await make_miner(ScriptedEngine(), chain)


async def test_a_dead_engine_ends_the_miner():
    engine = ScriptedEngine()
    miner = await make_miner(engine)
    running = asyncio.create_task(miner.run("127.0.0.1", 1))
    await asyncio.sleep(0)
    engine.death.set()
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert caught.group_contains(EngineError)


async def test_a_silent_chain_is_asked_again_and_a_lost_registration_ends_the_miner():
    chain = StaticChain()
    settings = MinerSettings(metagraph_refresh_seconds=0.01)
    miner = await make_miner(ScriptedEngine(), chain, settings=settings)
    chain.is_away = True
    running = asyncio.create_task(miner.run("10.0.0.1", 1))
    await asyncio.sleep(0.05)
    assert not running.done()
    assert isinstance((await lines_of(miner, make_request()))[-1], EndLine)
    chain.is_away = False
    await asyncio.sleep(0.05)
    assert chain.published == [("10.0.0.1", 1)]
    chain.is_registered = False
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert caught.group_contains(NotRegisteredError)


@pytest.mark.parametrize(
    ("value", "bits"),
    [(0.0, 0), (-1.0, 0xBC00), (-1e9, 0xFBFF), (1e-7, 0), (float("-inf"), 0xFBFF)],
)
def test_log_probabilities_become_finite_halves_at_most_zero(value, bits):
    assert float16_bits(value) == bits
