"""Miners see why they earn what they earn; a cheat sees nothing that it could steer by."""

import asyncio
from dataclasses import replace
from itertools import product

import aiohttp
import pytest

from subnet.cli.exits import UsageError
from subnet.cli.replay import read_file
from subnet.config import ValidatorSettings
from subnet.core import epoch_file
from subnet.core.audit import PPM, Traffic
from subnet.core.bundle import DELAY_US
from subnet.core.capacity import CapacityParams
from subnet.core.checks import Outcome
from subnet.core.explanation import (
    ADVICE,
    DELAYED,
    EVIDENCE,
    SignedExplanation,
    explanation_of,
)
from subnet.core.replay import replay
from subnet.core.reputation import Mass
from subnet.core.rules import RuleParams
from subnet.core.scoring import LatencyBars, Score, ScoringParams, score_miner
from subnet.core.standing import after_audit
from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import BUCKETS
from subnet.core.verification.evidence import Channel, EvidenceParams
from subnet.edge import explanations
from subnet.edge.epoch_pages import packed
from subnet.edge.explanations import Explanations, explain_hotkey, explained, view_of
from subnet.edge.http_server import bind_socket
from subnet.edge.validator_server import ValidatorPages, serve_validator
from subnet.sim.loop import run_virtual
from tests.validator_support import (
    VALIDATOR,
    FakeMiner,
    FakeSigner,
    Subnet,
    is_signed,
    make_settings,
    miner_hotkey,
)

WORDS = ("honest", "foreign seed", "times out", "slow", "skips stops")
HONEST, CHEAT, SILENT, SLOW, VIOLATOR = (miner_hotkey(n) for n in range(len(WORDS)))
ENDED_US = 2000 * 10**6
TOMORROW_US = ENDED_US + DELAY_US


@pytest.fixture(scope="module")
def subnet(tmp_path_factory):
    miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(WORDS)]
    path = tmp_path_factory.mktemp("explain") / "validator.sqlite"
    made = Subnet(path, miners, make_settings(validator={"epochs_max": 4}))
    run_virtual(made.run())
    yield made
    made.store.close()


def told(subnet, hotkey, now_us=ENDED_US, **options):
    return explain_hotkey(
        subnet.store, hotkey, validator_hotkey=VALIDATOR, now_us=now_us, **options
    )


def factor(found, name):
    return next(one for one in found.factors if one.name == name)


def test_every_factor_of_the_score_has_its_evidence_and_advice():
    assert EVIDENCE.keys() == ADVICE.keys() == Score.model_fields.keys()


def test_the_factors_multiply_to_the_score_and_the_gain_is_what_a_whole_one_adds(subnet):
    for hotkey, now_us in product((HONEST, SLOW, SILENT), (ENDED_US, TOMORROW_US)):
        found = told(subnet, hotkey, now_us)
        values = {one.name: PPM if one.value is None else one.value for one in found.factors}
        assert Score(**values).total_ppm == found.score_ppm
        for one in found.factors:
            if not one.name.endswith("_ppm"):
                continue
            whole = Score(**{**values, one.name: PPM}).total_ppm if one.advice else found.score_ppm
            assert one.gain_ppm == whole - found.score_ppm


def test_each_miner_reads_its_own_reasons(subnet):
    states = {hotkey: told(subnet, hotkey).state for hotkey in (HONEST, CHEAT, VIOLATOR)}
    assert states == {HONEST: "paid", CHEAT: "closed", VIOLATOR: "closed"}
    assert "confirmed by fake" in factor(told(subnet, CHEAT), "gate_ppm").evidence
    assert factor(told(subnet, SLOW), "latency_ppm").advice.startswith("first token within")
    assert told(subnet, SILENT).faults["TIMEOUT"] >= 1
    assert told(subnet, SILENT).blames["MINER"] >= 1
    assert told(subnet, miner_hotkey(20)).state == "unknown"


