"""From an alarm to a verdict: pay waits, a second engine looks, and nobody loses by our faults."""

import asyncio

import pytest

from subnet.cli.evidence import export_bundle
from subnet.cli.exits import UsageError
from subnet.cli.status import build_status
from subnet.core.reverify import Verdict as BundleVerdict
from subnet.core.reverify import reverify
from subnet.core.second_opinion import Verdict
from subnet.edge.kept_rows import drop_alarm_window
from subnet.edge.state_reader import open_for_reading
from subnet.roles.auditor import RefereeUnsoundError
from subnet.sim.loop import run_virtual
from tests.validator_support import (
    TEMPO,
    FakeMiner,
    HashReferee,
    Subnet,
    make_settings,
    miner_hotkey,
)

HONEST, SUSPECT = miner_hotkey(0), miner_hotkey(1)
NOW_US = 5_000 * 1_000_000


@pytest.fixture
def live(tmp_path):
    """Run an honest miner beside a suspect, with `during` beside them, to the last epoch."""
    opened = []

    def run(suspect, during=None, *, epochs=4, **validator):
        settings = make_settings(
            validator={"epochs_max": epochs, **validator},
            scoring={"quality_prior_answers": 10_000.0},
        )
        miners = [FakeMiner(HONEST), FakeMiner(SUSPECT, suspect)]
        subnet = Subnet(tmp_path / "validator.sqlite", miners, settings)
        opened.append(subnet)

        async def main():
            async with asyncio.timeout(7200), asyncio.TaskGroup() as group:
                side = group.create_task(during(subnet)) if during else None
                await subnet.run()
                if side is not None:
                    side.cancel()

        run_virtual(main())
        return subnet

    yield run
    for subnet in opened:
        subnet.store.close()


async def until(holds):
    while not holds():  # noqa: ASYNC110 - the world moves by the clock
        await asyncio.sleep(0.1)


def suspect_of(subnet):
    return subnet.book.standing(SUSPECT)


def share_by_epoch(subnet):
    """The suspect's share of all weights that were set."""
    return [weights.get(2, 0) / sum(weights.values()) for _, weights, _ in subnet.chain.weights]


def pay_beside_the_honest(subnet):
    """The suspect's pay by epoch, as a multiple of the honest miner's."""
    accepted = [epoch for epoch in subnet.store.epochs() if epoch.submitted_block is not None]
    return [epoch.scores_ppm[SUSPECT] / epoch.scores_ppm[HONEST] for epoch in accepted]


async def break_once(subnet, numbers=(1,)):
    """The referee misreads these miners, from the second weights to their holds."""
    await until(lambda: len(subnet.chain.weights) >= 2)
    broken = [subnet.miners[number] for number in numbers]
    while not all(subnet.book.standing(miner.hotkey).hold for miner in broken):
        for miner in broken:
            if subnet.book.standing(miner.hotkey).hold is None:
                subnet.referee.misread_seeds |= miner.seeds
        await asyncio.sleep(0.1)
    subnet.referee.misread_seeds = set()


def test_a_cheat_is_held_then_confirmed_and_its_evidence_is_kept(live):
    seen = []

    async def watch(subnet):
        await until(lambda: suspect_of(subnet).hold is not None)
        seen.append(suspect_of(subnet))
        await until(lambda: suspect_of(subnet).hold is None)
        seen.append(suspect_of(subnet))

    subnet = live("foreign seed", watch)
    held, closed = seen
    assert held.closure is None
    assert closed.closure.reason == "ALARM"
    assert "confirmed by fake: 1e" in closed.closure.detail
    assert suspect_of(subnet).closure.detail == closed.closure.detail, "a later alarm adds nothing"
    assert share_by_epoch(subnet) == [0, 0, 0, 0]
    assert len(subnet.second_engine.asked) == 1, "what is decided is not asked again"
    bundle = export_bundle(subnet.store, SUSPECT, None, NOW_US)
    assert bundle.has_alarm
    outcome = reverify(bundle, lambda *_: True, HashReferee().score)
    assert outcome.verdict is BundleVerdict.CONFIRMED, outcome.reason
    assert bundle.answers[-1].audited_at_us * 1000 == held.hold.at_ns, "it is of that alarm"


def test_a_cheat_that_alarms_faster_than_the_engine_loads_is_judged_all_the_same(live):
    async def slow(subnet):
        subnet.second_engine.seconds = 12.0

    subnet = live("foreign seed", slow)
    assert "confirmed by fake" in suspect_of(subnet).closure.detail
    assert len(subnet.second_engine.asked) == 1


