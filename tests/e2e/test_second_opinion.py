"""Real engines on both sides of an alarm: a cheat is confirmed, a broken referee is contradicted.

Miners' answers come from vLLM, the referee is the production one, and the second engine runs in the
process of its own that a validator would start.
"""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("vllm")

from subnet.cli.engines import canary_questions, referee_plan
from subnet.cli.evidence import export_bundle
from subnet.cli.validator import load_calibration, load_tokenizer
from subnet.config import load_settings
from subnet.core.benchmark import generate_task
from subnet.core.book import StandingBook
from subnet.core.bundle import EvidenceRules
from subnet.core.canary import CANARY_TOKENS, canary_of
from subnet.core.records import Lost
from subnet.core.verification.claim import claim_of
from subnet.edge.kept_rows import KeptLimits
from subnet.edge.release_files import load_release_files
from subnet.edge.second_engine import ChildSecondEngine
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.lab.transcripts import served
from subnet.ports import EngineRequest, OpinionUnavailableError
from subnet.roles.auditor import Auditor
from subnet.roles.bursts import BurstLedger
from subnet.roles.second_opinion import SecondOpinions
from subnet.sim.loop import LoopClock
from tests.evidence_support import (
    MASTER_SECRET,
    MINER,
    make_request,
    pending_of_answer,
    signed_answer,
)
from tests.validator_support import VALIDATOR, FakeChain

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]
TINY = Path(__file__).parents[2] / "assets" / "tiny"
SETTINGS = load_settings(overrides={"release.model": str(TINY)}, environ={})
ANSWERS = 24
NOW_US = 5_000 * 1_000_000


@pytest.fixture(scope="module")
def files():
    return load_release_files(str(TINY), runtime=SETTINGS.release.runtime)


@pytest.fixture(scope="module")
def table(files):
    return load_calibration(SETTINGS, files)


@pytest.fixture(scope="module")
def tokenizer(files):
    return load_tokenizer(files)


def answered(files, release, tokenizer):
    """Signed answers that vLLM gives from these weights, under `release`'s name."""
    requests = [
        make_request(n, tokenizer.render(generate_task("open", bytes([n])).prompt), release)
        for n in range(ANSWERS)
    ]
    asked = [
        EngineRequest(
            request_id=str(number),
            prompt_token_ids=one.prompt_token_ids,
            temperature_milli=one.sampling.temperature_milli,
            top_p_milli=one.sampling.top_p_milli,
            top_k=one.sampling.top_k,
            tokens_max=one.sampling.tokens_max,
            seed=claim_of(
                one, (), (), "length", miner_hotkey=MINER.hotkey, caller_hotkey=VALIDATOR
            ).seed,
        )
        for number, one in enumerate(requests)
    ]
    found = served(files, asked, {8: 1.0}, {"enforce_eager": True}, lambda _: None)
    pendings = []
    for number, (request, claim) in enumerate(zip(requests, found.claims, strict=True)):
        signed = signed_answer(
            request,
            claim.output_token_ids,
            claim.logprobs,
            finish_reason=claim.finish_reason,
            environment=found.environment,
        )
        pendings.append(pending_of_answer(signed, claim.output_token_ids, claim.logprobs, number))
    return pendings


@pytest.fixture(scope="module")
def honest(files, tokenizer):
    return answered(files, files.release, tokenizer)


@pytest.fixture(scope="module")
def weaker(files, tokenizer):
    weak = load_release_files(str(TINY.with_name("tiny-weak")), runtime=SETTINGS.release.runtime)
    return answered(weak, files.release, tokenizer)


def referee_of(files, table, *, is_broken=False):
    from subnet.cli.engines import make_referee

    referee = make_referee(SETTINGS, files, table)
    if is_broken:
        import torch

        def round_off(_module, _inputs, output):
            return output.to(torch.float8_e4m3fn).to(output.dtype)

        referee._decoder.norm.register_forward_hook(round_off)
    return referee


def second_engine(files, table, tokenizer, kind):
    return ChildSecondEngine(
        referee_plan(SETTINGS, files, table, kind), canary_questions(tokenizer), 240.0
    )


