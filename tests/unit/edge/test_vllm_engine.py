"""One real engine: same request, same tokens, whatever else runs; and a death that is told."""

import asyncio
import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

pytest.importorskip("vllm")

from protocol.structure import Structure  # noqa: E402
from subnet.config import ConfigError  # noqa: E402
from subnet.edge.grammar import release_grammars  # noqa: E402
from subnet.edge.miner_client import HttpMinerClient  # noqa: E402
from subnet.edge.release_files import load_release_files  # noqa: E402
from subnet.edge.system import SystemClock  # noqa: E402
from subnet.edge.torch_referee import TorchReferee  # noqa: E402
from subnet.edge.vllm_engine import VllmEngine  # noqa: E402
from subnet.edge.vllm_runtime import runtime_name  # noqa: E402
from subnet.lab.transcripts import claim_to  # noqa: E402
from subnet.ports import EngineError, EngineRequest, UnsupportedRequestError  # noqa: E402
from tests.miner_support import (  # noqa: E402
    CALLER,
    make_request,
    make_tiny_model,
    running_miner,
)

STREAMS = 8
TINY = Path(__file__).parents[3] / "assets" / "tiny"
SLOW = json.dumps(
    {
        "type": "object",
        "properties": {
            f"p{n}": {"type": "number", "minimum": n - 1e15, "maximum": n + 1e15}
            for n in range(140)
        },
    }
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("engine") / "tiny")
    return load_release_files(str(folder), runtime=runtime_name())


@pytest.fixture(scope="module")
def engine(files):
    arguments = {"max_num_batched_tokens": 512, "enforce_eager": True}
    running = VllmEngine(files.release, files.folder, STREAMS, arguments)
    yield running
    running.close()


def ask(number: int, *, temperature_milli=1000, tokens_max=60, prompt_tokens=5) -> EngineRequest:
    return EngineRequest(
        request_id=f"{number:032x}",
        prompt_token_ids=tuple(20 + (number * 7 + k) % 400 for k in range(prompt_tokens)),
        temperature_milli=temperature_milli,
        top_p_milli=950,
        top_k=50,
        tokens_max=tokens_max,
        seed=1000 + number,
    )


async def answer(engine, request: EngineRequest):
    token_ids, logprobs, finish = [], [], None
    async for delta in engine.generate(request):
        token_ids += delta.token_ids
        logprobs += delta.logprobs
        finish = delta.finish_reason
    return tuple(token_ids), tuple(logprobs), finish


async def test_the_same_request_gives_the_same_tokens_alone_and_in_a_crowd(engine):
    requests = [ask(number) for number in range(3 * STREAMS)]
    crowd = await asyncio.gather(*(answer(engine, request) for request in requests))
    for number in (0, 5, 17):
        alone = await answer(engine, requests[number])
        assert alone[0] == crowd[number][0]
    assert len({tokens for tokens, _, _ in crowd}) == len(crowd)


async def test_an_answer_ends_at_the_first_stop_token_or_at_its_limit(engine, files):
    stop = set(files.release.stop_token_ids)
    answers = await asyncio.gather(*(answer(engine, ask(100 + n)) for n in range(20)))
    assert {finish for _, _, finish in answers} == {"stop", "length"}
    for token_ids, logprobs, finish in answers:
        assert stop.isdisjoint(token_ids[:-1])
        assert (token_ids[-1] in stop) == (finish == "stop")
        assert finish == "stop" or len(token_ids) == 60
        assert len(logprobs) == len(token_ids)
        assert all(-20 < logprob <= 0 and math.isfinite(logprob) for logprob in logprobs)


async def test_an_answer_never_outgrows_the_context(engine):
    requests = [ask(n, prompt_tokens=120, tokens_max=5000) for n in range(200, 210)]
    answers = await asyncio.gather(*(answer(engine, request) for request in requests))
    assert max(len(token_ids) for token_ids, _, _ in answers) == 8


async def test_the_referee_finds_that_the_release_answered(engine, files):
    referee = TorchReferee(files.folder, dtype="float32", slack_logits=0.01)
    requests = [ask(n, temperature_milli=t) for n, t in enumerate((0, 300, 1000, 2000), 300)]
    claims = [claim_to(request, *await answer(engine, request)) for request in requests]
    for score in await asyncio.to_thread(referee.score, claims):
        assert max(score.margins) < 0.01
        assert max(score.logprob_gaps) < 0.01


