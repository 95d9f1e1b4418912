"""The validator's real roles over fakes: who earns, who does not, and what the world may break."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import pytest

from protocol.structure import Structure
from subnet.cli.exits import run_process
from subnet.cli.status import build_status
from subnet.core.draws import Anchor, period_secret, secret_digest
from subnet.core.standing import Blame
from subnet.edge.state_reader import open_for_reading
from subnet.roles.auditor import RefereeUnsoundError
from subnet.sim.loop import run_virtual
from tests.validator_support import (
    RELEASE,
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
    refusal_of,
)

YES_OR_NO = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')


@pytest.fixture
def live(tmp_path):
    """Run a subnet with these behaviours to its last epoch, and hand it over."""
    opened = []

    def run(*behaviours, prompts=(), before=None, chain=None, **sections):
        miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(behaviours)]
        subnet = Subnet(
            tmp_path / "validator.sqlite", miners, make_settings(**sections), **(chain or {})
        )
        opened.append(subnet)
        subnet.store.add_prompts(prompts)

        async def main():
            async with asyncio.timeout(7200):
                if before is None:
                    await subnet.run()
                else:
                    async with asyncio.TaskGroup() as group:
                        side = group.create_task(before(subnet))
                        await subnet.run()
                        side.cancel()

        run_virtual(main())
        return subnet

    yield run
    for subnet in opened:
        subnet.store.close()


def standing(subnet, number):
    return subnet.book.standing(miner_hotkey(number))


def test_two_honest_miners_share_what_two_cheats_lose(live):
    subnet = live("honest", "foreign seed", "honest", "foreign seed")
    shares = subnet.shares()
    assert set(shares) == {miner_hotkey(0), miner_hotkey(2)}
    assert min(shares.values()) > 0.45
    for number in range(4):
        assert standing(subnet, number).audited >= 20


def test_all_honest_miners_earn_alike(live):
    shares = live("honest", "honest", "honest", "honest").shares()
    assert len(shares) == 4
    assert max(shares.values()) - min(shares.values()) < 0.02


def test_when_all_cheat_nobody_is_paid(live):
    assert live("foreign seed", "foreign seed").shares() == {"own": 1.0}


@pytest.mark.parametrize("behaviour", ["honest elsewhere", "foreign seed elsewhere"])
def test_a_machine_that_nobody_calibrated_is_accused_of_nothing_and_earns_nothing(live, behaviour):
    """Neither a trap for honest miners with new hardware nor immunity for cheats who invent it."""
    subnet = live("honest", behaviour)
    found = standing(subnet, 1)
    assert found.audited == found.inconclusive > 10
    assert found.closure is None and found.verified == 0
    assert set(subnet.shares()) == {miner_hotkey(0)}


def test_with_the_margin_check_off_the_cheats_earn(live):
    subnet = live("honest", "foreign seed", scoring={"integrity_check": False})
    assert subnet.shares()[miner_hotkey(1)] > 0.45


def test_a_signed_answer_that_breaks_a_rule_closes_the_gate_at_once(live):
    subnet = live("honest", "skips stops")
    assert standing(subnet, 1).closure.reason == "STOP_SKIPPED"
    assert set(subnet.shares()) == {miner_hotkey(0)}


def test_an_answer_that_breaks_its_grammar_closes_the_gate_and_obedient_ones_do_not(live):
    subnet = live("honest", "breaks grammars", validator={"epochs_max": 4})
    assert standing(subnet, 1).closure.reason == "GRAMMAR_BROKEN"
    assert set(subnet.shares()) == {miner_hotkey(0)}
    structured = [one for one in subnet.miners[0].asked if one.sampling.structure]
    assert 0 < len(structured) < len(subnet.miners[0].asked) / 3


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        ("breaks", "BROKEN_STREAM"),
        ("lies", "FALSE_CLAIM"),
        ("full", "CAPACITY_FULL"),
    ],
)
def test_a_faulty_miner_is_recorded_earns_nothing_and_the_round_goes_on(live, behaviour, word):
    subnet = live("honest", behaviour)
    assert standing(subnet, 1).faults[word] > 10
    assert standing(subnet, 0).verified > 10
    assert set(subnet.shares()) == {miner_hotkey(0)}


@pytest.mark.parametrize(
    ("behaviour", "blame"),
    [
        ("full", Blame.BACK_PRESSURE),
        ("full for ever", Blame.MINER),
        ("full for long", Blame.MINER),
        ("out of budget", Blame.MINER),
    ],
)
def test_back_pressure_is_honest_if_it_names_a_time_to_ask_again(live, behaviour, blame):
    assert set(standing(live("honest", behaviour), 1).blames) == {blame}


@pytest.mark.parametrize(("wait_ms", "is_honest"), [(5000, True), (60_001, False)])
def test_a_miner_that_asks_us_to_wait_is_not_asked_before(live, wait_ms, is_honest):
    """Unless that is no honest back-pressure: no word keeps us away for as long as it likes."""
    refused_at, asked_at = [], []

    async def refuse(subnet):
        infer = subnet.client.infer

        async def timed(endpoint, request):
            if endpoint.hotkey != miner_hotkey(1):
                return await infer(endpoint, request)
            loop = asyncio.get_running_loop()
            asked_at.append(loop.time())
            exchange = await infer(endpoint, request)
            refused_at.append(loop.time())
            refusal = refusal_of(request, endpoint.hotkey, "CAPACITY_FULL", wait_ms)
            return replace(exchange, refusal=refusal)

        subnet.client.infer = timed
        await asyncio.sleep(10_000)

    live("honest", "full", before=refuse)
    soon = sum(
        refused < asked < refused + wait_ms / 1000 for refused in refused_at for asked in asked_at
    )
    assert len(refused_at) > 5
    assert (soon == 0) is is_honest


def test_a_miner_that_times_out_rests_and_earns_nothing(live):
    subnet = live("honest", "times out", validator={"epochs_max": 5})
    faults = standing(subnet, 1).faults
    assert 3 <= faults["TIMEOUT"] <= 8
    assert faults["RESTING"] >= 3, "a rest is no way to keep a score"
    assert set(subnet.shares()) == {miner_hotkey(0)}


def test_a_miner_that_answers_again_after_its_rest_is_asked_again(live):
    async def recover(subnet):
        await asyncio.sleep(20)
        subnet.miners[1].behaviour = "honest"

    subnet = live("honest", "times out", before=recover, validator={"epochs_max": 5})
    assert standing(subnet, 1).verified > 20
    assert subnet.shares()[miner_hotkey(1)] > 0.3


def test_a_tarpit_leaves_the_slots_to_the_others(live):
    slots = {"requests_in_flight_max": 4, "probe_interval_seconds": 0.5}
    subnet = live("honest", "tarpit", validator={**slots, "epochs_max": 3})
    alone = live("honest", validator={**slots, "epochs_max": 3})
    most = max(subnet.client.in_flight_max.values())
    assert subnet.client.in_flight_max[miner_hotkey(1)] <= 2, most
    asked = len(subnet.miners[0].asked)
    assert asked > 0.7 * len(alone.miners[0].asked)


def test_the_prober_sleeps_until_somebody_is_due(live):
    """No polling: it wakes for an instant, a new miner, or one that is free again."""
    sleeps = []

    async def count(subnet):
        prober = subnet.roles.prober
        sleep_until = prober._sleep_until

        async def counted(due_at):
            sleeps.append(due_at)
            await sleep_until(due_at)

        prober._sleep_until = counted
        await asyncio.sleep(10_000)

    rare = {"probe_interval_seconds": 20.0, "epochs_max": 10}
    subnet = live(*["honest"] * 10, before=count, validator=rare)
    asked = sum(len(miner.asked) for miner in subnet.miners)
    assert 60 < asked < 140
    assert len(sleeps) < 2 * asked + 40


def test_a_miner_that_joins_later_is_asked_at_once_and_one_that_left_no_more(live):
    async def come_and_go(subnet):
        subnet.miners[1].has_endpoint = False
        await asyncio.sleep(60)
        subnet.miners[1].has_endpoint = True
        await asyncio.sleep(60)
        subnet.miners[0].has_endpoint = False
        await asyncio.sleep(15)
        before = len(subnet.miners[0].asked)
        await asyncio.sleep(30)
        assert len(subnet.miners[0].asked) == before
        assert len(subnet.miners[1].asked) > 60

    subnet = live("honest", "honest", before=come_and_go, validator={"epochs_max": 9})
    assert standing(subnet, 1).verified > 40


def test_dead_addresses_hold_up_nobody_and_are_called_less_and_less(live):
    calls = []

    async def count(subnet):
        handshake = subnet.client.handshake

        async def counted(endpoint, timeout_seconds):
            calls.append(endpoint.hotkey)
            return await handshake(endpoint, timeout_seconds)

        subnet.client.handshake = counted
        await asyncio.sleep(10_000)

    live("honest", "dead", before=count, validator={"epochs_max": 15})
    assert calls.count(miner_hotkey(1)) <= 6


@pytest.mark.parametrize("behaviour", ["dead", "other release"])
def test_a_miner_that_cannot_be_asked_holds_up_nobody(live, behaviour):
    subnet = live("honest", behaviour)
    assert subnet.client.miners[miner_hotkey(1)].asked == []
    assert set(subnet.shares()) == {miner_hotkey(0)}


def test_a_slow_miner_earns_less_and_changes_nobody_else(live):
    shares = live("honest", "honest", "slow").shares()
    assert shares[miner_hotkey(0)] == pytest.approx(shares[miner_hotkey(1)], rel=0.05)
    assert 0 < shares[miner_hotkey(2)] < shares[miner_hotkey(0)] / 2


def test_a_miner_that_hides_after_its_probation_loses_its_score(live):
    async def hide(subnet):
        await asyncio.sleep(60)
        subnet.miners[1].has_endpoint = False

    half_life = {"availability_half_life_requests": 20}
    subnet = live("honest", "honest", before=hide, validator={"epochs_max": 15}, standing=half_life)
    assert subnet.shares()[miner_hotkey(1)] < 0.2
    assert standing(subnet, 1).faults["NO_ENDPOINT"] > 10


def test_users_and_benchmarks_look_alike_on_the_wire(live):
    prompts = [f"what is lighthouse {n}?" for n in range(150)]
    subnet = live("honest", prompts=prompts, validator={"epochs_max": 16})
    asked = subnet.miners[0].asked
    organic = {prompt.request_id for prompt in subnet.store.prompts()}
    kinds = [request.request_id in organic for request in asked]
    assert sum(kinds) == 150
    for is_organic in (True, False):
        temperatures = {
            request.sampling.temperature_milli
            for request, kind in zip(asked, kinds, strict=True)
            if kind is is_organic
        }
        assert temperatures == {700, 1000}
    assert {request.sampling.tokens_max for request in asked} == {96}
    assert {request.timeout_ms for request in asked} == {30_000}
    assert len({request.nonce for request in asked}) == len(asked)
    assert len({request.request_id for request in asked}) == len(asked)
    assert len({request.prompt_token_ids for request in asked}) >= 0.99 * len(asked)
    assert {request.release_digest for request in asked} == {RELEASE.digest()}


def test_a_structure_proves_no_benchmark_as_users_may_ask_for_one(live):
    async def ask(subnet):
        subnet.store.add_prompts(["is it?"], structure=YES_OR_NO)
        await asyncio.sleep(10_000)

    subnet = live("honest", before=ask, validator={"epochs_max": 4})
    (prompt,) = subnet.store.prompts()
    assert prompt.answer is not None
    (sent,) = [one for one in subnet.miners[0].asked if one.request_id == prompt.request_id]
    assert sent.sampling.structure == YES_OR_NO
    assert standing(subnet, 0).closure is None


def test_a_users_prompt_waits_for_probation_and_goes_to_no_cheat(live):
    subnet = live(
        "foreign seed",
        "honest",
        "slow",
        prompts=["what is a lighthouse?"],
        validator={"epochs_max": 4},
    )
    (prompt,) = subnet.store.prompts()
    assert prompt.answer
    (miner,) = [one for one in subnet.miners if one.hotkey == prompt.answered_by]
    assert miner.behaviour != "foreign seed"
    asked = [bytes(t - 100 for t in r.prompt_token_ids) for r in miner.asked]
    assert asked.index(b"what is a lighthouse?") >= 20


def test_users_prompts_go_to_every_good_miner(live):
    """One that never gets a user's prompt would know that it is always tested."""
    prompts = [f"what is lighthouse {n}?" for n in range(120)]
    subnet = live("honest", "honest", "honest", prompts=prompts, validator={"epochs_max": 8})
    answered = Counter(prompt.answered_by for prompt in subnet.store.prompts())
    assert min(answered[miner_hotkey(number)] for number in range(3)) > 20, answered