def test_an_alarm_of_a_broken_referee_is_contradicted_and_costs_the_miner_nothing(live):
    subnet = live("honest", break_once, epochs=6)
    suspect = suspect_of(subnet)
    assert (suspect.closure, suspect.hold, suspect.owed_ppm) == (None, None, 0)
    assert suspect.contradicted >= 1
    assert pay_beside_the_honest(subnet)[1:] == pytest.approx([1] * 5, abs=0.1)
    with pytest.raises(UsageError, match="no alarm"):
        export_bundle(subnet.store, SUSPECT, None, NOW_US)


def test_the_operator_is_told_that_his_engines_disagree(live, tmp_path, caplog):
    subnet = live("honest", break_once)
    assert "your two engines disagree about" in caplog.text
    reader = open_for_reading(tmp_path / "validator.sqlite")
    report = build_status(reader, run_virtual(subnet.chain.metagraph()))
    records = reader.contradictions()
    reader.close()
    assert report.contradictions == len(records) >= 1
    assert all(one.verdict is Verdict.CONTRADICTED and one.answers for one in records)
    assert "by fake over" in report.contradictions_latest
    miner = report.miners[1]
    assert miner.contradicted >= 1
    assert "the verifier's fault and none of its own" in miner.why


def test_pay_held_over_an_epoch_comes_with_the_next_weights(live):
    async def slow(subnet):
        close_epoch = subnet.store.close_epoch

        def watched(*arguments):
            close_epoch(*arguments)
            saved.extend(one for one in subnet.store.standings() if one.hotkey == SUSPECT)

        subnet.store.close_epoch = watched
        subnet.second_engine.seconds = 1.5 * TEMPO
        await break_once(subnet)

    saved = []
    subnet = live("honest", slow, epochs=7)
    assert suspect_of(subnet).contradicted == 1
    pay = pay_beside_the_honest(subnet)
    assert pay[1:] == pytest.approx([1, 0, 2, 1, 1, 1], abs=0.1), "twice after none"
    withheld = [one for one in saved if one.hold and one.hold.withheld_ppm]
    assert withheld, "saved with the weights that went without it"
    assert {one.hotkey: one for one in subnet.store.standings()} == {
        one.hotkey: one for one in subnet.book.known()
    }


