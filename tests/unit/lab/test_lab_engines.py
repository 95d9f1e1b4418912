from protocol.release import Release
from subnet.lab.engines import ClaimedReleaseEngine, ForeignSeedEngine, ReplayEngine
from subnet.ports import EngineRequest
from tests.miner_support import RELEASE, ScriptedEngine

WEAK = RELEASE.model_copy(update={"model": "weak", "weights_digest": "c" * 64})


def request(seed: int = 7, request_id: str = "a") -> EngineRequest:
    return EngineRequest(request_id, (5, 6), 700, 950, 50, 4, seed)


async def tokens_of(engine, asked: EngineRequest) -> list[int]:
    return [token async for delta in engine.generate(asked) for token in delta.token_ids]


def promised(engine) -> Release:
    return engine.release


async def test_the_weaker_model_answers_under_the_promised_name():
    inner = ScriptedEngine(release=WEAK)
    engine = ClaimedReleaseEngine(inner, RELEASE)
    assert promised(engine) == RELEASE
    assert await tokens_of(engine, request()) == [10, 11, 12, 13]
    assert inner.requests == [request()]
    engine.close()
    assert inner.closed


async def test_a_foreign_seed_is_another_one_and_all_else_is_as_asked():
    inner = ScriptedEngine()
    engine = ForeignSeedEngine(inner)
    await tokens_of(engine, request())
    await tokens_of(engine, request())
    first, again = inner.requests
    assert first == again
    assert first.seed != 7
    assert 0 <= first.seed < 2**63
    assert promised(engine) == RELEASE


async def test_a_replay_answers_the_same_prompt_without_computing_it_again():
    inner = ScriptedEngine()
    engine = ReplayEngine(inner)
    first = await tokens_of(engine, request(seed=1, request_id="a"))
    assert await tokens_of(engine, request(seed=2, request_id="b")) == first
    assert len(inner.requests) == 1
