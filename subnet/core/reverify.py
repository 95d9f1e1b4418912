"""bundle, weights -> REVERIFICATION: does the verdict follow, for one who trusts nobody in it?

Exact checks come first (signatures, hashes, seeds, draws, buckets, the detector's path); only a
bundle that passes them is worth a forward pass. The verdict is then taken again from the referee's
own margins. What a bundle withholds speaks for the miner: a withheld answer counts as perfectly
quiet and the past before the first answer as no evidence, so an alarm that is CONFIRMED stands on
recomputed answers alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from protocol.inference import Environment, OutputHash
from subnet.core.audit import PPM, answer_share_ppm, audit_draw_ppm, reading_bounds, readings
from subnet.core.bundle import (
    AnswerEvidence,
    EvidenceBundle,
    Transcript,
    canonical_digest,
)
from subnet.core.draws import request_id, request_nonce
from subnet.core.verification.bounds import Reading
from subnet.core.verification.claim import Claim, ClaimScore, claim_of, from_float16_bits
from subnet.core.verification.environments import is_alike
from subnet.core.verification.evidence import Channel, EvidenceParams, Readings, alarm, fresh_state
from subnet.core.verification.structure import structural_fault
from subnet.core.verification.verdict import Step, quiet, replay, step

OFF_SHARE_MAX: Final = 0.01
"""Tokens whose margin may differ by more than the slack: those at the support's very border."""
LOG_EVIDENCE_TOLERANCE: Final = 1e-6

SignatureCheck = Callable[[bytes, str, str], bool]
"""(message, signature, hotkey) -> whether that hotkey signed it."""
Scorer = Callable[[Sequence[Claim]], list[ClaimScore]]


class Verdict(StrEnum):
    """What re-computation says of a bundle's verdict."""

    CONFIRMED = "CONFIRMED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class ExpectedRules:
    """What whoever checks takes for the subnet's rules."""

    evidence: EvidenceParams
    calibration_digest: str | None
    """None to take the bundle's."""
    referee: Environment
    """Where the margins are taken again."""


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """One answer as the bundle has it and as it was found."""

    response_digest: str
    tokens: int
    is_withheld: bool
    log_evidence: float
    """By the bundle."""
    problem: str | None = None
    """The first exact check that fails."""
    is_draw_checked: bool = False
    own_margin_max: float | None = None
    own_log_evidence: float | None = None
    tokens_off: int = 0
    """Tokens whose margin or gap differs by more than the release's slack."""


@dataclass(frozen=True, slots=True)
class Reverification:
    """The outcome."""

    verdict: Verdict
    reason: str
    answers: tuple[AnswerCheck, ...]


def reverify(
    bundle: EvidenceBundle,
    is_signed: SignatureCheck,
    score: Scorer,
    expected: ExpectedRules | None = None,
) -> Reverification:
    """Check everything that the bundle says. `score` is a referee on the bundle's release.

    A bundle brings its own parameters: one that is sound by rules other than `expected` is
    INCONCLUSIVE at best, as anything follows from a low enough c.
    """
    answers = _exact_checks(bundle, is_signed)
    broken = _broken_whole(bundle) or next(
        (f"answer {n}: {check.problem}" for n, check in enumerate(answers, 1) if check.problem),
        None,
    )
    if broken is not None:
        return Reverification(Verdict.REFUTED, broken, tuple(answers))
    found = _judged(bundle, answers, score)
    foreign = None if expected is None else _foreign_rules(bundle, expected)
    if found.verdict is Verdict.CONFIRMED and foreign is not None:
        return replace(found, verdict=Verdict.INCONCLUSIVE, reason=f"{foreign}: {found.reason}")
    return found


def _foreign_rules(bundle: EvidenceBundle, expected: ExpectedRules) -> str | None:
    if bundle.rules.evidence != expected.evidence:
        return "the detector's parameters are not those of the configuration here"
    if not any(is_alike(one.referee, expected.referee) for one in bundle.rules.table.pairs):
        return f"the calibration was not measured for a referee on {expected.referee.device}"
    if expected.calibration_digest not in (None, bundle.calibration_digest):
        return "the calibration is not the one that lies beside the model"
    return None


