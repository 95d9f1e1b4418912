"""Signed answers and whole bundles, as a validator would have kept them."""

from collections.abc import Sequence
from dataclasses import replace

from bittensor.keyfiles import Keypair

from protocol.inference import (
    Environment,
    InferenceRequest,
    InferenceResponse,
    OutputHash,
    Sampling,
)
from protocol.release import Release
from subnet.core.audit import AuditParams, Traffic, audit_draw_ppm, readings
from subnet.core.audited import KeptAnswer, PendingAudit, SignedAnswer
from subnet.core.bundle import EvidenceBundle, EvidenceRules, canonical_digest
from subnet.core.draws import period_secret, request_id, request_nonce
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import claim_of, float16_bits, from_float16_bits
from subnet.core.verification.evidence import EvidenceParams, EvidenceState, fresh_state
from subnet.core.verification.verdict import step
from subnet.edge.btauth import HotkeySigner
from subnet.ports import Referee
from subnet.roles.evidence import DrawnAnswer, draw_of, kept_answer
from tests.validator_support import ENVIRONMENT, RELEASE, VALIDATOR, honest_tokens, make_table

MINER = HotkeySigner(Keypair.create_from_uri("//Miner"))
STRANGER = HotkeySigner(Keypair.create_from_uri("//Stranger"))
MASTER_SECRET = bytes(range(32))
PERIOD = 3
BLOCK, BLOCK_HASH = 77, bytes(range(32, 64))
SAMPLING = Sampling(temperature_milli=1000, top_p_milli=950, top_k=50, tokens_max=20)


def make_request(
    counter: int = 0,
    prompt: Sequence[int] = (101, 102),
    release: Release = RELEASE,
    sampling: Sampling = SAMPLING,
) -> InferenceRequest:
    """The request that the validator's secret gives for this counter."""
    secret = period_secret(MASTER_SECRET, PERIOD)
    return InferenceRequest(
        request_id=request_id(secret, counter),
        release_digest=release.digest(),
        nonce=request_nonce(secret, counter),
        prompt_token_ids=tuple(prompt),
        sampling=sampling,
        timeout_ms=30_000,
    )


def signed_answer(
    request: InferenceRequest,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    signer: HotkeySigner = MINER,
    finish_reason: str = "length",
    environment: Environment = ENVIRONMENT,
) -> SignedAnswer:
    """The answer as a miner signs it."""
    running = OutputHash(request.digest())
    running.update(token_ids, float16_bits(logprobs))
    response = InferenceResponse(
        request_digest=request.digest(),
        miner_hotkey=signer.hotkey,
        caller_hotkey=VALIDATOR,
        release_digest=request.release_digest,
        output_hash=running.hexdigest(),
        prompt_tokens=len(request.prompt_token_ids),
        output_tokens=len(token_ids),
        finish_reason=finish_reason,
        queued_us=0,
        first_token_us=1,
        total_us=2,
        environment=environment,
    )
    return SignedAnswer(request, response, signer.sign(response.signing_bytes()))


def make_signed(counter: int = 0) -> SignedAnswer:
    """Some answer."""
    return signed_answer(make_request(counter), (11, 12), (-0.5, -1.25))


def make_pending(
    counter: int,
    *,
    is_honest: bool,
    traffic: Traffic = Traffic.BENCHMARK,
    has_consent: bool = True,
    release: Release = RELEASE,
) -> PendingAudit:
    """An answer of `honest_tokens`, under the seed that was asked for or another one."""
    request = make_request(counter, release=release)
    claim = claim_of(request, (), (), "length", miner_hotkey=MINER.hotkey, caller_hotkey=VALIDATOR)
    seed = claim.seed if is_honest else claim.seed + 1
    tokens = honest_tokens(seed, request.prompt_token_ids, SAMPLING.tokens_max)
    logprobs = from_float16_bits(float16_bits([-0.1 * (n % 7) for n in range(len(tokens))]))
    return pending_of_answer(
        signed_answer(request, tokens, logprobs), tokens, logprobs, counter, traffic, has_consent
    )


def pending_of_answer(
    signed: SignedAnswer,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    counter: int,
    traffic: Traffic = Traffic.BENCHMARK,
    has_consent: bool = True,
) -> PendingAudit:
    """The answer as it waits for its draw."""
    claim = claim_of(
        signed.request,
        tokens,
        logprobs,
        signed.response.finish_reason,
        miner_hotkey=MINER.hotkey,
        caller_hotkey=VALIDATOR,
    )
    return PendingAudit(
        signed.request.request_id,
        MINER.hotkey,
        traffic,
        PERIOD,
        counter,
        signed.response.digest(),
        claim,
        signed,
        AuditParams().benchmark_ppm,
        has_consent,
    )


def audited(
    pendings: Sequence[PendingAudit],
    referee: Referee,
    *,
    table: CalibrationTable | None = None,
    evidence: EvidenceParams | None = None,
    start: EvidenceState | None = None,
    audit: AuditParams | None = None,
) -> list[KeptAnswer]:
    """What the auditor keeps of these answers, up to the alarm; by hash draws where it may."""
    table, evidence = table or make_table(), evidence or EvidenceParams()
    audit = audit or AuditParams()
    state = start or fresh_state(evidence)
    kept: list[KeptAnswer] = []
    for number, pending in enumerate(pendings):
        (score,) = referee.score([pending.claim])
        found = readings(pending.claim, score, table, pending.traffic)
        assert found is not None
        after = step(state, found, evidence)
        pending = replace(pending, share_ppm=audit.benchmark_ppm)
        draw = draw_of(pending)
        if pending.traffic is Traffic.ORGANIC:
            pending = replace(pending, share_ppm=audit.organic_ppm)
            draw = draw_of(pending, BLOCK, BLOCK_HASH)
        kept.append(kept_answer(DrawnAnswer(pending, draw), score, found, state, after, number))
        if after.is_alarmed:
            break
        state = after.state
    return kept


def is_drawn(pending: PendingAudit, share_ppm: int) -> bool:
    """Whether the block's hash chooses the answer."""
    secret = period_secret(MASTER_SECRET, PERIOD)
    return audit_draw_ppm(pending.response_digest, BLOCK_HASH, secret) < share_ppm


def bundle_of(
    kept: Sequence[KeptAnswer],
    *,
    release: Release = RELEASE,
    table: CalibrationTable | None = None,
    evidence: EvidenceParams | None = None,
) -> EvidenceBundle:
    """The bundle over these answers, users' words withheld where they did not agree."""
    rules = EvidenceRules(
        release=release,
        table=table or make_table(),
        evidence=evidence or EvidenceParams(),
        audit=AuditParams(),
    )
    return EvidenceBundle(
        release_digest=release.digest(),
        calibration_digest=canonical_digest(rules.table),
        rules_digest=rules.digest(),
        rules=rules,
        validator_hotkey=VALIDATOR,
        miner_hotkey=MINER.hotkey,
        traffic=kept[0].traffic,
        start=kept[0].before,
        answers=tuple(one.evidence if one.has_consent else one.evidence.withheld() for one in kept),
        secrets={PERIOD: period_secret(MASTER_SECRET, PERIOD).hex()},
        has_alarm=kept[-1].is_alarm,
    )
