"""Bursts by the real roles: who is loaded together, what counts, and what is nobody's fault."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import pytest

from subnet.core.capacity import proven_tps_milli
from subnet.core.checks import Outcome
from subnet.core.records import RECORD, Measured
from subnet.core.replay import replay
from subnet.core.standing import Blame
from subnet.ports import Fault
from subnet.roles import joint_prober
from subnet.sim.loop import run_virtual
from tests.replay_support import verify
from tests.validator_support import (
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
    refusal_of,
)

TOKEN_SECONDS = 0.01
"""Of an engine with one request."""
WHOLE_TPS_MILLI = 900 / TOKEN_SECONDS
"""Of one engine in a burst, as its first token takes half a second."""
SHORT = {
    "is_measured": True,
    "bursts_per_day": 4320,
    "duration_seconds_min": 8.0,
    "duration_seconds_max": 9.0,
    "concurrency_max": 4,
}


class EngineClient:
    """Answers take as long as the engine behind a hotkey is busy; `engine_of` tells siblings."""

    def __init__(self, inner, engine_of):
        self.inner = inner
        self.engine_of = engine_of
        self.running = Counter()
        self.in_flight = Counter()
        self.at_once = Counter()
        self.unreachable = set()

    async def handshake(self, endpoint, timeout_seconds):
        if endpoint.hotkey in self.unreachable:
            return Fault.UNREACHABLE
        return await self.inner.handshake(endpoint, timeout_seconds)

    async def infer(self, endpoint, request):
        self.in_flight[endpoint.hotkey] += 1
        try:
            return await self._infer(endpoint, request)
        finally:
            self.in_flight[endpoint.hotkey] -= 1

    async def _infer(self, endpoint, request):
        hotkey = endpoint.hotkey
        self.at_once[hotkey] = max(self.at_once[hotkey], self.in_flight[hotkey])
        engine = self.engine_of.get(hotkey, hotkey)
        exchange = await self.inner.infer(endpoint, request)
        if hotkey in self.unreachable:
            return replace(exchange, fault=Fault.UNREACHABLE, response=None, token_ids=())
        self.running[engine] += 1
        times = []
        waited = 0.5
        for _ in exchange.token_ids:
            step = TOKEN_SECONDS * self.running[engine]
            await asyncio.sleep(step)
            waited += step
            times.append(round(waited * 1e6))
        self.running[engine] -= 1
        return replace(exchange, token_times_us=tuple(times), total_us=times[-1] if times else 1)


@pytest.fixture
def live(tmp_path):
    opened = []

    def run(*behaviours, engine_of=None, before=None, first_block=0, **sections):
        miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(behaviours)]
        validator = {"epochs_max": 6, **sections.pop("validator", {})}
        capacity = {**SHORT, **sections.pop("capacity", {})}
        settings = make_settings(capacity=capacity, validator=validator, **sections)
        path = tmp_path / "validator.sqlite"
        subnet = Subnet(path, miners, settings, first_block=first_block)
        opened.append(subnet)
        subnet.client.engines = EngineClient(subnet.client, engine_of or {})
        for role in (subnet.roster, subnet.dispatcher, subnet.roles.faults):
            role._client = subnet.client.engines

        async def main():
            async with asyncio.timeout(7200), asyncio.TaskGroup() as group:
                side = group.create_task(before(subnet)) if before else None
                await subnet.run()
                if side is not None:
                    side.cancel()

        run_virtual(main())
        return subnet

    yield run
    for subnet in opened:
        subnet.store.close()


def standing(subnet, number):
    return subnet.book.standing(miner_hotkey(number))


def proven(subnet, number):
    return proven_tps_milli(standing(subnet, number).capacity)


def measured(subnet):
    """All that bursts ever showed."""
    files = [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
    lines = [line for file in files for line in file.lines]
    records = map(RECORD.validate_json, (*lines, *subnet.store.open_records().lines))
    return [one for one in records if isinstance(one, Measured)]


def test_honest_miners_prove_what_their_engines_give(live):
    subnet = live("honest", "honest")
    for number in (0, 1):
        assert proven(subnet, number) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)
    assert set(subnet.shares()) == {miner_hotkey(0), miner_hotkey(1)}
    assert min(subnet.shares().values()) > 0.45


def refused(exchange, request, hotkey):
    """The same exchange, had its miner said honestly that it is full."""
    return replace(
        exchange,
        fault=Fault.REFUSED,
        rejection_reason="CAPACITY_FULL",
        refusal=refusal_of(request, hotkey, "CAPACITY_FULL", 500),
        refusal_signature="0" * 128,
        response=None,
    )


def assert_replays(subnet):
    for block in subnet.store.closed_epochs():
        found = replay(subnet.store.epoch_file(block), verify)
        assert [one for one in found if one.outcome is Outcome.FAILED] == []


def test_anybody_computes_from_the_records_what_the_bursts_proved(live):
    subnet = live("honest", "honest", "foreign seed")
    files = [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
    bursts = 0
    for file in files:
        assert [one for one in replay(file, verify) if one.outcome is Outcome.FAILED] == []
        for at, line in enumerate(file.lines):
            record = RECORD.validate_json(line)
            if isinstance(record, Measured) and record.result.rate_tps_milli:
                bursts += 1
                less = record.result.model_copy(update={"rate_tps_milli": 1})
                forged = record.model_copy(update={"result": less}).to_bytes()
                lines = (*file.lines[:at], forged, *file.lines[at + 1 :])
                found = replay(replace(file, lines=lines), verify)
                assert "records" in {one.name for one in found if one.outcome is Outcome.FAILED}
    assert bursts >= 4


@pytest.mark.parametrize("siblings", [2, 3])
def test_hotkeys_on_one_engine_are_paid_once(live, siblings):
    engine_of = {miner_hotkey(number): "shared" for number in range(siblings)}
    subnet = live(*["honest"] * (siblings + 1), engine_of=engine_of, validator={"epochs_max": 6})
    shares = subnet.shares()
    together = sum(shares[miner_hotkey(number)] for number in range(siblings))
    assert together / shares[miner_hotkey(siblings)] < 1.1


def test_only_verified_answers_prove_anything(live):
    subnet = live("honest", "honest elsewhere")
    assert proven(subnet, 0) > 0
    assert proven(subnet, 1) == 0
    assert standing(subnet, 1).answered > 30 and standing(subnet, 1).closure is None
    assert set(subnet.shares()) == {miner_hotkey(0)}


def test_a_burst_loads_all_at_once_up_to_its_limit_and_no_more(live):
    subnet = live("honest", "honest")
    at_once = subnet.client.engines.at_once
    limit = SHORT["concurrency_max"] + subnet.settings.validator.requests_in_flight_per_miner_max
    assert all(4 <= at_once[miner_hotkey(number)] <= limit for number in (0, 1))


def test_before_the_first_burst_nobody_is_weighed(live):
    """Else pay would go by identity: four hotkeys on one engine would get four times its pay."""
    subnet = live("honest", "honest", capacity={"bursts_per_day": 90}, validator={"epochs_max": 1})
    first_us = min(one.at_us for one in measured(subnet))
    closed = [subnet.store.epoch_file(block) for block in subnet.store.closed_epochs()]
    early = [one for one in closed if one.said.at_us < first_us]
    assert len(early) >= 2
    assert all(one.said.miners for one in early)
    assert not any(one.said.weights for one in early)
    assert [
        one for file in early for one in replay(file, verify) if one.outcome is Outcome.FAILED
    ] == []
    assert len(subnet.shares()) == 2


def test_a_restart_goes_on_with_what_was_proven(live):
    first = live("honest", "honest")
    before = [proven(first, number) for number in (0, 1)]
    first.store.close()
    second = live("honest", "honest", capacity={"bursts_per_day": 1}, validator={"epochs_max": 1})
    assert [proven(second, number) for number in (0, 1)] == before


@pytest.mark.parametrize("bursts_per_day", [2160, 8640])
def test_bursts_go_on_when_an_owner_wants_fewer_or_more(live, bursts_per_day):
    first = live("honest", "honest")
    before = {one.result.burst for one in measured(first)}
    first.store.close()
    second = live("honest", "honest", capacity={"bursts_per_day": bursts_per_day}, first_block=1000)
    after = {one.result.burst for one in measured(second)}
    assert before < after and min(after - before) > max(before)
    assert_replays(second)


def test_a_users_prompt_may_fall_into_a_burst_and_counts_there(live):
    """Audited like a benchmark then, however few of users' answers are."""

    async def ask(subnet):
        await asyncio.sleep(60)
        subnet.store.add_prompts([f"what is lighthouse {n}?" for n in range(30)])
        await asyncio.sleep(10_000)

    subnet = live("honest", before=ask, audit={"organic_ppm": 0})
    assert all(prompt.answer for prompt in subnet.store.prompts())
    assert standing(subnet, 0).evidence["ORGANIC"].responses > 5
    assert proven(subnet, 0) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)