def test_the_advice_names_the_bars_of_the_miners_own_release(subnet):
    standing = subnet.book.standing(SLOW)
    bars = LatencyBars(
        first_token_seconds_max=0.5, token_gap_seconds_max=0.2, lateness_free_seconds=0.1
    )
    scoring = ScoringParams(release_bars={standing.release_digest: bars})
    found = explanation_of(
        standing,
        score_miner(standing, PPM, scoring, EvidenceParams(), CapacityParams()),
        RuleParams(scoring=scoring),
        None,
        rules_digest="0" * 64,
        validator_hotkey=VALIDATOR,
        at_us=ENDED_US,
        priors={},
    )
    assert "within 0.5 s, no gap above 0.2 s" in factor(found, "latency_ppm").advice


@pytest.mark.parametrize("name", DELAYED)
def test_what_audits_move_shows_a_day_later_or_after_an_alarm(subnet, name):
    today, tomorrow = told(subnet, HONEST), told(subnet, HONEST, now_us=TOMORROW_US)
    live = told(subnet, HONEST, undelayed=True)
    assert factor(today, name).value is None
    assert factor(told(subnet, CHEAT), name).value is not None
    assert factor(tomorrow, name).value == factor(live, name).value > 0
    assert tomorrow.epoch_block == subnet.store.closed_epochs()[-1]
    assert f"as of epoch {tomorrow.epoch_block}" in factor(tomorrow, name).evidence
    assert not today.reputation
    closed_at_us = subnet.store.last_closed().statement.at_us
    then = told(subnet, HONEST, undelayed=True, now_us=closed_at_us)
    assert tomorrow.reputation == then.reputation != ()
    assert "of the tasks right" in tomorrow.sentence
    assert "of the tasks right" not in today.sentence


def audited_again(standing, rules):
    """One more audit of each kind."""
    reading = {
        Channel.MARGIN: Reading((40,) + (0,) * (BUCKETS - 1), (1.0,) + (0.0005,) * (BUCKETS - 1))
    }
    for found, grade in [(None, None), (reading, 0.0), (reading, 1.0)]:
        standing = after_audit(
            standing, Traffic.BENCHMARK, found, grade, 1, rules.standing, rules.evidence
        )
    mass = Mass(good=1.0, bad=2.0, at_us=ENDED_US)
    return standing.model_copy(update={"reputation": {**standing.reputation, "new": mass}})


def test_two_epochs_of_an_honest_miner_differ_in_nothing_that_audits_move(subnet):
    """Whoever asks after each epoch must not be able to count its audits."""
    closed = subnet.store.last_closed()
    probation = closed.rules.scoring.full_pay_answers
    past = tuple(
        one.model_copy(update={"verified": probation + 5}) if one.hotkey == HONEST else one
        for one in closed.standings
    )
    moved = tuple(audited_again(one, closed.rules) for one in past)
    first, second = (view_of(replace(closed, standings=some)) for some in (past, moved))
    for old in (None, first):
        before, after = (explained(view, HONEST, old, VALIDATOR) for view in (first, second))
        assert before == after
        assert (
            factor(after, "probation_ppm").evidence
            == f"{probation} verified answers of {probation}"
        )
    live = [
        explained(view, HONEST, None, VALIDATOR, undelayed=True).model_dump()
        for view in (first, second)
    ]
    names = {"quality_ppm", "coverage_ppm", "integrity_ppm", "probation_ppm", "latency_ppm"}
    """Latency by what it costs: its own value moves with answers only."""
    moves = {a["name"] for a, b in zip(*(one["factors"] for one in live), strict=True) if a != b}
    assert moves == names
    assert live[0]["reputation"] != live[1]["reputation"]


def test_a_day_old_epoch_of_another_release_tells_nothing(subnet):
    view = view_of(subnet.store.last_closed())
    other = replace(view, release_digest="f" * 64)
    assert explained(view, HONEST, other, VALIDATOR) == explained(view, HONEST, None, VALIDATOR)
    assert explained(view, HONEST, view, VALIDATOR).epoch_block == view.epoch_block