def _broken_whole(bundle: EvidenceBundle) -> str | None:
    rules = bundle.rules
    digests = {answer.response.request_digest for answer in bundle.answers}
    last = bundle.answers[-1].log_evidence
    crossed = last is not None and alarm(last, rules.evidence)
    laws = {
        "the release digest is not the release's": bundle.release_digest == rules.release.digest(),
        "the calibration digest is not the table's": bundle.calibration_digest
        == canonical_digest(rules.table),
        "the rules digest is not the rules'": bundle.rules_digest == rules.digest(),
        "the calibration was measured for another release": rules.table.provenance.release_digest
        == bundle.release_digest,
        "an answer is counted twice": len(digests) == len(bundle.answers),
        "the verdict is not what the last answer's evidence says": crossed == bundle.has_alarm,
    }
    return next((broken for broken, holds in laws.items() if not holds), None)


def _exact_checks(bundle: EvidenceBundle, is_signed: SignatureCheck) -> list[AnswerCheck]:
    checks: list[AnswerCheck] = []
    state, params = bundle.start, bundle.rules.evidence
    fits = all(
        len(state.log1p_evidence.get(channel, ())) == len(params.bets_of(channel))
        for channel in Channel
    )
    for number, answer in enumerate(bundle.answers, 1):
        check = AnswerCheck(
            response_digest=answer.response.digest(),
            tokens=answer.response.output_tokens,
            is_withheld=answer.transcript is None,
            log_evidence=_log(answer.log_evidence),
        )
        problem = _signed_problem(bundle, answer, is_signed) or _reading_problem(bundle, answer)
        if not fits:
            problem = "the detector's start is of another mixture of bets"
        if problem is None:
            after = step(state, answer.readings, params)
            state = after.state
            is_last = number == len(bundle.answers)
            if not _is_close(after.log_evidence, check.log_evidence):
                problem = "the evidence does not follow from the buckets"
            elif after.is_alarmed and not is_last:
                problem = "the detector alarmed here and did not start over"
        secret = bundle.secrets.get(answer.draw.period)
        checks.append(
            replace(
                check,
                problem=problem or draw_problem(bundle, answer),
                is_draw_checked=secret is not None,
            )
        )
        if problem is not None:
            break
    return checks


def _signed_problem(
    bundle: EvidenceBundle, answer: AnswerEvidence, is_signed: SignatureCheck
) -> str | None:
    """What the miner signed: this answer, to this request, of this caller."""
    response = answer.response
    laws = {
        "of another miner": response.miner_hotkey == bundle.miner_hotkey,
        "of another validator's request": response.caller_hotkey == bundle.validator_hotkey,
        "of another release": response.release_digest == bundle.release_digest,
        "a structure that the release does not verify": answer.sampling.structure is None
        or bundle.rules.release.grammar is not None,
        "of an environment that was not calibrated": any(
            is_alike(pair.miner, response.environment) for pair in bundle.rules.table.pairs
        ),
        "the signature is not the miner's": is_signed(
            response.signing_bytes(), answer.signature, bundle.miner_hotkey
        ),
    }
    transcript = answer.transcript
    if transcript is not None:
        request = transcript.request
        laws |= {
            "not the request that was answered": response.request_digest == request.digest(),
            "not the tokens and log-probabilities that were signed": _output_hash(transcript)
            == response.output_hash,
            "not the request's sampling": answer.sampling == request.sampling,
            "a wrong count of tokens": (response.prompt_tokens, response.output_tokens)
            == (len(request.prompt_token_ids), len(transcript.token_ids)),
        }
    return next((broken for broken, holds in laws.items() if not holds), None)


def _output_hash(transcript: Transcript) -> str | None:
    if len(transcript.token_ids) != len(transcript.logprobs):
        return None
    running = OutputHash(transcript.request.digest())
    running.update(transcript.token_ids, transcript.logprobs)
    return running.hexdigest()