def test_no_burst_begins_while_the_referee_lags(live):
    first = live("honest", "honest", validator={"epochs_max": 1})
    before = standing(first, 0).capacity
    first.store.close()
    lag = {"audit_interval_seconds": 1000.0, "pending_audits_max": 5, "epochs_max": 3}
    subnet = live("honest", "honest", validator=lag, first_block=1000)
    assert_replays(subnet)
    assert standing(subnet, 0).capacity == before
    assert sum(len(miner.asked) for miner in subnet.miners) < 60


def test_a_burst_in_which_the_network_failed_proves_nothing(live):
    async def cut(subnet):
        await asyncio.sleep(45)
        subnet.client.engines.unreachable.update(miner_hotkey(number) for number in range(4))
        await asyncio.sleep(15)
        subnet.client.engines.unreachable.clear()
        await asyncio.sleep(10_000)

    subnet = live(*["honest"] * 4, before=cut, validator={"epochs_max": 5})
    for number in range(4):
        found = standing(subnet, number)
        assert found.blames.get(Blame.NETWORK, 0) > 3
        assert Blame.MINER not in found.blames
        assert proven(subnet, number) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)
    assert_replays(subnet)
    shown = [one.result.rate_tps_milli for one in measured(subnet)]
    assert len(shown) >= 12
    assert min(shown) > 800 / TOKEN_SECONDS