def test_nothing_moves_between_two_epochs(subnet):
    """A live figure would tell a miner which of its answers was audited, so who had asked."""
    before = told(subnet, HONEST)
    standing = subnet.book.standing(HONEST)
    moved = standing.model_copy(update={"audited": 9999, "verified": 9999})
    subnet.store.save_moves([moved], [])
    assert told(subnet, HONEST) == before
    assert told(subnet, HONEST, undelayed=True) != before
    subnet.store.save_moves([standing], [])


async def test_an_epoch_is_scored_once_and_an_explanation_signed_once(subnet, monkeypatch):
    """Anybody may ask as often as they like, and nobody else is kept waiting."""
    scored, signed, scores_of = [], [], explanations.scores_of

    class Signer(FakeSigner):
        def sign(self, message):
            signed.append(message)
            return super().sign(message)

    monkeypatch.setattr(
        explanations, "scores_of", lambda *args: scored.append(args) or scores_of(*args)
    )
    monkeypatch.setattr(explanations, "EXPLANATIONS_KEPT", 3)
    made, stranger = Explanations(subnet.store, Signer()), miner_hotkey(20)
    for hotkey in [HONEST, CHEAT, stranger] * 5:
        told_of = SignedExplanation.model_validate_json(await made.of(hotkey, 0)).explanation
        assert told_of == told(subnet, hotkey)
    assert (len(scored), len(signed)) == (1 + 3 * 5, 3)  # `told` scores each time.
    for hotkey in [HONEST] * 5:
        await made.of(hotkey, ENDED_US)
    assert (len(scored), len(signed)) == (1 + 3 * 5, 4)
    await made.of(HONEST, 0)  # The least lately asked for gave way.
    assert len(signed) == 5


def test_an_epoch_file_is_read_gzipped_or_plain(subnet, tmp_path):
    path, block = tmp_path / "epoch", subnet.store.closed_epochs()[-1]
    file = subnet.store.epoch_file(block)
    path.write_bytes(epoch_file.to_bytes(file))
    assert read_file(path) == file
    content = packed(subnet.store, block)
    path.write_bytes(content)
    assert read_file(path) == file
    for broken in (content[:-9], content[:300], content[:2], content[:50] + b"x" * 50):
        path.write_bytes(broken)
        with pytest.raises(UsageError, match="is cut short or broken"):
            read_file(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_file(tmp_path)


async def test_pages_are_signed_and_keep_the_last_day_to_themselves(subnet, tmp_path):
    class Tomorrow:
        now_us = ENDED_US

        def now_ns(self):
            return self.now_us * 1000

    clock, settings = Tomorrow(), ValidatorSettings()
    bound = bind_socket("127.0.0.1", 0)
    bound.listen()
    pages = ValidatorPages(subnet.store, FakeSigner(), clock)
    serving = asyncio.create_task(serve_validator(pages, bound, settings))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    async with aiohttp.ClientSession() as session:

        async def get(path):
            async with session.get(url + path) as answer:
                return answer.status, await answer.read()

        status, body = await get(f"/v1/explain/{HONEST}")
        signed = SignedExplanation.model_validate_json(body)
        assert status == 200
        assert is_signed(signed.explanation.signing_bytes(), signed.signature, VALIDATOR)
        assert signed.explanation == told(subnet, HONEST)
        assert (await get("/v1/explain/nobody"))[0] == 404
        assert (await get("/v1/explain/" + "%2e" * 40))[0] == 404
        assert (await get("/healthz"))[0] == 200
        blocks = subnet.store.closed_epochs()
        assert await get("/v1/epochs") == (200, b'{"epochs":[]}')
        assert (await get(f"/v1/epochs/{blocks[-1]}"))[0] == 404
        clock.now_us += DELAY_US
        status, body = await get(f"/v1/epochs/{blocks[-1]}")
        served = tmp_path / "epoch.jsonl.gz"
        served.write_bytes(body)
        checks = replay(read_file(served), lambda *_: True)
        assert status == 200
        assert all(one.outcome is not Outcome.FAILED for one in checks), checks
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