def test_a_users_prompt_is_tried_on_another_miner_after_a_fault(live):
    async def fail_on_users(subnet):
        infer = subnet.client.infer

        async def infer_or_fail(endpoint, request):
            text = bytes(t - 100 for t in request.prompt_token_ids)
            miner = subnet.client.miners[endpoint.hotkey]
            if text != b"mine" or endpoint.hotkey != miner_hotkey(1):
                return await infer(endpoint, request)
            miner.behaviour = "breaks"
            try:
                return await infer(endpoint, request)
            finally:
                miner.behaviour = "honest"

        subnet.client.infer = infer_or_fail
        await asyncio.sleep(10_000)

    subnet = live(
        "slow", "honest", prompts=["mine"], before=fail_on_users, validator={"epochs_max": 16}
    )
    (prompt,) = subnet.store.prompts()
    assert standing(subnet, 1).faults["BROKEN_STREAM"] > 0
    assert prompt.answered_by == miner_hotkey(0), "the other miner failed on it"


def test_organic_answers_are_audited_by_a_draw_after_a_later_block(live):
    prompts = [f"prompt {n}" for n in range(40)]
    subnet = live(
        "honest", prompts=prompts, audit={"organic_ppm": 400_000}, validator={"epochs_max": 10}
    )
    states = standing(subnet, 0).evidence
    answered = sum(prompt.answer is not None for prompt in subnet.store.prompts())
    assert answered == 40
    assert 5 < states["ORGANIC"].responses < 30