def _reading_problem(bundle: EvidenceBundle, answer: AnswerEvidence) -> str | None:
    """What follows from the transcript, or from the counts where it is withheld."""
    transcript, table = answer.transcript, bundle.rules.table
    if transcript is None:
        expected = _quiet_readings(bundle, answer)
        fits = Channel.MARGIN in answer.readings and all(
            min(seen.counts) >= 0 and quiet(seen) == expected.get(channel)
            for channel, seen in answer.readings.items()
        )
        return None if fits else "the bounds or counts are not the calibration's"
    claim = claim_in(bundle, answer, transcript)
    fault = structural_fault(
        claim.output_token_ids,
        claim.finish_reason,
        prompt_tokens=len(claim.prompt_token_ids),
        tokens_max=answer.sampling.tokens_max,
        release=bundle.rules.release,
    )
    score = ClaimScore(transcript.margins, transcript.logprob_gaps)
    tokens = len(claim.output_token_ids)
    laws = {
        f"no audit takes an answer with {fault}": fault is None,
        "the seed is not the one that the nonce gives": str(claim.seed) == transcript.seed,
        "there is not one margin a token": len(score.margins) == tokens,
        "there is not one log-probability gap a token": len(score.logprob_gaps) in (0, tokens),
        "the buckets do not follow from the margins": readings(claim, score, table, bundle.traffic)
        == answer.readings,
    }
    return next((broken for broken, holds in laws.items() if not holds), None)


def _quiet_readings(bundle: EvidenceBundle, answer: AnswerEvidence) -> Readings:
    """What every channel saw in a withheld answer, if nothing in it accuses."""
    sampling, tokens = answer.sampling, answer.response.output_tokens
    judged_by = reading_bounds(
        bundle.rules.table,
        bundle.traffic,
        temperature_milli=sampling.temperature_milli,
        top_p_milli=sampling.top_p_milli,
        top_k=sampling.top_k,
        context_tokens=answer.response.prompt_tokens + tokens,
    )
    if judged_by is None:
        return {}
    bounds, gaps = judged_by
    found = {Channel.MARGIN: Reading((tokens, *(0,) * (len(bounds) - 1)), bounds)}
    if gaps is None:
        return found
    gap = gaps.reading((0.0,) * tokens, sampling.temperature_milli)
    return found if gap is None else {**found, Channel.LOGPROB: gap}


def draw_problem(bundle: EvidenceBundle, answer: AnswerEvidence) -> str | None:
    """Why the audit draw was not the one promised; None if it was, or if that is still secret.

    With the secret of the period everybody can derive the nonce and the draw again: neither side
    chose which answers were recomputed.
    """
    draw, params = answer.draw, bundle.rules.audit
    shares = {
        answer_share_ppm(bundle.traffic, is_in_burst=in_burst, is_suspect=suspect, params=params)
        for in_burst in (False, True)
        for suspect in (False, True)
    }
    if draw.share_ppm not in shares:
        return "the audited share is none of the rules'"
    if (draw.block is None) != (draw.block_hash is None):
        return "the draw's block lacks its hash or its number"
    if draw.block_hash is None and draw.share_ppm < PPM:
        return "no block decided the draw"
    revealed = bundle.secrets.get(draw.period)
    if revealed is None:
        return None
    secret = bytes.fromhex(revealed)
    if answer.transcript is not None:
        request = answer.transcript.request
        derived = (request_id(secret, draw.counter), request_nonce(secret, draw.counter))
        if derived != (request.request_id, request.nonce):
            return "the nonce is not the one that the revealed secret gives"
    if draw.block_hash is not None:
        block_hash = bytes.fromhex(draw.block_hash)
        if audit_draw_ppm(answer.response.digest(), block_hash, secret) >= draw.share_ppm:
            return "the draw did not choose this answer"
    return None


