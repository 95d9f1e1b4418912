"""A validator that ran can prove its verdicts from what it kept."""

import pytest

from subnet.cli.evidence import export_bundle
from subnet.cli.exits import UsageError
from subnet.core.audit import PPM, Traffic
from subnet.core.bundle import DELAY_US
from subnet.core.gate import ALARM
from subnet.core.reverify import ExpectedRules, Verdict, reverify
from subnet.sim.loop import run_virtual
from tests.evidence_support import MINER, audited, make_pending
from tests.validator_support import (
    ENVIRONMENT,
    VALIDATOR,
    FakeMiner,
    HashReferee,
    Subnet,
    make_settings,
    miner_hotkey,
)

HONEST, CHEAT = miner_hotkey(0), miner_hotkey(1)
NOW_US = 5_000 * 1_000_000
SECRET_PROMPT = "what my doctor said"


@pytest.fixture
def subnet(tmp_path):
    settings = make_settings(
        validator={"epochs_max": 4}, audit={"benchmark_ppm": PPM, "organic_ppm": PPM // 2}
    )
    miners = [FakeMiner(HONEST), FakeMiner(CHEAT, "foreign seed")]
    made = Subnet(tmp_path / "validator.sqlite", miners, settings)
    made.store.add_prompts([f"{SECRET_PROMPT} {n}" for n in range(30)])
    made.store.add_prompts(["anybody may read this"], has_consent=True)
    run_virtual(made.run())
    yield made
    made.store.close()


def check(bundle, subnet):
    expected = ExpectedRules(subnet.settings.evidence, None, ENVIRONMENT)
    return reverify(bundle, lambda *_: True, HashReferee().score, expected)


def test_the_bundle_of_a_closed_gate_is_confirmed_by_all_who_replay_it(subnet):
    assert subnet.book.standing(CHEAT).closure.reason == ALARM
    bundle = export_bundle(subnet.store, CHEAT, None, NOW_US)
    assert bundle.validator_hotkey == VALIDATOR
    assert bundle.has_alarm
    outcome = check(bundle, subnet)
    assert outcome.verdict is Verdict.CONFIRMED, outcome.reason
    assert all(answer.is_draw_checked for answer in outcome.answers)


def test_a_miner_without_an_alarm_shows_nothing_of_today(subnet):
    with pytest.raises(UsageError, match="younger than a day"):
        export_bundle(subnet.store, HONEST, None, NOW_US)
    undelayed = export_bundle(subnet.store, HONEST, Traffic.BENCHMARK, NOW_US, undelayed=True)
    tomorrow = export_bundle(subnet.store, HONEST, Traffic.BENCHMARK, NOW_US + DELAY_US)
    assert undelayed == tomorrow
    assert len(undelayed.answers) >= 20
    outcome = check(undelayed, subnet)
    assert outcome.verdict is Verdict.CONFIRMED, outcome.reason


def test_users_words_are_withheld_unless_they_agreed(subnet):
    bundle = export_bundle(subnet.store, HONEST, Traffic.ORGANIC, NOW_US, undelayed=True)
    assert sum(answer.transcript is None for answer in bundle.answers) >= 5
    words = str([100 + byte for byte in SECRET_PROMPT.encode()])[1:-1].replace(" ", "")
    assert words not in bundle.model_dump_json()
    drawn = [answer for answer in bundle.answers if answer.draw.block_hash is not None]
    assert drawn, "no draw was decided by a block"
    outcome = check(bundle, subnet)
    assert outcome.verdict is Verdict.INCONCLUSIVE, outcome.reason
    assert "withheld" in outcome.reason


def test_a_stranger_has_no_bundle(subnet):
    with pytest.raises(UsageError, match="no audited answers"):
        export_bundle(subnet.store, miner_hotkey(9), None, NOW_US)


def test_a_closure_is_told_before_what_came_after_it(subnet):
    referee = HashReferee()
    guilty = audited([make_pending(n, is_honest=False) for n in range(6)], referee)
    later = audited([make_pending(n, is_honest=True) for n in range(10, 12)], referee)
    subnet.store.save_audits([], [], [], [], [*guilty, *later])
    bundle = export_bundle(subnet.store, MINER.hotkey, None, NOW_US)
    assert bundle.has_alarm
    assert bundle.answers == tuple(one.evidence for one in guilty)