async def test_closing_the_iterator_aborts_the_request(engine):
    stream = engine.generate(ask(400, tokens_max=100))
    await anext(stream)
    assert engine._streams
    await stream.aclose()
    await answer(engine, ask(401, tokens_max=3))
    assert engine._streams == {}


async def test_a_request_that_could_not_be_verified_is_an_error_of_its_own(engine):
    wide = ask(500)
    with pytest.raises(EngineError, match="top_k"):
        await answer(engine, EngineRequest(wide.request_id, (20,), 700, 950, 65, 3, 1))
    assert (await answer(engine, ask(501, tokens_max=3)))[0]


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    """A random model with the shipped tokenizer, and its engine."""
    folder = make_tiny_model(tmp_path_factory.mktemp("worded") / "tiny", vocab_size=2048)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder)
    files = load_release_files(str(folder), runtime=runtime_name())
    arguments = {"max_num_batched_tokens": 512, "enforce_eager": True}
    running = VllmEngine(files.release, files.folder, STREAMS, arguments)
    yield files, running
    running.close()


LIST = Structure(kind="json_schema", text='{"type": "array", "items": {"enum": ["a", "b"]}}')


async def test_structured_answers_obey_and_are_found_to_be_the_releases(worded):
    files, engine = worded
    grammars = release_grammars(files.release, files.folder)
    referee = TorchReferee(files.folder, dtype="float32", slack_logits=0.01, grammars=grammars)
    requests = [
        replace(ask(n, temperature_milli=t), structure=LIST if n % 3 else None)
        for n, t in enumerate((0, 0, 300, 1000, 1000, 2000, 2000, 1500), 700)
    ]
    answers = await asyncio.gather(*(answer(engine, request) for request in requests))
    claims = [claim_to(request, *found) for request, found in zip(requests, answers, strict=True)]
    for claim in claims:
        if claim.structure:
            assert grammars.refused_at(LIST, claim.output_token_ids) is None
    for score in await asyncio.to_thread(referee.score, claims):
        assert max(score.margins) < 0.01
        assert max(score.logprob_gaps) < 0.01


async def test_a_structure_that_cannot_be_compiled_is_its_callers_to_mend(worded):
    _, engine = worded
    bad = replace(ask(800), structure=Structure(kind="json_schema", text='{"enum": []}'))
    with pytest.raises(UnsupportedRequestError, match=r"sampling\.structure: enum"):
        await answer(engine, bad)
    assert (await answer(engine, replace(ask(801), structure=LIST)))[0]


async def test_an_answer_is_not_kept_waiting_by_another_ones_structure(worded):
    _, engine = worded
    slow = replace(ask(802), structure=Structure(kind="json_schema", text=SLOW))
    compiling = asyncio.create_task(answer(engine, slow))
    await answer(engine, ask(803, tokens_max=3))
    assert not compiling.done()
    assert (await compiling)[0]


async def test_a_miner_serves_this_engine_over_the_signed_protocol(engine):
    digest = engine.release.digest()
    async with (
        running_miner(engine) as endpoint,
        HttpMinerClient(CALLER, SystemClock(), allow_private=True) as client,
    ):
        exchanges = await asyncio.gather(
            *(
                client.infer(endpoint, make_request(tokens_max=80, release_digest=digest))
                for _ in range(STREAMS)
            )
        )
    assert [exchange.fault for exchange in exchanges] == [None] * STREAMS
    assert all(exchange.response.output_tokens > 0 for exchange in exchanges)


async def test_another_runtime_than_the_release_pins_is_refused(files):
    other = files.release.model_copy(update={"runtime": "vllm-9.9.9-cuda"})
    with pytest.raises(ConfigError, match=r"vllm-9\.9\.9-cuda"):
        VllmEngine(other, files.folder, 1)


async def test_an_unknown_engine_argument_is_refused_before_anything_loads(files):
    with pytest.raises(ConfigError, match="no such engine argument"):
        VllmEngine(files.release, files.folder, 1, {"max_num_seq": 3})


async def test_a_killed_engine_ends_streams_and_tells_its_miner(engine):
    watching = asyncio.create_task(engine.failed())
    running = asyncio.create_task(answer(engine, ask(600, tokens_max=100)))
    while not engine._streams:  # noqa: ASYNC110 - the request is written in this very turn
        await asyncio.sleep(0)
    os.kill(engine.process_id, signal.SIGKILL)
    outcomes = await asyncio.gather(watching, running, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineError] * 2
    assert "code -9" in str(outcomes[0])
    with pytest.raises(EngineError, match="died"):
        await answer(engine, ask(602))
    with pytest.raises(EngineError, match="died"):
        await engine.failed()
