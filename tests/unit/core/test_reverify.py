"""A verdict is confirmed only if everything in its bundle follows; every flip is found."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.structure import Structure
from subnet.core.audit import AuditParams, Traffic
from subnet.core.bundle import (
    DELAY_US,
    EvidenceBundle,
    SealedBundle,
    canonical_bytes,
    canonical_digest,
    may_leave,
    sealed,
)
from subnet.core.draws import period_secret
from subnet.core.reverify import ExpectedRules, Verdict, draw_problem, reverify
from subnet.core.verification.claim import ClaimScore
from subnet.core.verification.evidence import EvidenceParams, fresh_state
from subnet.core.verification.verdict import step
from subnet.edge.btauth import verify_signature
from tests.evidence_support import (
    BLOCK_HASH,
    MASTER_SECRET,
    PERIOD,
    STRANGER,
    audited,
    bundle_of,
    is_drawn,
    make_pending,
    make_request,
    pending_of_answer,
    signed_answer,
)
from tests.validator_support import ELSEWHERE, ENVIRONMENT, RELEASE, STOP, HashReferee, make_table

REFEREE = HashReferee()


def cheat(**kwargs):
    return [make_pending(number, is_honest=False, **kwargs) for number in range(6)]


GUILTY = bundle_of(audited(cheat(), REFEREE))
CLEAN = bundle_of(audited([make_pending(n, is_honest=True) for n in range(3)], REFEREE))


def check(bundle):
    return reverify(bundle, verify_signature, REFEREE.score)


def changed(bundle, *path, to):
    """The bundle with one value replaced, as a forger would: its own digests made to fit."""
    tree = copy.deepcopy(bundle.model_dump(mode="json"))
    place = tree
    for part in path[:-1]:
        place = place[part]
    assert place[path[-1]] != to
    place[path[-1]] = to
    return EvidenceBundle.model_validate_json(json.dumps(tree))


def test_an_alarm_is_confirmed_from_the_answers_alone():
    assert GUILTY.has_alarm
    outcome = check(GUILTY)
    assert outcome.verdict is Verdict.CONFIRMED, outcome.reason
    last = outcome.answers[-1]
    assert last.own_log_evidence == pytest.approx(last.log_evidence)
    assert last.own_log_evidence >= math.log(EvidenceParams().alarm_at)


def test_innocence_is_confirmed_too():
    assert not CLEAN.has_alarm
    assert check(CLEAN).verdict is Verdict.CONFIRMED


def test_a_sealed_bundle_survives_its_file_and_tells_a_flipped_byte():
    content = canonical_bytes(sealed(GUILTY))
    read = SealedBundle.model_validate_json(content)
    assert read.bundle == GUILTY
    assert canonical_digest(read.bundle) == read.digest
    flipped = SealedBundle.model_validate_json(content.replace(b'"period":3', b'"period":4', 1))
    assert canonical_digest(flipped.bundle) != flipped.digest


SHOWN = ("answers", 0, "transcript")
FORGERIES = {
    "token": ((*SHOWN, "token_ids", 3), 500, "signed"),
    "logprob": ((*SHOWN, "logprobs", 3), 0xB000, "signed"),
    "prompt": ((*SHOWN, "request", "prompt_token_ids", 0), 7, "request that was answered"),
    "nonce": ((*SHOWN, "request", "nonce"), "0" * 64, "request that was answered"),
    "seed": ((*SHOWN, "seed"), "1", "seed"),
    "margin": ((*SHOWN, "margins", 3), 0.02, "buckets do not follow"),
    "bucket": (("answers", 0, "readings", "MARGIN", "counts", 1), 9, "buckets do not follow"),
    "p0": (("answers", 0, "readings", "MARGIN", "p0", 3), 1e-9, "buckets do not follow"),
    "evidence": (("answers", 0, "log_evidence"), 17.0, "does not follow"),
    "signature": (("answers", 0, "signature"), "0" * 128, "signature"),
    "finish": (("answers", 0, "response", "finish_reason"), "stop", "signature"),
    "temperature": (("answers", 0, "sampling", "temperature_milli"), 700, "sampling"),
    "miner": (("miner_hotkey",), STRANGER.hotkey, "another miner"),
    "validator": (("validator_hotkey",), STRANGER.hotkey, "another validator"),
    "alarm": (("has_alarm",), False, "verdict"),
    "bet": (("rules", "evidence", "bets", 0, "token_share"), 0.9, "rules digest"),
    "audit": (("rules", "audit", "organic_ppm"), 9, "rules digest"),
    "c": (("rules", "evidence", "alarm_at"), 1e16, "rules digest"),
    "slack": (("rules", "table", "slack_logits"), 9.0, "calibration digest"),
    "table": (("rules", "table", "bands", 0, "p0", 1), 0.1, "calibration digest"),
    "release": (("rules", "release", "weights_digest"), "f" * 64, "release digest"),
    "counter": (("answers", 0, "draw", "counter"), 5, "revealed secret"),
    "share": (("answers", 0, "draw", "share_ppm"), 77, "share"),
    "secret": (("secrets", str(PERIOD)), "0" * 64, "revealed secret"),
    "mixture": (("start", "log1p_evidence", "MARGIN"), [0.0], "another mixture"),
    "block": (("answers", 0, "draw", "block"), 5, "hash or its number"),
    "start": (("start", "log1p_evidence", "MARGIN", 0), 3.0, "does not follow"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_value_refutes_although_the_digest_fits(name):
    path, value, reason = FORGERIES[name]
    outcome = check(changed(GUILTY, *path, to=value))
    assert outcome.verdict is Verdict.REFUTED
    assert reason in outcome.reason


def test_an_answer_from_where_nobody_calibrated_convicts_nobody():
    request = make_request(0)
    answers = [
        pending_of_answer(
            signed_answer(request, (1,) * 20, (0.0,) * 20, environment=ELSEWHERE),
            (1,) * 20,
            (0.0,) * 20,
            0,
        )
    ]
    outcome = check(bundle_of(audited(answers, REFEREE)))
    assert outcome.verdict is Verdict.REFUTED
    assert "environment that was not calibrated" in outcome.reason


def test_rules_of_ones_own_confirm_nothing():
    lax = EvidenceParams(alarm_at=1e6, response_evidence_max=1e5)
    bundle = bundle_of(audited(cheat(), REFEREE, evidence=lax), evidence=lax)
    assert check(bundle).verdict is Verdict.CONFIRMED
    table = bundle.calibration_digest
    for expected, word in (
        (ExpectedRules(EvidenceParams(), table, ENVIRONMENT), "parameters"),
        (ExpectedRules(lax, "0" * 64, ENVIRONMENT), "calibration"),
        (ExpectedRules(lax, table, ELSEWHERE), "referee on another-gpu"),
    ):
        outcome = reverify(bundle, verify_signature, REFEREE.score, expected)
        assert outcome.verdict is Verdict.INCONCLUSIVE
        assert word in outcome.reason
    same = ExpectedRules(lax, table, ENVIRONMENT)
    assert reverify(bundle, verify_signature, REFEREE.score, same).verdict is Verdict.CONFIRMED


@given(
    answer=st.integers(0, len(GUILTY.answers) - 1),
    field=st.sampled_from(["token_ids", "logprobs"]),
    place=st.integers(0, 19),
    bit=st.integers(0, 8),
)
def test_any_flipped_bit_of_what_was_signed_is_found(answer, field, place, bit):
    before = getattr(GUILTY.answers[answer].transcript, field)[place]
    forged = changed(GUILTY, "answers", answer, "transcript", field, place, to=before ^ (1 << bit))
    assert check(forged).verdict is Verdict.REFUTED


@given(place=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_any_changed_digit_of_a_signature_is_found(place, digit):
    signature = GUILTY.answers[0].signature
    other = signature[:place] + digit + signature[place + 1 :]
    if other != signature:
        forged = changed(GUILTY, "answers", 0, "signature", to=other)
        assert check(forged).verdict is Verdict.REFUTED


def test_margins_that_the_model_does_not_give_are_refuted_however_well_they_fit_together():
    class Slanderer(HashReferee):
        def score(self, claims):
            honest = super().score(claims)
            return [type(one)((1.0,) * len(one.margins), ()) for one in honest]

    honest = [make_pending(number, is_honest=True) for number in range(6)]
    slander = bundle_of(audited(honest, Slanderer()))
    assert slander.has_alarm
    outcome = check(slander)
    assert outcome.verdict is Verdict.REFUTED
    assert "not as this model has them" in outcome.reason


def test_an_alarm_that_lives_on_margins_within_the_slack_is_refuted():
    class Lifted(HashReferee):
        def score(self, claims):
            return [ClaimScore((0.04,) * len(claim.output_token_ids), ()) for claim in claims]

    honest = [make_pending(number, is_honest=True) for number in range(9)]
    bundle = bundle_of(audited(honest, Lifted()))
    assert bundle.has_alarm
    assert bundle.rules.table.slack_logits > 0.04
    outcome = check(bundle)
    assert outcome.verdict is Verdict.REFUTED
    assert "not even warn" in outcome.reason
    assert [answer.tokens_off for answer in outcome.answers] == [0] * len(bundle.answers)


def test_an_alarm_that_recomputed_margins_only_come_near_is_inconclusive():
    class Blurred(HashReferee):
        """The first answer is loud; `margins` are those of all others."""

        def __init__(self, margins):
            self.margins = margins

        def score(self, claims):
            first = make_pending(0, is_honest=False).claim
            others = ClaimScore(self.margins, ())
            return [ClaimScore((1.0,) * 20, ()) if one == first else others for one in claims]

    bundle = bundle_of(audited(cheat(), Blurred((0.04,) * 20)))
    assert bundle.has_alarm
    outcome = reverify(bundle, verify_signature, Blurred((0.04,) + (0.0,) * 19).score)
    assert outcome.verdict is Verdict.INCONCLUSIVE, outcome.reason
    assert "warns, but does not reach" in outcome.reason


def test_a_path_that_goes_on_after_an_alarm_is_refuted():
    guilty = audited(cheat(), REFEREE)
    state = step(guilty[-1].before, guilty[-1].evidence.readings, EvidenceParams()).state
    more = audited([make_pending(9, is_honest=False)], REFEREE, start=state)
    outcome = check(bundle_of([*guilty, *more]))
    assert outcome.verdict is Verdict.REFUTED
    assert "start over" in outcome.reason


def test_an_answer_that_no_engine_gives_has_no_audit():
    tokens, logprobs = (STOP, *range(20, 39)), (-0.5,) * 20
    skipped = pending_of_answer(
        signed_answer(make_request(8), tokens, logprobs), tokens, logprobs, 8
    )
    outcome = check(bundle_of(audited([skipped], REFEREE)))
    assert outcome.verdict is Verdict.REFUTED
    assert "STOP_SKIPPED" in outcome.reason


def test_an_answer_counted_twice_is_refuted():
    one = make_pending(0, is_honest=False)
    outcome = check(bundle_of(audited([one, one, one, one], REFEREE)))
    assert outcome.verdict is Verdict.REFUTED
    assert "twice" in outcome.reason


def test_an_alarm_without_a_single_transcript_is_inconclusive():
    withheld = bundle_of(audited(cheat(has_consent=False), REFEREE))
    assert all(answer.transcript is None for answer in withheld.answers)
    outcome = check(withheld)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "withheld" in outcome.reason


def test_a_withheld_answer_keeps_the_shape_to_itself_that_was_asked_for():
    (answer, *_) = bundle_of(audited(cheat(), REFEREE)).answers
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    asked = answer.sampling.model_copy(update={"structure": vote})
    structured = answer.model_copy(update={"sampling": asked})
    assert structured.withheld().sampling == answer.sampling
    assert "yes" not in structured.withheld().model_dump_json()


def test_a_structure_that_the_release_does_not_verify_refutes():
    plain = RELEASE.model_copy(update={"grammar": None})
    pending = [make_pending(n, is_honest=False, release=plain) for n in range(2)]
    table = make_table()
    provenance = table.provenance.model_copy(update={"release_digest": plain.digest()})
    table = table.model_copy(update={"provenance": provenance})
    bundle = bundle_of(audited(pending, REFEREE), release=plain, table=table)
    vote = Structure(kind="json_schema", text='{"enum": ["yes", "no"]}')
    first, *rest = bundle.answers
    asked = first.sampling.model_copy(update={"structure": vote})
    answers = (first.model_copy(update={"sampling": asked}), *rest)
    outcome = check(bundle.model_copy(update={"answers": answers}))
    assert outcome.verdict is Verdict.REFUTED
    assert "a structure that the release does not verify" in outcome.reason


def test_an_alarm_that_shown_answers_carry_is_confirmed_although_others_are_withheld():
    shy = [make_pending(n, is_honest=True, has_consent=False) for n in range(10, 12)]
    bundle = bundle_of(audited([*shy, *cheat()], REFEREE))
    assert bundle.has_alarm
    assert check(bundle).verdict is Verdict.CONFIRMED


@pytest.mark.parametrize("counts", [(0, 0, 0, 99), (40, -10, -10, 0)])
def test_a_withheld_answer_cannot_claim_more_tokens_than_were_signed(counts):
    bundle = bundle_of(audited(cheat(has_consent=False), REFEREE))
    path = ("answers", 0, "readings", "MARGIN", "counts")
    outcome = check(changed(bundle, *path, to=list(counts)))
    assert outcome.verdict is Verdict.REFUTED
    assert "bounds or counts" in outcome.reason


def test_an_alarm_on_the_shoulders_of_a_past_that_is_not_shown_is_inconclusive():
    evidence = EvidenceParams()
    first, second = audited(cheat(), REFEREE)[:2]
    assert second.is_alarm
    assert second.before != fresh_state(evidence)
    assert first.evidence.log_evidence is not None
    outcome = check(bundle_of([second]))
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "earlier answers" in outcome.reason


def organic(share):
    """Users' answers by which of them the draw chooses: (chosen, passed over)."""
    made = [make_pending(n, is_honest=False, traffic=Traffic.ORGANIC) for n in range(200)]
    chosen = [one for one in made if is_drawn(one, share)]
    return chosen, [one for one in made if not is_drawn(one, share)]