def test_answers_that_wait_for_their_block_do_not_keep_the_auditor_spinning(live):
    calls = []

    async def count(subnet):
        wait_for_block = subnet.chain.wait_for_block

        async def counted(block):
            calls.append(block)
            return await wait_for_block(block)

        subnet.chain.wait_for_block = counted
        await asyncio.sleep(10_000)

    organic_only = {"benchmark_ppm": 100_000, "suspect_ppm": 100_000}
    live("honest", before=count, audit=organic_only, validator={"audit_batch_answers_max": 1})
    assert len(calls) < 500


def test_a_referee_that_lags_slows_the_questions_and_loses_no_answer(live):
    waiting = []

    async def watch(subnet):
        for _ in range(150):
            await asyncio.sleep(0.25)
            waiting.append(subnet.store.pending_audits_count())
        await asyncio.sleep(10_000)

    lag = {"audit_interval_seconds": 30.0, "pending_audits_max": 7}
    subnet = live("honest", "honest", before=watch, validator={**lag, "epochs_max": 4})
    in_flight = 2 * subnet.settings.validator.requests_in_flight_per_miner_max
    assert 7 <= max(waiting) <= 7 + in_flight
    assert sum(one.audited for one in subnet.book.known()) > 10, "it went on afterwards"


def test_without_a_permit_nobody_is_asked_and_no_weights_are_set(live):
    subnet = live("honest", chain={"permit_at": 45}, validator={"epochs_max": 1})
    assert subnet.chain.weights[0][0] >= 60
    assert standing(subnet, 0).faults == {}


