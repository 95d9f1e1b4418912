"""Fakes for the validator's tests: chain, miners and referee on a loop of virtual time."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.errors import Refusal, Rejection
from protocol.handshake import MinerCard
from protocol.inference import Environment, InferenceResponse, OutputHash
from protocol.release import GRAMMAR_BACKEND, Release
from protocol.sampling import derive_seed
from protocol.structure import Structure
from subnet.config import Settings
from subnet.core.bundle import EvidenceRules
from subnet.core.canary import Canary, canary_of
from subnet.core.second_opinion import SecondScores
from subnet.core.verification.calibration import (
    BASE_EDGES_LOGITS,
    BUCKETS,
    Band,
    CalibrationParams,
    CalibrationTable,
    HeldOut,
    UserBounds,
)
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.environments import EnvironmentPair
from subnet.core.verification.gaps import GapTable
from subnet.core.verification.power import POWER_BARS, AttackPower, PowerReport
from subnet.edge.kept_rows import KeptLimits
from subnet.edge.state_reader import InUse
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.ports import (
    ChainError,
    Endpoint,
    Exchange,
    Fault,
    Metagraph,
    Neuron,
    OpinionUnavailableError,
)
from subnet.roles.supervisor import Supervisor
from subnet.roles.validator import Validator, World
from subnet.sim.loop import START_SECONDS, LoopClock
from tests.calibration_support import PROVENANCE

VALIDATOR = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
BLOCK_SECONDS = 1.0
TEMPO = 20
STOP = 2
CANARY_PROMPT = (7, 8)
RELEASE = Release(
    model="hashed",
    revision="main",
    weights_digest="a" * 64,
    tokenizer_digest="b" * 64,
    dtype="float32",
    runtime="hash-1",
    vocab_size=1000,
    context_tokens_max=2048,
    stop_token_ids=(STOP,),
    grammar=GRAMMAR_BACKEND,
)
OTHER_RELEASE = RELEASE.model_copy(update={"weights_digest": "c" * 64})
ENVIRONMENT = Environment(engine="hash-1", torch="none", device="none", dtype="float32")
ELSEWHERE = ENVIRONMENT.model_copy(update={"device": "another-gpu"})
"""Where nobody calibrated."""
PAIR = EnvironmentPair(miner=ENVIRONMENT, referee=ENVIRONMENT)
_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def miner_hotkey(number: int) -> str:
    """A well-formed address that no two numbers share."""
    return "5" + _LETTERS[number] * 47


def honest_tokens(seed: int, prompt: Sequence[int], count: int) -> tuple[int, ...]:
    """What the "model" samples: fixed by seed and prompt, never a stop token."""
    stream = hashlib.shake_256(f"{seed} {list(prompt)}".encode()).digest(2 * count)
    return tuple(10 + int.from_bytes(stream[2 * i : 2 * i + 2], "big") % 900 for i in range(count))


class FakeSigner:
    """`ports.Signer` without a key."""

    hotkey = VALIDATOR

    def sign(self, message: bytes) -> str:
        return hashlib.sha512(message).hexdigest()


def is_signed(message: bytes, signature: str, hotkey: str) -> bool:
    """`ports.SignatureVerifier` for `FakeSigner`."""
    return hotkey == VALIDATOR and signature == hashlib.sha512(message).hexdigest()


@dataclass
class FakeMiner:
    """One miner and how it behaves."""

    hotkey: str
    behaviour: str = "honest"
    has_endpoint: bool = True
    asked: list[Any] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)
    """Those that its requests asked for."""


class FakeClient:
    """Talks to fake miners; each behaviour is a word."""

    def __init__(self, miners: Sequence[FakeMiner]) -> None:
        self.miners = {miner.hotkey: miner for miner in miners}
        self.in_flight: Counter[str] = Counter()
        self.in_flight_max: Counter[str] = Counter()

    async def handshake(self, endpoint: Endpoint, timeout_seconds: float) -> MinerCard | Fault:
        behaviour = self.miners[endpoint.hotkey].behaviour
        if behaviour == "dead":
            await asyncio.sleep(timeout_seconds)
            return Fault.UNREACHABLE
        release = OTHER_RELEASE if behaviour == "other release" else RELEASE
        return MinerCard(
            nonce="0" * 64,
            miner_hotkey=endpoint.hotkey,
            release=release,
            environment=ENVIRONMENT,
            concurrent_requests_max=8,
        )

    async def infer(self, endpoint: Endpoint, request: Any) -> Exchange:
        miner = self.miners[endpoint.hotkey]
        miner.asked.append(request)
        behaviour = miner.behaviour
        self.in_flight[miner.hotkey] += 1
        self.in_flight_max[miner.hotkey] = max(
            self.in_flight[miner.hotkey], self.in_flight_max[miner.hotkey]
        )
        await asyncio.sleep({"slow": 20.0, "tarpit": 30.0}.get(behaviour, 0.5))
        self.in_flight[miner.hotkey] -= 1
        if behaviour in _FAULTS:
            fault, reason = _FAULTS[behaviour]
            return _exchange(miner, request, (), None, fault, reason)
        seed = derive_seed(
            request.nonce,
            request.request_id,
            VALIDATOR,
            endpoint.hotkey,
            request.prompt_token_ids,
        )
        miner.seeds.add(seed)
        if behaviour in ("foreign seed", "foreign seed elsewhere"):
            seed += 1
        tokens = honest_tokens(seed, request.prompt_token_ids, request.sampling.tokens_max)
        if behaviour == "breaks grammars" and request.sampling.structure is not None:
            tokens = (BARRED, *tokens[1:])
        if behaviour == "skips stops":
            tokens = (STOP, *tokens[1:])
        digest = request.digest()
        hashed = OutputHash(digest)
        hashed.update(tokens, [0] * len(tokens))
        response = InferenceResponse(
            request_digest=digest,
            miner_hotkey=endpoint.hotkey,
            caller_hotkey=VALIDATOR,
            release_digest=request.release_digest,
            output_hash=hashed.hexdigest(),
            prompt_tokens=len(request.prompt_token_ids),
            output_tokens=len(tokens),
            finish_reason="length",
            queued_us=0,
            first_token_us=1,
            total_us=2,
            environment=ELSEWHERE if behaviour.endswith("elsewhere") else ENVIRONMENT,
        )
        return _exchange(miner, request, tokens, response, None, None)


_FAULTS = {
    "times out": (Fault.TIMEOUT, None),
    "tarpit": (Fault.TIMEOUT, None),
    "breaks": (Fault.BROKEN_STREAM, None),
    "full": (Fault.REFUSED, "CAPACITY_FULL"),
    "full for ever": (Fault.REFUSED, "CAPACITY_FULL"),
    "full for long": (Fault.REFUSED, "CAPACITY_FULL"),
    "out of budget": (Fault.REFUSED, "TOKEN_BUDGET_EXCEEDED"),
    "lies": (Fault.FALSE_CLAIM, None),
}


_RETRY_AFTER_MS = {"full for ever": None, "full for long": 60_001}
"""Of those that are no honest back-pressure; others say 500."""


def refusal_of(request: Any, hotkey: str, reason: str, retry_after_ms: int | None) -> Refusal:
    """What a miner signs when it says no."""
    return Refusal(
        request_id=request.request_id,
        request_digest=request.digest(),
        miner_hotkey=hotkey,
        caller_hotkey=VALIDATOR,
        rejection=Rejection(reason=reason, detail="scripted", retry_after_ms=retry_after_ms),
    )


def _exchange(
    miner: FakeMiner,
    request: Any,
    tokens: tuple[int, ...],
    response: InferenceResponse | None,
    fault: Fault | None,
    reason: str | None,
) -> Exchange:
    slow = 20_000_000 if miner.behaviour == "slow" else 500_000
    refusal = None
    if reason is not None:
        wait_ms = _RETRY_AFTER_MS.get(miner.behaviour, 500)
        refusal = refusal_of(request, miner.hotkey, reason, wait_ms)
    return Exchange(
        request=request,
        miner_hotkey=miner.hotkey,
        sent_at_ns=0,
        token_ids=tokens,
        logprobs=(0.0,) * len(tokens),
        token_times_us=tuple(slow + i for i in range(len(tokens))),
        total_us=slow + len(tokens),
        response=response,
        response_signature="0" * 128 if response else None,
        fault=fault,
        fault_detail="scripted",
        rejection_reason=reason,
        refusal=refusal,
        refusal_signature=None if refusal is None else "0" * 128,
    )


class HashReferee:
    """Recomputes `honest_tokens`: margin 0 where they agree, 1 where they do not."""

    environment = ENVIRONMENT

    def __init__(self) -> None:
        self.is_blind = False
        self.misread_seeds: set[int] = set()
        """Answers that it takes for tampered, which no canary of it shows."""

    def score(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        return [self._score(claim) for claim in claims]

    def _score(self, claim: Claim) -> ClaimScore:
        expected = honest_tokens(claim.seed, claim.prompt_token_ids, len(claim.output_token_ids))
        if claim.seed in self.misread_seeds:
            return ClaimScore((1.0,) * len(expected), ())
        return ClaimScore(
            tuple(
                0.0 if self.is_blind or own == right else 1.0
                for own, right in zip(claim.output_token_ids, expected, strict=True)
            ),
            (),
        )


class FakeSecondEngine:
    """A second engine that takes its time, and fails on request."""

    name = "fake"

    def __init__(self) -> None:
        self.referee = HashReferee()
        self.seconds = 1.0
        self.problem: str | None = None
        self.breaks_on: set[int] = set()
        """Seeds of the answers that crash it."""
        self.asked: list[list[Claim]] = []

    async def score(self, claims: Sequence[Claim], slack_logits: float) -> SecondScores:
        self.asked.append(list(claims))
        await asyncio.sleep(self.seconds)
        if self.problem is not None:
            raise OpinionUnavailableError(self.problem)
        if any(claim.seed in self.breaks_on for claim in claims):
            raise OpinionUnavailableError("scripted: this transcript breaks it")
        canary = make_canary()
        return SecondScores(
            scores=self.referee.score(claims),
            canary=canary,
            canary_scores=self.referee.score([*canary.honest, *canary.tampered]),
        )


class ByteTokenizer:
    """One id a byte of the prompt; answers come back as their ids."""

    def render(self, prompt: str) -> tuple[int, ...]:
        return tuple(100 + byte for byte in prompt.encode())

    def detokenize(self, token_ids: Sequence[int]) -> str:
        return " ".join(str(token) for token in token_ids)


class FakeChain:
    """Blocks by the loop's clock; an epoch every `TEMPO`; incentive follows the last weights."""

    def __init__(
        self, miners: Sequence[FakeMiner], *, permit_at: int = 0, first_block: int = 0
    ) -> None:
        self.miners = list(miners)
        self.first_block = first_block
        self.permit_at = permit_at
        self.weights: list[tuple[int, dict[int, int], int]] = []
        self.commitments: list[bytes] = []
        self.failing = 0
        """So many coming writes are refused."""
        self.is_down = False
        self.is_validator_registered = True
        self._incentive: dict[int, float] = {}

    def _block(self) -> int:
        if self.is_down:
            raise ChainError("fake: down")
        blocks = (asyncio.get_running_loop().time() - START_SECONDS) / BLOCK_SECONDS
        return self.first_block + int(blocks)

    async def block_number(self) -> int:
        return self._block()

    async def block_hash(self, block: int) -> bytes:
        assert block <= self._block()
        return hashlib.sha256(str(block).encode()).digest()

    async def metagraph(self) -> Metagraph:
        block = self._block()
        own = self._row(0, VALIDATOR, None, has_permit=block >= self.permit_at)
        rows = [
            self._row(
                uid,
                miner.hotkey,
                Endpoint(miner.hotkey, "127.0.0.1", uid) if miner.has_endpoint else None,
            )
            for uid, miner in enumerate(self.miners, 1)
        ]
        if not self.is_validator_registered:
            return Metagraph(1, block, TEMPO, VALIDATOR, tuple(rows))
        return Metagraph(1, block, TEMPO, VALIDATOR, (own, *rows))

    def _row(
        self, uid: int, hotkey: str, endpoint: Endpoint | None, *, has_permit: bool = False
    ) -> Neuron:
        share = self._incentive.get(uid, 0.0)
        return Neuron(
            uid, hotkey, hotkey, endpoint, 0, has_permit, share, 0.0, round(share * 1e9), 0, 0
        )

    async def wait_for_block(self, block: int) -> int:
        while self._block() < block:  # noqa: ASYNC110 - blocks come by the clock
            await asyncio.sleep(BLOCK_SECONDS)
        return self._block()

    async def wait_for_epoch(self) -> int:
        target = (self._block() // TEMPO + 1) * TEMPO
        await self.wait_for_block(target)
        if self.weights:
            shares = {uid: share for uid, share in self.weights[-1][1].items() if uid != 0}
            total = sum(shares.values())
            self._incentive = {uid: share / total for uid, share in shares.items()}
        return target

    async def publish_endpoint(self, host: str, port: int) -> bool:
        raise AssertionError("a validator serves nothing")

    async def set_weights(self, weights: Any, version_key: int) -> None:
        block = self._block()
        if self.failing:
            self.failing -= 1
            raise ChainError("fake: busy")
        self.weights.append((block, dict(weights), version_key))

    async def commit(self, data: bytes) -> None:
        self._block()
        self.commitments.append(data)

    async def commitment(self, hotkey: str) -> bytes | None:
        return self.commitments[-1] if self.commitments else None


def make_table() -> CalibrationTable:
    """A table that covers everything the default mix asks."""
    quiet = (1.0,) + (0.0005,) * (BUCKETS - 1)
    counts = (1000,) + (0,) * (BUCKETS - 1)
    bands = tuple(
        Band(temperature_milli=temperature, top_p_milli=top_p, counts=counts, p0=quiet)
        for temperature in (700, 1000)
        for top_p in (950, 1000)
    )
    provenance = PROVENANCE.model_copy(update={"release_digest": RELEASE.digest()})
    return CalibrationTable(
        sigma_logits=0.01,
        slack_logits=0.05,
        edges_logits=BASE_EDGES_LOGITS,
        context_tokens_max=2048,
        params=CalibrationParams(),
        pairs=(PAIR,),
        bands=bands,
        gaps=GapTable(edges_nats={}, cells=()),
        held_out=None,
        users=make_user_bounds(bands),
        power=None,
        provenance=provenance,
    )


def make_user_bounds(bands: tuple[Band, ...]) -> UserBounds:
    """The same bounds for what users ask."""
    return UserBounds(
        bands=bands,
        held_out=None,
        repeated_prompts=1,
        repeated_alarms=0,
        prompts=1,
        prompts_digest="h",
        traffic_percent=25,
        gap_ratio=1,
        loud_ratio=1,
    )


GOOD = tuple(
    AttackPower(
        attack=bar.attack, detected=1, median_responses=1, p95_responses=bar.p95_responses_max
    )
    for bar in POWER_BARS
)
CALM = HeldOut(
    responses=1,
    tokens=1,
    max_margin_logits=0,
    buckets_above_p0=0,
    gap_buckets_above_p0=0,
    mean_factor_max=1,
    evidence_max=1,
    alarms=0,
)


def power_report(
    benchmark: tuple[AttackPower, ...] = GOOD, organic: tuple[AttackPower, ...] = GOOD
) -> PowerReport:
    """Every bar just met."""
    return PowerReport(
        seed=1, questions=1, runs=1, responses_max=1, benchmark=benchmark, organic=organic
    )


def whole_table(
    held_out: HeldOut = CALM, hostile: HeldOut = CALM, power: PowerReport | None = None
) -> CalibrationTable:
    """A table that was tried on everything, and stood."""
    made = make_table()
    users = made.users.model_copy(update={"held_out": hostile})
    return made.model_copy(
        update={"held_out": held_out, "users": users, "power": power or power_report()}
    )


def make_canary() -> Canary:
    """Truth about `honest_tokens`."""
    return canary_of(
        [
            Claim(
                CANARY_PROMPT,
                honest_tokens(seed, CANARY_PROMPT, 30),
                *(1000, 950, 50, seed),
                None,
                "length",
            )
            for seed in range(4)
        ]
    )


BARRED = 950
"""A token that no honest answer holds, and that every structure bars."""


class FakeGrammars:
    """`ports.Grammars` for a vocabulary without words."""

    def refused_at(self, structure: Structure, token_ids: Sequence[int]) -> int | None:
        return token_ids.index(BARRED) if BARRED in token_ids else None


class Subnet:
    """A validator's roles over fakes and a real store."""

    def __init__(
        self, path: Path, miners: Sequence[FakeMiner], settings: Settings, **chain: Any
    ) -> None:
        self.settings = settings
        self.miners = list(miners)
        self.chain = FakeChain(miners, **chain)
        self.client = FakeClient(miners)
        self.referee = HashReferee()
        self.store = SqliteValidatorStore(path, {"hotkey": VALIDATOR}, bytes(range(32)))
        starts_at_us = round((START_SECONDS + self.chain.first_block * BLOCK_SECONDS) * 1e6)
        self.store.begin(starts_at_us, InUse(rules=settings.rules, release_digest=RELEASE.digest()))
        self.store.save_evidence_rules(
            EvidenceRules(
                release=RELEASE,
                table=make_table(),
                evidence=settings.evidence,
                audit=settings.audit,
            ),
            KeptLimits(
                settings.validator.evidence_answers_max, settings.validator.evidence_tokens_max
            ),
        )
        self.second_engine = FakeSecondEngine()
        has_second = settings.validator.second_opinion != "none"
        self.roles = Validator(
            World(
                chain=self.chain,
                client=self.client,
                referee=self.referee,
                second_engine=self.second_engine if has_second else None,
                grammars=FakeGrammars(),
                tokenizer=ByteTokenizer(),
                store=self.store,
                clock=LoopClock(self.chain.first_block * BLOCK_SECONDS),
                signer=FakeSigner(),
                release=RELEASE,
                table=make_table(),
                canary=make_canary(),
                settings=settings,
            )
        )
        self.book, self.roster = self.roles.book, self.roles.roster
        self.dispatcher, self.auditor = self.roles.dispatcher, self.roles.auditor
        self.setter = self.roles.weight_setter
        self.supervisor = Supervisor(1.0, 8.0)

    async def run(self) -> None:
        """All loops, until `epochs_max` weights were set."""
        await self.roles.run(self.supervisor)

    def shares(self) -> dict[str, float]:
        """The last weights as shares by hotkey, the validator's own as `own`."""
        weights = self.chain.weights[-1][1]
        total = sum(weights.values())
        names = {0: "own", **{uid: miner.hotkey for uid, miner in enumerate(self.miners, 1)}}
        return {names[uid]: share / total for uid, share in weights.items()}


def make_settings(**sections: Any) -> Settings:
    """Settings for a few virtual minutes; sections given as dicts are merged over them."""
    validator = {"epochs_max": 2, "probe_interval_seconds": 1.0}
    unmeasured = {"capacity": {"is_measured": False}}
    scoring = {"full_pay_answers": 20, **sections.get("scoring", {})}
    return Settings.model_validate(
        {
            **unmeasured,
            **sections,
            "scoring": scoring,
            "validator": {**validator, **sections.get("validator", {})},
        }
    )
