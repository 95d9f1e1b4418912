"""Both memories tell of a user's prompt: a file within a quarter second, memory at once."""

import asyncio
from dataclasses import replace

import pytest

from subnet.core.records import Lost
from subnet.core.standing import fresh_standing
from subnet.core.verification.evidence import EvidenceParams
from subnet.edge.validator_store import LOOK_SECONDS, SqliteValidatorStore
from subnet.sim.loop import run_virtual
from subnet.sim.store import MemoryStore

SECRET = bytes(range(32))


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore(SECRET, None, 10)
        return
    opened = SqliteValidatorStore(tmp_path / "validator.sqlite", {"hotkey": "v"}, SECRET)
    yield opened
    opened.close()


def answer(store):
    (prompt,) = store.open_prompts()
    standing = fresh_standing("miner", "0" * 64, EvidenceParams())
    answered = replace(prompt, answer="yes", answered_by="miner", request_id="1" * 32)
    store.save_ending(standing, Lost(at_us=0, period=0, counter=0), None, answered)


def test_whoever_waits_hears_of_each_prompt_until_it_is_answered(store):
    async def is_told():
        try:
            await asyncio.wait_for(store.until_prompted(), 10 * LOOK_SECONDS)
        except TimeoutError:
            return False
        return True

    async def main():
        assert not await is_told()
        for text in ("first", "second"):
            waiting = asyncio.create_task(store.until_prompted())
            await asyncio.sleep(10 * LOOK_SECONDS)
            store.add_prompts([text])
            before = asyncio.get_running_loop().time()
            await waiting
            assert asyncio.get_running_loop().time() - before <= LOOK_SECONDS
            assert await is_told()
            answer(store)
            assert not await is_told()

    run_virtual(main())
