"""Each sentence names what happened: a miner must be able to act on it."""

from subnet.core.audit import PPM, Traffic
from subnet.core.capacity import BurstResult, CapacityParams
from subnet.core.explain import explain
from subnet.core.rules import RuleParams
from subnet.core.scoring import ScoringParams, score_miner
from subnet.core.standing import (
    Blame,
    StandingParams,
    after_answer,
    after_audit,
    after_burst,
    after_fault,
    after_violation,
    fresh_standing,
)
from subnet.core.verification.bounds import Reading
from subnet.core.verification.calibration import BUCKETS
from subnet.core.verification.evidence import Channel, EvidenceParams

EVIDENCE, STANDING = EvidenceParams(), StandingParams()
SCORING = ScoringParams(full_pay_answers=20)
UNMEASURED = CapacityParams(is_measured=False)
P0 = (1.0,) + (0.0005,) * (BUCKETS - 1)
HONEST = (40,) + (0,) * (BUCKETS - 1)
FOREIGN = (14,) + (0,) * (BUCKETS - 2) + (26,)


def seen(counts):
    return {Channel.MARGIN: Reading(counts, P0)}


def fresh():
    return fresh_standing("miner", "0" * 64, EVIDENCE)


def audited(standing, counts, times):
    for _ in range(times):
        standing = after_answer(standing, 1.0, STANDING)
        standing = after_audit(
            standing,
            Traffic.BENCHMARK,
            seen(counts),
            1.0,
            0,
            STANDING,
            EVIDENCE,
        )
    return standing


def told(standing, params=SCORING, capacity=UNMEASURED):
    rules = RuleParams(scoring=params, capacity=capacity)
    score = score_miner(standing, PPM, params, EVIDENCE, capacity)
    return explain(standing, score, rules)


def test_an_honest_miner_reads_what_it_earns():
    assert told(audited(fresh(), HONEST, 30)) == (
        "earns 100 % of a full score: 30 audited answers fit the release; "
        "its release answers 100 % of the tasks right"
    )


def test_a_cheat_reads_that_its_answers_do_not_fit():
    sentence = told(audited(fresh(), FOREIGN, 2))
    assert sentence.startswith("earns nothing: its answers are not what the release would have")
    assert "2 audited" in sentence


def test_a_newcomer_reads_how_far_it_is():
    assert "on probation at 50 % of its pay (10 of 20 verified)" in told(
        audited(fresh(), HONEST, 10)
    )


def test_an_unaudited_miner_reads_why():
    standing = after_fault(fresh(), "TIMEOUT", Blame.MINER, STANDING)
    assert told(standing) == "earns nothing yet: no answer of it was audited (1 x TIMEOUT)"


def test_a_violation_is_named():
    standing = after_violation(audited(fresh(), HONEST, 30), "STOP_SKIPPED", "id 3", 1, STANDING)
    assert "STOP_SKIPPED (id 3)" in told(standing)


def test_faults_and_slowness_are_named():
    standing = audited(fresh(), HONEST, 30)
    for _ in range(5):
        standing = after_fault(standing, "BROKEN_STREAM", Blame.MINER, STANDING)
        standing = after_answer(standing, 0.1, STANDING)
    sentence = told(standing)
    assert "5 x BROKEN_STREAM" in sentence
    assert "slow answers leave" in sentence


def test_with_the_check_off_the_sentence_says_so():
    sentence = told(
        audited(fresh(), FOREIGN, 30), ScoringParams(integrity_check=False, full_pay_answers=20)
    )
    assert "the margin check is off" in sentence


def proven(standing, *rates, met_ppm=PPM):
    for burst, rate in enumerate(rates):
        result = BurstResult(
            cover=1, burst=burst, beside=(burst,), met_ppm=met_ppm, rate_tps_milli=rate
        )
        standing = after_burst(standing, result, CapacityParams())
    return standing


def test_proven_capacity_is_named_with_what_is_paid_for_it():
    sentence = told(proven(audited(fresh(), HONEST, 30), 512_300), capacity=CapacityParams())
    assert sentence.startswith("earns 100 % of full marks for 512.3 tokens/s: ")
    assert sentence.endswith("it proved 512.3 tokens/s beside others")


def test_a_newcomer_reads_how_many_it_has_met():
    standing = proven(audited(fresh(), HONEST, 30), 500_000, met_ppm=PPM // 2)
    sentence = told(standing, capacity=CapacityParams())
    assert "for 62.5 tokens/s" in sentence
    assert "it has met 50 % of them so far, and pay follows" in sentence
    assert "no burst has probed it" in told(audited(fresh(), HONEST, 30), capacity=CapacityParams())


def test_a_rate_that_depends_on_company_is_named():
    sentence = told(
        proven(audited(fresh(), HONEST, 30), 500_000, 250_000), capacity=CapacityParams()
    )
    assert "its rate fell by 50 % in some company, and the lowest counts" in sentence


def test_faults_that_are_not_its_own_are_named_as_such():
    standing = audited(fresh(), HONEST, 30)
    for blame in (Blame.MINER, Blame.MINER, Blame.NETWORK, Blame.VERIFIER, Blame.VERIFIER):
        standing = after_fault(standing, "TIMEOUT", blame, STANDING)
    assert "(5 x TIMEOUT; not its fault: 2 x VERIFIER, 1 x NETWORK)" in told(standing)


def test_a_cheaper_release_is_named():
    params = ScoringParams(full_pay_answers=20, release_values_ppm={"0" * 64: 250_000})
    assert "worth 25 % of the dearest" in told(audited(fresh(), HONEST, 30), params)
