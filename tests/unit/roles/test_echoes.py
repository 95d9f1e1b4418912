"""Users' prompts asked again: of whom, with what consent, and which lies about them are seen."""

import asyncio
import math
from collections import defaultdict
from dataclasses import replace

import pytest

from protocol.structure import Structure
from subnet.core.audit import PPM, Traffic
from subnet.core.draws import FIRST_PERIOD, draw_task, period_secret, secret_digest
from subnet.core.echoes import EchoPool
from subnet.core.records import RECORD, Answered, Audited, PassedOver, prompt_digest
from subnet.core.verification.evidence import Channel
from subnet.sim.loop import run_virtual
from tests.replay_support import changed, failed, signed
from tests.validator_support import (
    ByteTokenizer,
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
)

MINERS = 6
CLOSED = [f"a secret question {n}" for n in range(10)]
SHOWN = [f"a question for everybody {n}" for n in range(30)]
SHAPED = "a question that wants a shape"
SHAPE = Structure(kind="json_schema", text='{"type": "object"}')
NEWCOMER = miner_hotkey(MINERS - 1)


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A validator of honest miners, one of which is never asked much, and talkative users."""
    path = tmp_path_factory.mktemp("echoes") / "validator.sqlite"
    settings = make_settings(
        validator={"epochs_max": 6, "pending_audits_max": 4000},
        audit={"organic_ppm": PPM // 2},
        scoring={"probation_answers": 10},
        draws={"window_requests": 8},
    )
    miners = [FakeMiner(miner_hotkey(n)) for n in range(MINERS - 1)]
    subnet = Subnet(path, [*miners, FakeMiner(NEWCOMER, "times out")], settings)
    subnet.store.add_prompts(CLOSED)
    subnet.store.add_prompts(SHOWN, has_consent=True)
    subnet.store.add_prompts([SHAPED], has_consent=True, structure=SHAPE)
    run_virtual(subnet.run())
    files = [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
    records = [RECORD.validate_json(line) for file in files for line in file.lines]
    yield subnet, files, records
    subnet.store.close()


def asked_of(subnet):
    """Prompt -> hotkeys, in no order."""
    found = defaultdict(list)
    for miner in subnet.miners:
        for request in miner.asked:
            found[request.prompt_token_ids].append((miner.hotkey, request))
    return found


def test_prompts_are_asked_again_of_other_miners_and_never_without_consent(lived):
    subnet, _, records = lived
    asked, render = asked_of(subnet), ByteTokenizer().render
    for text in CLOSED:
        assert len(asked[render(text)]) == 1
    again = 0
    for text in (*SHOWN, SHAPED):
        whom = [hotkey for hotkey, _ in asked[render(text)]]
        assert len(whom) == len(set(whom))
        again += len(whom) - 1
    echoes = [one for one in records if getattr(one, "traffic", "") == "ECHO"]
    assert sum(not isinstance(one, Audited) for one in echoes) == again > 20
    assert NEWCOMER not in {one.miner_hotkey for one in echoes}


def test_an_echo_keeps_its_structure_and_is_drawn_like_everything_else(lived):
    subnet, _, _ = lived
    shaped = asked_of(subnet)[ByteTokenizer().render(SHAPED)]
    assert len(shaped) > 1
    assert {request.sampling.structure for _, request in shaped} == {SHAPE}
    requests = [one for rows in asked_of(subnet).values() for _, one in rows]
    for field in ("tokens_max", "top_k"):
        assert len({getattr(one.sampling, field) for one in requests}) == 1
    assert len({one.request_id for one in requests}) == len(requests)


def test_every_echo_is_audited_by_margins_alone_and_without_a_grade(lived):
    subnet, _, records = lived
    echoes = [one for one in records if getattr(one, "traffic", "") == "ECHO"]
    answered = {one.response.digest() for one in echoes if isinstance(one, Answered)}
    audited = [one for one in echoes if isinstance(one, Audited)]
    assert {one.response_digest for one in audited} <= answered
    assert len(audited) >= len(answered) - 2, "the last ones wait"
    assert not any(isinstance(one, PassedOver) for one in echoes)
    assert {tuple(one.readings) for one in audited} == {(Channel.MARGIN,)}
    assert {(one.family, one.grade_ppm) for one in audited} == {("", None)}
    states = [one.evidence[Traffic.ECHO].responses for one in subnet.store.standings()]
    assert sum(states) == len(audited)


def test_a_user_keeps_the_first_answer(lived):
    subnet, _, records = lived
    answered = {one.request_id: one for one in records if isinstance(one, Answered)}
    for prompt in subnet.store.prompts():
        assert answered[prompt.request_id].traffic is Traffic.ORGANIC
        assert answered[prompt.request_id].miner_hotkey == prompt.answered_by


def test_a_miner_that_cheats_on_echoes_alone_is_caught_by_their_own_detector(tmp_path):
    settings = make_settings(
        validator={"epochs_max": 4, "second_opinion": "none"},
        scoring={"probation_answers": 10},
        draws={"window_requests": 8},
    )
    miners = [FakeMiner(miner_hotkey(n)) for n in range(4)]
    subnet = Subnet(tmp_path / "v.sqlite", miners, settings)
    questions = [f"question {n}" for n in range(60)]
    subnet.store.add_prompts(questions, has_consent=True)
    cheat, *others = miners
    echoable, score = set(map(ByteTokenizer().render, questions)), subnet.referee._score

    def misread(claim):
        """Loud margins where the cheat is asked what somebody else was asked before."""
        known = {one.prompt_token_ids for miner in others for one in miner.asked} & echoable
        is_cheated = claim.seed in cheat.seeds and claim.prompt_token_ids in known
        found = score(claim)
        return replace(found, margins=(1.0,) * len(found.margins)) if is_cheated else found

    subnet.referee._score = misread
    run_virtual(subnet.run())
    closed = {one.hotkey: one.closure for one in subnet.store.standings() if one.closure}
    subnet.store.close()
    assert closed.keys() == {cheat.hotkey}
    assert closed[cheat.hotkey].detail.startswith("echo evidence")


def test_a_burst_asks_echoes_as_the_prober_does(tmp_path):
    """Its load would be known for a test by its words otherwise."""
    bursts = {
        "is_measured": True,
        "bursts_per_day": 86_400 // 15,
        "duration_seconds_min": 5.0,
        "duration_seconds_max": 6.0,
    }
    settings = make_settings(
        validator={"epochs_max": 5},
        scoring={"probation_answers": 10},
        draws={"window_requests": 8},
        capacity=bursts,
    )
    subnet = Subnet(tmp_path / "v.sqlite", [FakeMiner(miner_hotkey(n)) for n in range(4)], settings)
    subnet.roles.prober.run = lambda: asyncio.sleep(math.inf)
    questions = [f"question {n}" for n in range(60)]
    subnet.store.add_prompts(questions, has_consent=True)
    run_virtual(subnet.run())
    asked = asked_of(subnet)
    subnet.store.close()
    assert sum(len(asked[ByteTokenizer().render(text)]) > 1 for text in questions) > 10


@pytest.fixture
def file(lived):
    """An epoch with echoes whose secret is revealed."""
    _, files, _ = lived
    return next(one for one in files if at_of(one, "ECHO") and one.said.period in one.secrets)


def at_of(file, traffic, kind=Answered):
    """The places of such records under a revealed secret."""
    records = enumerate(map(RECORD.validate_json, file.lines))
    return [
        place
        for place, one in records
        if isinstance(one, kind) and one.traffic == traffic and one.period in file.secrets
    ]


def test_every_epoch_with_echoes_replays(lived):
    for file in lived[1]:
        assert failed(file) == set()


def test_another_prompt_than_drawn_is_seen(file):
    at = at_of(file, "ECHO")[0]
    record = RECORD.validate_json(file.lines[at])
    other = next(
        one.digest
        for one in file.pools[record.period].prompts
        if one.digest != record.prompt_digest
    )
    assert "draws" in failed(changed(file, at, prompt_digest=other))
    assert "draws" in failed(changed(file, at, prompt_digest="0" * 64))
    assert "draws" in failed(changed(file, at, prompt_digest=None))


def test_an_echo_that_is_hidden_behind_a_task_is_seen(file):
    """Asking a friend what it can, where the draw says a user's prompt."""
    at = at_of(file, "ECHO")[0]
    record = RECORD.validate_json(file.lines[at])
    task = draw_task(file.secrets[record.period], record.counter, file.rules.draws)
    lie = {"traffic": Traffic.BENCHMARK, "prompt_digest": prompt_digest(task.prompt)}
    assert "draws" in failed(changed(file, at, **lie))
    assert "draws" in failed(changed(file, at, traffic=Traffic.BENCHMARK)), "or by narrower ones"