def test_one_miner_out_of_reach_is_to_blame_itself(live):
    async def cut(subnet):
        await asyncio.sleep(45)
        subnet.client.engines.unreachable.add(miner_hotkey(0))
        await asyncio.sleep(10_000)

    subnet = live(*["honest"] * 4, before=cut, validator={"epochs_max": 5})
    assert_replays(subnet)
    assert standing(subnet, 0).blames[Blame.MINER] > 3
    assert Blame.NETWORK not in standing(subnet, 0).blames
    shares = subnet.shares()
    assert shares.get(miner_hotkey(0), 0) < shares[miner_hotkey(1)] / 2


def test_a_refusal_of_more_than_was_declared_is_free(live):
    async def fill(subnet):
        infer = subnet.client.engines.infer

        async def infer_if_free(endpoint, request):
            if subnet.client.engines.in_flight[endpoint.hotkey] >= 6:
                return refused(await infer(endpoint, request), request, endpoint.hotkey)
            return await infer(endpoint, request)

        subnet.client.engines.infer = infer_if_free
        await asyncio.sleep(10_000)

    subnet = live("honest", before=fill, capacity={"concurrency_max": 8})
    assert Blame.BACK_PRESSURE not in standing(subnet, 0).blames
    assert standing(subnet, 0).blames[Blame.GATEWAY] > 0


BLOCKS_OF_ONE = {"group_size": 2, "covers_kept": 10}