def claim_in(bundle: EvidenceBundle, answer: AnswerEvidence, transcript: Transcript) -> Claim:
    """What the referee recomputes; its seed is derived anew."""
    return claim_of(
        transcript.request,
        transcript.token_ids,
        from_float16_bits(transcript.logprobs),
        answer.response.finish_reason,
        miner_hotkey=bundle.miner_hotkey,
        caller_hotkey=bundle.validator_hotkey,
    )


def _judged(
    bundle: EvidenceBundle, answers: Sequence[AnswerCheck], score: Scorer
) -> Reverification:
    rules = bundle.rules
    shown = [(answer, answer.transcript) for answer in bundle.answers if answer.transcript]
    claims = [claim_in(bundle, answer, transcript) for answer, transcript in shown]
    scores = iter(list(zip(claims, score(claims), strict=True)))
    found: list[Readings] = []
    floor: list[Readings] = []
    checks: list[AnswerCheck] = []
    for answer, check in zip(bundle.answers, answers, strict=True):
        transcript = answer.transcript
        if transcript is None:
            found.append(answer.readings)
            floor.append(_quiet_readings(bundle, answer))
            checks.append(check)
            continue
        claim, own = next(scores)
        seen = readings(claim, own, rules.table, bundle.traffic)
        assert seen is not None, "the exact checks let no answer outside the envelope pass"
        found.append(seen)
        floor.append(seen)
        off = _tokens_off(transcript, own, rules.table.slack_logits)
        checks.append(replace(check, own_margin_max=max(own.margins), tokens_off=off))
    path = replay(bundle.start, found, rules.evidence)
    checks = [
        replace(check, own_log_evidence=after.log_evidence)
        for check, after in zip(checks, path, strict=True)
    ]
    proven = replay(fresh_state(rules.evidence), floor, rules.evidence)
    verdict, reason = _verdict(bundle, checks, path, proven)
    return Reverification(verdict, reason, tuple(checks))


def _verdict(
    bundle: EvidenceBundle,
    checks: Sequence[AnswerCheck],
    path: Sequence[Step],
    proven: Sequence[Step],
) -> tuple[Verdict, str]:
    off = sum(check.tokens_off for check in checks)
    tokens = sum(check.tokens for check in checks if not check.is_withheld)
    withheld = sum(check.is_withheld for check in checks)
    is_whole = withheld == 0 and bundle.start == fresh_state(bundle.rules.evidence)
    rest = f"{withheld} of {len(checks)} answers are withheld" if withheld else "earlier answers"
    if off > OFF_SHARE_MAX * tokens:
        return Verdict.REFUTED, f"{off} of {tokens} tokens are not as this model has them"
    if not bundle.has_alarm:
        if path[-1].is_alarmed:
            return Verdict.INCONCLUSIVE, "no alarm by the bundle, but one by this machine's margins"
        if is_whole:
            return Verdict.CONFIRMED, "no alarm, recomputed from every answer"
        return Verdict.INCONCLUSIVE, f"no alarm follows, but {rest} cannot be recomputed"
    if any(after.is_alarmed for after in proven):
        return Verdict.CONFIRMED, "the alarm follows from the recomputed answers alone"
    if path[-1].is_alarmed:
        return Verdict.INCONCLUSIVE, f"the alarm rests on what cannot be recomputed: {rest}"
    if path[-1].is_warned:
        return Verdict.INCONCLUSIVE, "recomputed evidence warns, but does not reach the alarm"
    return Verdict.REFUTED, "recomputed evidence does not even warn"


def _tokens_off(transcript: Transcript, own: ClaimScore, slack_logits: float) -> int:
    def is_off(recorded: float, found: float) -> bool:
        return abs(recorded - found) > slack_logits

    margins = [*map(is_off, transcript.margins, own.margins)]
    gaps = [*map(is_off, transcript.logprob_gaps, own.logprob_gaps)] or [False] * len(margins)
    return sum(margin or gap for margin, gap in zip(margins, gaps, strict=True))


def _log(value: float | None) -> float:
    return -math.inf if value is None else value


def _is_close(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= LOG_EVIDENCE_TOLERANCE * max(1.0, abs(one))