def test_an_echo_that_is_called_a_users_and_a_users_that_is_called_an_echo_are_seen(lived, file):
    """The one would be audited seldom, the other looks like a draw that never was."""
    at = at_of(file, "ECHO")[0]
    assert "draws" in failed(changed(file, at, traffic=Traffic.ORGANIC))
    _, files, _ = lived
    users = next(one for one in files if at_of(one, "ORGANIC"))
    shown = {prompt_digest(text) for text in SHOWN}
    places = at_of(users, "ORGANIC")
    at = next(n for n in places if RECORD.validate_json(users.lines[n]).prompt_digest in shown)
    assert "draws" in failed(changed(users, at, traffic=Traffic.ECHO))


def test_a_task_that_is_called_an_echo_is_seen(file):
    records = {at: RECORD.validate_json(file.lines[at]) for at in at_of(file, "BENCHMARK")}
    at = next(at for at, one in records.items() if file.pools[one.period].prompts)
    digest = file.pools[records[at].period].prompts[0].digest
    lie = {"traffic": Traffic.ECHO, "prompt_digest": digest}
    assert "draws" in failed(changed(file, at, **lie))
    assert "draws" in failed(changed(file, at, traffic=Traffic.ECHO)), "to be read by wider bounds"


def with_pool(file, pool):
    """The statement fixes another pool for the next period, and hands it out."""
    coming = file.said.period + 1
    periods = tuple(
        one.model_copy(update={"pool_digest": pool.digest()}) if one.period == coming else one
        for one in file.said.periods
    )
    return replace(signed(file, periods=periods), pools={**file.pools, coming: pool})