def refusing_once(subnet, hotkey, beside):
    """Have a miner refuse while another is in a burst too, until that has cost it half its pay."""
    engines = subnet.client.engines
    infer = engines.infer

    async def infer_or_refuse(endpoint, request):
        exchange = await infer(endpoint, request)
        is_beside = endpoint.hotkey == hotkey and engines.in_flight[beside] > 2
        if not is_beside or engines.is_over:
            return exchange
        return refused(exchange, request, hotkey)

    async def until_it_costs():
        engines.is_over = False
        engines.infer = infer_or_refuse
        half = WHOLE_TPS_MILLI / 2
        shown = None
        while shown is None or shown > half:
            await asyncio.sleep(0.1)
            shown = proven_tps_milli(subnet.book.standing(hotkey).capacity)
        engines.is_over = True

    return until_it_costs()


def test_a_bad_burst_is_tried_again_and_counts_no_more(live):
    async def fail(subnet):
        await asyncio.sleep(30)
        await refusing_once(subnet, miner_hotkey(0), miner_hotkey(1))
        await asyncio.sleep(10_000)

    subnet = live(*["honest"] * 4, before=fail, capacity=BLOCKS_OF_ONE)
    again = [one for one in measured(subnet) if one.result.met_ppm == 0]
    assert {one.miner_hotkey for one in again} >= {miner_hotkey(0), miner_hotkey(1)}
    assert_replays(subnet)
    assert proven(subnet, 0) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)


def test_who_stays_away_from_a_second_try_gave_nothing_in_it(live):
    """Two on one engine could each be alone with it else."""

    async def hide(subnet):
        await asyncio.sleep(30)
        await refusing_once(subnet, miner_hotkey(0), miner_hotkey(1))
        subnet.miners[1].has_endpoint = False
        del subnet.roster.peers[miner_hotkey(1)]
        await asyncio.sleep(10_000)

    subnet = live(*["honest"] * 4, before=hide, capacity=BLOCKS_OF_ONE)
    assert_replays(subnet)
    assert proven(subnet, 0) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)
    assert proven(subnet, 1) == 0


def test_a_second_try_waits_for_whom_it_is_for(live):
    async def crash(subnet):
        await asyncio.sleep(30)
        await refusing_once(subnet, miner_hotkey(0), miner_hotkey(1))
        subnet.miners[0].has_endpoint = False
        del subnet.roster.peers[miner_hotkey(0)]
        await asyncio.sleep(60)
        subnet.miners[0].has_endpoint = True
        await asyncio.sleep(10_000)

    subnet = live(
        *["honest"] * 4, before=crash, capacity=BLOCKS_OF_ONE, validator={"epochs_max": 12}
    )
    assert_replays(subnet)
    assert proven(subnet, 0) == pytest.approx(WHOLE_TPS_MILLI, rel=0.1)


def test_a_busy_loop_of_ours_is_held_against_nobody(live):
    async def stall(subnet):
        await asyncio.sleep(45)
        subnet.client.engines.unreachable.add(miner_hotkey(0))
        while True:
            subnet.roles.faults.note_lag(5.0)
            await asyncio.sleep(1)

    subnet = live(*["honest"] * 4, before=stall, validator={"epochs_max": 5})
    assert_replays(subnet)
    assert standing(subnet, 0).blames[Blame.VERIFIER] > 3
    assert Blame.MINER not in standing(subnet, 0).blames


def test_a_burst_that_would_load_nobody_does_not_begin(live, monkeypatch):
    """Else it stays under way for ever: no rate and no void would end it."""
    group_of, calls = joint_prober.group_of, itertools.count()

    def none_at_first(*arguments):
        return {} if next(calls) < 2 else group_of(*arguments)

    monkeypatch.setattr(joint_prober, "group_of", none_at_first)
    subnet = live("honest", "honest")
    assert next(calls) > 2 and measured(subnet)
    assert_replays(subnet)