def test_a_validator_that_was_deregistered_ends_with_one_line(live, capsys):
    async def deregister(subnet):
        await asyncio.sleep(30)
        subnet.chain.is_validator_registered = False
        await asyncio.sleep(10_000)

    def main():
        live("honest", before=deregister, validator={"epochs_max": 0})

    with pytest.raises(SystemExit) as caught:
        run_process(main)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no more" in line
    assert "register it again" in line


def test_a_chain_that_is_busy_or_down_delays_weights_and_nothing_else(live):
    async def trouble(subnet):
        await asyncio.sleep(30)
        subnet.chain.failing = 3
        await asyncio.sleep(30)
        subnet.chain.is_down = True
        before = len(subnet.miners[0].asked)
        await asyncio.sleep(50)
        assert len(subnet.miners[0].asked) > before + 20, "probing went on"
        subnet.chain.is_down = False

    subnet = live("honest", before=trouble, validator={"epochs_max": 4})
    assert len(subnet.chain.weights) == 4
    assert subnet.supervisor.restarts["weights"] >= 4


def test_every_anchor_reveals_a_secret_that_no_running_request_can_be_of(live):
    subnet = live("honest", validator={"epochs_max": 5})
    anchors = [Anchor.from_bytes(data) for data in subnet.chain.commitments]
    assert [anchor.period for anchor in anchors] == list(range(len(anchors)))
    assert len(anchors) >= 4
    assert anchors[-1].statements_head == subnet.store.statements_head()
    for before, after in itertools.pairwise(anchors):
        assert before.next_digest == secret_digest(
            period_secret(subnet.store.master_secret, after.period)
        )
        if before.period > 1:
            assert secret_digest(after.revealed_secret) == anchors[before.period - 2].next_digest