def test_a_pool_that_leaves_out_slips_in_or_forgets_is_seen(lived):
    file = next(one for one in lived[1][1:] if one.pools[one.said.period + 1].prompts)
    pool = file.pools[file.said.period + 1]
    first, *rest = pool.prompts
    assert failed(with_pool(file, pool)) == set()
    for other in (
        {"prompts": tuple(rest)},
        {"prompts": (*pool.prompts, first.model_copy(update={"digest": "0" * 64}))},
        {"prompts": (*rest, first)},
        {"prompts": (first.model_copy(update={"seen_by": ()}), *rest)},
        {"prompts": (first.model_copy(update={"periods_left": 50}), *rest)},
        {"takers": pool.takers[1:]},
        {"turns": pool.turns + 1},
    ):
        assert failed(with_pool(file, pool.model_copy(update=other))) == {"pool"}, other


def test_a_statement_fixes_each_period_as_the_store_keeps_it(lived):
    subnet, files, _ = lived
    for file in files:
        now = file.said.period
        assert [one.period for one in file.said.periods] == list(range(FIRST_PERIOD, now + 2))
        for one in file.said.periods:
            secret = period_secret(subnet.store.master_secret, one.period)
            start = subnet.store.period_start(one.period)
            assert one.secret_digest == secret_digest(secret).hex()
            assert one.pool_digest == start.pool.digest()
            assert one.first_counter == (start.first_counter if one.period <= now else None)
    assert len({one.pool_digest for one in files[-1].said.periods}) > 2


def test_an_epoch_hashes_one_pool_and_reads_none_of_the_past(tmp_path, monkeypatch):
    """They hold up to 50,000 prompts each, and the loop has requests to time meanwhile."""
    hashed, read, digest = [], [], EchoPool.digest
    monkeypatch.setattr(EchoPool, "digest", lambda pool: hashed.append(pool) or digest(pool))
    for run in range(2):
        miners = [FakeMiner(miner_hotkey(n)) for n in range(2)]
        settings = make_settings(validator={"epochs_max": 3})
        subnet = Subnet(tmp_path / "v.sqlite", miners, settings, first_block=1000 * run)

        def noted(period, store=subnet.store, period_start=subnet.store.period_start):
            read.append(period - store.period())
            return period_start(period)

        subnet.store.period_start = noted
        run_virtual(subnet.run())
        closed = len(subnet.store.closed_epochs())
        subnet.store.close()
    assert len(hashed) == closed + 1, "the first statement names a period that none did before"
    assert min(read) == 0


def test_another_pool_than_was_fixed_or_another_first_draw_is_seen(file):
    now = file.said.period
    pool = file.pools[now].model_copy(update={"turns": 1})
    assert failed(replace(file, pools={**file.pools, now: pool})) >= {"draws", "pool"}
    assert failed(replace(file, pools={})) >= {"draws", "pool"}
    moved = tuple(
        one.model_copy(update={"first_counter": one.first_counter + 1})
        if one.period == now
        else one
        for one in file.said.periods
    )
    assert "due" in failed(signed(file, periods=moved))