def test_without_an_opinion_the_gate_closes_after_an_epoch_on_the_first_engines_word(
    live, tmp_path
):
    async def fail(subnet):
        subnet.second_engine.problem = "scripted: not installed"
        await until(lambda: suspect_of(subnet).hold is not None)
        held.append(suspect_of(subnet).hold)

    held = []
    subnet = live("foreign seed", fail, epochs=5)
    suspect = suspect_of(subnet)
    assert "no second opinion came within an epoch" in suspect.closure.detail
    epochs = [suspect.closure.at_ns, held[0].at_ns]
    held_epochs = [int((at_ns / 1e9 - 1000) // TEMPO) for at_ns in epochs]
    assert held_epochs[0] - held_epochs[1] == 2, "one set of weights in between went without it"
    assert suspect.hold is not None, "the question stays open"
    reader = open_for_reading(tmp_path / "validator.sqlite")
    miner = build_status(reader, run_virtual(subnet.chain.metagraph())).miners[1]
    reader.close()
    assert (miner.state, miner.is_undecided) == ("closed", True)
    assert share_by_epoch(subnet) == [0] * 5, "a cheat is not paid while the engine is broken"


def test_an_opinion_that_comes_late_opens_the_gate_again(live):
    async def late(subnet):
        subnet.second_engine.problem = "scripted: not installed"
        await break_once(subnet)
        await until(lambda: suspect_of(subnet).closure is not None)
        subnet.second_engine.problem = None

    subnet = live("honest", late, epochs=9, second_opinion_retry_seconds=5.0)
    suspect = suspect_of(subnet)
    assert (suspect.closure, suspect.hold, suspect.owed_ppm) == (None, None, 0)
    pay = pay_beside_the_honest(subnet)
    assert max(pay[1:]) == pytest.approx(2, abs=0.1), "the one held epoch is made good"
    assert pay[-1] == pytest.approx(1, abs=0.1)
    assert pay.count(0) >= 2, "and those after it are not"


def test_an_opinion_that_comes_late_confirms_as_well(live):
    async def late(subnet):
        subnet.second_engine.problem = "scripted: not installed"
        await until(lambda: suspect_of(subnet).closure is not None)
        subnet.second_engine.problem = None

    subnet = live("foreign seed", late, epochs=6, second_opinion_retry_seconds=5.0)
    assert "confirmed by fake" in suspect_of(subnet).closure.detail
    assert suspect_of(subnet).hold is None


def test_a_second_engine_that_fails_its_own_self_test_clears_nobody(live):
    async def blind(subnet):
        subnet.second_engine.referee.is_blind = True

    subnet = live("foreign seed", blind, epochs=4)
    assert suspect_of(subnet).contradicted == 0
    assert suspect_of(subnet).closure is not None
    assert share_by_epoch(subnet) == [0] * 4


def test_transcripts_that_are_gone_cannot_clear_a_miner(live):
    async def forget(subnet):
        subnet.second_engine.problem = "scripted: slow"
        await until(lambda: suspect_of(subnet).hold is not None)
        with subnet.store._begin() as db:
            drop_alarm_window(db, SUSPECT)
        subnet.second_engine.problem = None

    subnet = live("foreign seed", forget, epochs=4, second_opinion_retry_seconds=1.0)
    assert suspect_of(subnet).closure is not None
    assert suspect_of(subnet).contradicted == 0


@pytest.mark.parametrize("suspect", ["honest", "foreign seed"])
def test_a_validator_killed_between_alarm_and_opinion_neither_forgets_nor_punishes(
    live, tmp_path, suspect
):
    async def stall(subnet):
        subnet.second_engine.seconds = 10_000.0
        if suspect == "honest":
            await break_once(subnet)
        else:
            await until(lambda: suspect_of(subnet).hold is not None)
        subnet.settings.validator.__dict__["epochs_max"] = len(subnet.chain.weights) + 1
        first_hold.append(suspect_of(subnet).hold)

    first_hold = []
    first = live(suspect, stall, epochs=60)
    before = suspect_of(first)
    assert before.hold is not None and before.closure is None
    first.store.close()
    second = live(suspect, epochs=3)
    after = suspect_of(second)
    assert after.hold is None
    assert (after.closure is None) == (suspect == "honest")
    assert after.contradicted == (suspect == "honest")
    assert len(second.second_engine.asked[0]) > 1, "asked about the transcripts of the first run"


@pytest.mark.parametrize("poisoned", [0, 1])
def test_transcripts_that_break_the_engine_keep_nobody_else_waiting(live, poisoned):
    async def poison(subnet):
        subnet.second_engine.problem = "scripted: loading"
        subnet.miners[0].behaviour = "foreign seed"
        await until(lambda: all(subnet.book.standing(one).hold for one in (HONEST, SUSPECT)))
        order.extend(sorted(subnet.miners, key=lambda one: alarmed_at(subnet, one)))
        subnet.second_engine.breaks_on = order[poisoned].seeds
        subnet.second_engine.problem = None
        other = order[1 - poisoned].hotkey
        await until(lambda: subnet.book.standing(other).closure is not None)
        verdicts.append(subnet.book.standing(other).closure.detail)

    def alarmed_at(subnet, miner):
        return subnet.book.standing(miner.hotkey).hold.at_ns, miner.hotkey

    order, verdicts = [], []
    subnet = live("foreign seed", poison, epochs=5, second_opinion_retry_seconds=1.0)
    assert "confirmed" in verdicts[0], "within its epoch"
    assert "no second opinion" in subnet.book.standing(order[poisoned].hotkey).closure.detail


def test_an_alarm_puts_the_referee_itself_to_the_test_at_once(live):
    async def blind_at_alarm(subnet):
        await until(lambda: suspect_of(subnet).hold is not None)
        subnet.referee.is_blind = True
        await asyncio.sleep(10_000)

    with pytest.raises(ExceptionGroup) as caught:
        live("foreign seed", blind_at_alarm)
    assert caught.group_contains(RefereeUnsoundError)


def test_many_alarms_at_once_are_answered_by_one_load(live):
    async def both(subnet):
        subnet.second_engine.seconds = 3.0
        await break_once(subnet, [0, 1])

    subnet = live("honest", both, epochs=6)
    assert subnet.book.standing(HONEST).contradicted >= 1
    assert suspect_of(subnet).contradicted >= 1
    sizes = [len(claims) for claims in subnet.second_engine.asked]
    assert len(sizes) <= 3, sizes


def test_without_a_second_engine_an_alarm_closes_the_gate_at_once(live):
    seen = []

    async def watch(subnet):
        await until(lambda: suspect_of(subnet).closure is not None)
        seen.append(suspect_of(subnet))

    subnet = live("foreign seed", watch, second_opinion="none")
    assert seen[0].hold is None
    assert seen[0].audited <= 4
    assert subnet.second_engine.asked == []


def test_a_held_miner_is_given_no_users_prompt_and_shows_as_held(live, tmp_path):
    async def watch(subnet):
        subnet.second_engine.problem = "scripted: slow"
        await break_once(subnet)
        reader = open_for_reading(tmp_path / "validator.sqlite")
        report = build_status(reader, await subnet.chain.metagraph())
        reader.close()
        shown.append(report.miners[1])
        assert subnet.roles.desk.user_scores().keys() == {HONEST}

    shown = []
    live("honest", watch)
    (miner,) = shown
    assert (miner.state, miner.score_ppm, miner.integrity_ppm) == ("held", 0, 0)
    assert miner.why.startswith("its new pay is held")
    assert "nothing is decided" in miner.why