def test_the_draw_can_be_derived_again_once_its_secret_is_revealed():
    chosen, passed_over = organic(AuditParams().organic_ppm)
    assert len(chosen) >= 3
    bundle = bundle_of(audited(chosen, REFEREE))
    assert check(bundle).verdict is Verdict.CONFIRMED
    picked = bundle_of(audited(passed_over[:1], REFEREE))
    assert "did not choose" in draw_problem(picked, picked.answers[0])
    other_block = changed(bundle, "answers", 0, "draw", "block_hash", to=BLOCK_HASH[::-1].hex())
    assert check(other_block).verdict is Verdict.REFUTED


def test_a_draw_whose_secret_is_still_in_use_is_not_judged():
    picked = bundle_of(audited(organic(AuditParams().organic_ppm)[1][:1], REFEREE))
    closed = picked.model_copy(update={"secrets": {}})
    assert draw_problem(closed, closed.answers[0]) is None
    assert not check(closed).answers[0].is_draw_checked


def test_users_answers_cannot_be_audited_without_a_draw():
    bundle = bundle_of(audited(organic(AuditParams().organic_ppm)[0], REFEREE))
    tree = bundle.model_dump(mode="json")
    tree["answers"][0]["draw"] |= {"block": None, "block_hash": None}
    outcome = check(EvidenceBundle.model_validate_json(json.dumps(tree)))
    assert outcome.verdict is Verdict.REFUTED
    assert "no block decided" in outcome.reason


def test_the_secret_of_another_period_is_not_taken_for_this_one():
    other = period_secret(MASTER_SECRET, PERIOD + 1).hex()
    outcome = check(changed(GUILTY, "secrets", str(PERIOD), to=other))
    assert outcome.verdict is Verdict.REFUTED


def test_without_an_alarm_only_answers_of_a_day_ago_may_leave():
    answers = tuple(
        answer.model_copy(update={"audited_at_us": n * DELAY_US})
        for n, answer in enumerate(CLEAN.answers)
    )
    assert may_leave(answers, DELAY_US - 1) == ()
    assert may_leave(answers, DELAY_US) == answers[:1]
    assert may_leave(answers, 3 * DELAY_US) == answers