@pytest.fixture
def store(tmp_path, files, table):
    opened = SqliteValidatorStore(tmp_path / "state", {"hotkey": VALIDATOR}, MASTER_SECRET)
    opened.save_evidence_rules(
        EvidenceRules(
            release=files.release, table=table, evidence=SETTINGS.evidence, audit=SETTINGS.audit
        ),
        KeptLimits(1000, 1_000_000),
    )
    yield opened
    opened.close()


async def judge(store, files, table, tokenizer, referee, pendings, kind):
    """(after the audit, after the second opinion): the standing of the miner that answered so."""
    book = StandingBook(store.standings(), files.release.digest(), SETTINGS.rules)
    auditor = Auditor(
        chain=FakeChain([]),
        referee=referee,
        table=table,
        canary=canary_of(referee.continued(canary_questions(tokenizer), CANARY_TOKENS)),
        store=store,
        book=book,
        ledger=BurstLedger(),
        tokenizer=tokenizer,
        clock=LoopClock(),
        settings=SETTINGS,
    )
    for pending in pendings:
        lost = Lost(at_us=1, period=pending.period, counter=pending.counter)
        store.save_ending(book.standing(MINER.hotkey), lost, pending)
    assert await auditor.audit_once() == len(pendings), "the referee passed its own self-test"
    audited = book.standing(MINER.hotkey)
    again = StandingBook(store.standings(), files.release.digest(), SETTINGS.rules)
    opinions = SecondOpinions(
        engine=second_engine(files, table, tokenizer, kind),
        store=store,
        book=again,
        clock=LoopClock(),
        settings=SETTINGS,
    )
    await opinions.settle_once()
    return audited, again.standing(MINER.hotkey)


@pytest.mark.parametrize("kind", ["torch-wide", "vllm"])
async def test_a_weaker_model_alarms_and_another_engine_confirms(
    store, files, table, tokenizer, weaker, kind
):
    referee = referee_of(files, table)
    held, after = await judge(store, files, table, tokenizer, referee, weaker, kind)
    assert held.hold is not None and held.closure is None
    assert after.hold is None
    assert f"confirmed by {kind}" in after.closure.detail
    assert export_bundle(store, MINER.hotkey, None, NOW_US).has_alarm
    assert store.contradictions() == []


@pytest.mark.parametrize("kind", ["torch-wide", "vllm"])
async def test_a_referee_with_broken_numerics_accuses_an_honest_miner_and_is_contradicted(
    store, files, table, tokenizer, honest, kind
):
    referee = referee_of(files, table, is_broken=True)
    held, after = await judge(store, files, table, tokenizer, referee, honest, kind)
    assert held.hold is not None and held.closure is None, "its own canary cannot show it"
    assert (after.hold, after.closure, after.contradicted) == (None, None, 1)
    (record,) = store.contradictions()
    assert record.engine == kind
    assert record.first_log_evidence > 18 > 9 > record.second_log_evidence


async def test_an_honest_miner_before_a_sound_referee_raises_no_question(
    files, table, tokenizer, honest, store
):
    held, _ = await judge(
        store, files, table, tokenizer, referee_of(files, table), honest, "torch-wide"
    )
    assert held.hold is None
    assert held.verified == ANSWERS


async def test_an_engine_that_cannot_load_is_told_in_one_line(files, table, tokenizer):
    broken = files.folder.with_name("no-such-model")
    engine = second_engine(files, table, tokenizer, "torch-wide")
    import msgspec

    engine._plan = msgspec.structs.replace(engine._plan, folder=str(broken))
    with pytest.raises(OpinionUnavailableError, match=r"cannot load .*no-such-model") as caught:
        await engine.score([], table.slack_logits)
    assert "\n" not in str(caught.value)


async def test_an_engine_that_takes_too_long_is_ended(files, table, tokenizer):
    plan = referee_plan(SETTINGS, files, table, "torch-wide")
    engine = ChildSecondEngine(plan, canary_questions(tokenizer), 0.2)
    with pytest.raises(OpinionUnavailableError, match="took longer"):
        await engine.score([], table.slack_logits)


async def test_a_validator_that_is_stopped_leaves_no_engine_behind(files, table, tokenizer):
    import psutil

    engine = second_engine(files, table, tokenizer, "torch-wide")
    asking = asyncio.create_task(engine.score([], table.slack_logits))
    while not psutil.Process().children():  # noqa: ASYNC110 - the kernel's list has no event
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert psutil.Process().children() == []