def test_nothing_is_asked_before_the_secret_in_use_is_committed(live):
    committed = []

    async def watch(subnet):
        commit, infer = subnet.chain.commit, subnet.client.infer
        for data in subnet.chain.commitments:
            committed.append((0, Anchor.from_bytes(data).next_digest))

        async def late_commit(data):
            await asyncio.sleep(9)
            await commit(data)
            block = await subnet.chain.block_number()
            committed.append((block, Anchor.from_bytes(data).next_digest))

        async def checked_infer(endpoint, request):
            secret = period_secret(subnet.store.master_secret, subnet.store.period())
            blocks = [block for block, digest in committed if digest == secret_digest(secret)]
            assert blocks, "asked before any commitment"
            assert blocks[0] < await subnet.chain.block_number(), "asked in the same block"
            return await infer(endpoint, request)

        subnet.chain.commit, subnet.client.infer = late_commit, checked_infer
        await asyncio.sleep(10_000)

    subnet = live("honest", before=watch, validator={"epochs_max": 4})
    assert standing(subnet, 0).verified > 20


def test_a_referee_that_fails_its_self_test_strikes_nobody_and_ends_the_validator(live):
    def blind(subnet):
        subnet.referee.is_blind = True
        return asyncio.sleep(10_000)

    with pytest.raises(ExceptionGroup) as caught:
        live("honest", before=blind)
    assert caught.group_contains(RefereeUnsoundError)


def test_a_restart_goes_on_where_the_last_run_was(live, tmp_path):
    first = live("honest", "foreign seed", validator={"epochs_max": 2})
    asked = [request.nonce for miner in first.miners for request in miner.asked]
    before = {one.hotkey: one for one in first.book.known()}
    first.store.close()
    second = live("honest", "foreign seed", validator={"epochs_max": 1})
    again = [request.nonce for miner in second.miners for request in miner.asked]
    assert not set(asked) & set(again)
    assert standing(second, 1).closure is not None
    for hotkey, old in before.items():
        assert second.book.standing(hotkey).audited >= old.audited


def test_status_says_what_was_paid_and_why(live, tmp_path):
    subnet = live("honest", "foreign seed", prompts=["who?"], validator={"epochs_max": 5})
    reader = open_for_reading(tmp_path / "validator.sqlite")
    report = build_status(reader, run_virtual(subnet.chain.metagraph()))
    reader.close()
    honest, cheat = report.miners
    assert (honest.state, cheat.state) == ("paid", "closed")
    assert honest.weight == 1.0
    assert cheat.weight == cheat.score_ppm == cheat.integrity_ppm == 0
    assert cheat.why.startswith("earns nothing: its answers are not what the release")
    assert report.epochs == report.submissions - 1 == 4
    assert 1 <= report.settled_epochs <= 3
    assert honest.emission_rao >= 3 * 10**9 > cheat.emission_rao
    (answer,) = report.answers
    assert (answer.prompt, answer.hotkey, answer.uid) == ("who?", honest.hotkey, 1)
