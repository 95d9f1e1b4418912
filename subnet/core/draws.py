"""secret -> committed digest -> NONCES, TASKS, GAPS -> revealed secret: chance that can be audited.

A validator's secret of each period is committed one period before it is used and revealed two
periods after. So nobody knows the tasks in advance, no validator can pick lucky ones for friends,
and everybody can derive every draw again. The trap: a request's nonce travels to the miner, so it
must tell nothing about the task; both come from the secret under different labels.
"""

import hashlib
import hmac
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocol.inference import PROMPT_TOKENS_MAX, Sampling
from protocol.release import TOP_K_MAX
from protocol.structure import Structure
from subnet.core.benchmark import EASIEST_TIER, FAMILIES, generate_task
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Task
from subnet.core.task_stream import TaskStream

ANCHOR_VERSION: Final = 2
FIRST_PERIOD: Final = 1
"""The first whose secret is used: the anchor of period 0 only commits it."""
REVEALED_AFTER: Final = 2
"""Periods from a secret's use to its revelation: requests of the last period may still be running,
and whoever knows their secret knows which of them are benchmarks."""
SECRET_BYTES: Final = 32
PARAMS_PREFIX_BYTES: Final = 16
DIGEST_BYTES: Final = 32
_ANCHOR = struct.Struct(f"<BQ{SECRET_BYTES}s{SECRET_BYTES}s{PARAMS_PREFIX_BYTES}s{DIGEST_BYTES}s")
_NONE: Final = bytes(32)


class SamplingChoice(BaseModel):
    """One point of the parameter mix, and how often it is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[int, Field(ge=1, le=1000)]
    """Relative frequency; shares need not sum to anything."""
    temperature_milli: Annotated[int, Field(ge=0, le=2000)]
    top_p_milli: Annotated[int, Field(ge=1, le=1000)]
    top_k: Annotated[int, Field(ge=1, le=TOP_K_MAX)] = 50


class DrawParams(BaseModel):
    """What the dispatcher asks, for users and benchmarks alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    families: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(FAMILIES)
    """Benchmark families, all equally likely; `open` is there for its entropy, not for a grade."""
    tier: Annotated[int, Field(ge=1, le=9)] = EASIEST_TIER
    sampling: Annotated[tuple[SamplingChoice, ...], Field(min_length=1)] = (
        SamplingChoice(share=8, temperature_milli=1000, top_p_milli=950),
        SamplingChoice(share=1, temperature_milli=1000, top_p_milli=1000),
        SamplingChoice(share=1, temperature_milli=700, top_p_milli=950),
    )
    answer_tokens_max: Annotated[int, Field(ge=1, le=PROMPT_TOKENS_MAX)] = 96
    """The limit of every answer, a user's or a benchmark's: limits by task would tell which it is.
    At least what the longest right answer takes."""
    window_requests: Annotated[int, Field(ge=0, le=65_536)] = 512
    """So many requests in a row hold no prompt of ours twice, whomever they went to."""
    echo_percent: Annotated[int, Field(ge=0, le=100)] = 94
    """How many of our own requests at most ask a user's prompt again, as far as there are prompts
    whose users agreed: from 90 on content tells too little, and above 94 weights in fp8, which
    benchmarks alone show, are not found within an epoch."""
    echo_times_max: Annotated[int, Field(ge=1, le=100)] = 3
    """In so many periods a user's prompt may be asked again, once in each."""
    structured_percent: Annotated[int, Field(ge=0, le=50)] = 50
    """How many of the tasks that ask for JSON have their schema enforced as well: never most, as
    structured answers are read by margins alone."""

    @model_validator(mode="after")
    def _knows_the_families(self) -> Self:
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise ValueError(f"unknown family {unknown[0]}; known: {', '.join(FAMILIES)}")
        missing = [name for name in self.families if self.tier not in FAMILIES[name].tiers]
        if missing:
            known = ", ".join(map(str, FAMILIES[missing[0]].tiers))
            raise ValueError(f"family {missing[0]} has no tier {self.tier}, only {known}")
        return self


def period_secret(master_secret: bytes, period: int) -> bytes:
    """The 32-byte secret of a period: HMAC-SHA256, so that one reveals nothing of another."""
    assert len(master_secret) >= SECRET_BYTES, len(master_secret)

    message = b"assay/period/1\n" + period.to_bytes(8, "little")
    return hmac.new(master_secret, message, hashlib.sha256).digest()


def secret_digest(secret: bytes) -> bytes:
    """What is committed: 32 bytes."""
    return hashlib.sha256(b"assay/secret/1\n" + secret).digest()


def request_nonce(secret: bytes, counter: int) -> str:
    """The wire nonce of the request with this counter, 64 hex digits."""
    return _labelled(b"nonce", secret, counter).hex()


def request_id(secret: bytes, counter: int) -> str:
    """The wire name of the request with this counter, 32 hex digits."""
    return _labelled(b"request", secret, counter)[:16].hex()


def draw_task(secret: bytes, counter: int, params: DrawParams) -> Task:
    """The benchmark task with this counter; see `TaskStream` for when it is drawn again."""
    return _tasks(secret, params.families, params.tier, params.window_requests).task(counter)


@lru_cache(maxsize=8)
def _tasks(secret: bytes, families: tuple[str, ...], tier: int, window_requests: int) -> TaskStream:
    remembered = 4 * (window_requests + 1)

    @lru_cache(maxsize=remembered)
    def family_of(counter: int) -> str:
        return Draws(b"assay/family/1", _key(secret, counter)).choice(families)

    @lru_cache(maxsize=remembered)
    def draw(counter: int, attempt: int) -> Task:
        """A task is drawn for its neighbours, to be sent and to be graded: made once, if soon."""
        label = b"task" if attempt == 0 else b"task/again/%d" % attempt
        return generate_task(family_of(counter), _labelled(label, secret, counter), tier)

    return TaskStream(family_of, draw, window_requests)


def user_priority(secret: bytes, prompt_id: int, hotkey: str, weight: int) -> float:
    """How a miner ranks for a user's prompt; the largest of all miners takes it.

    Weighted rendezvous hashing: a miner is first with probability weight / sum of weights, and one
    that falls away moves only its own prompts. `weight` is positive, in any unit.
    """
    assert weight > 0, weight
    word = Draws(b"assay/user/1", _key(secret, prompt_id), hotkey.encode()).word()
    return -weight / math.log((word + 0.5) / 2**64)


def draw_sampling(
    secret: bytes,
    counter: int,
    params: DrawParams,
    structure: Structure | None = None,
) -> Sampling:
    """The sampling parameters of the request with this counter.

    `structure` is what the task can have enforced, and the release verifies.
    """
    draws = Draws(b"assay/sampling/1", _key(secret, counter))
    left = draws.below(sum(choice.share for choice in params.sampling))
    for choice in params.sampling:
        left -= choice.share
        if left < 0:
            is_structured = structure is not None and draws.below(100) < params.structured_percent
            return Sampling(
                temperature_milli=choice.temperature_milli,
                top_p_milli=choice.top_p_milli,
                top_k=choice.top_k,
                tokens_max=params.answer_tokens_max,
                structure=structure if is_structured else None,
            )
    raise AssertionError("a draw lies below the sum of the shares")


def user_delay_seconds(secret: bytes, prompt_id: int) -> float:
    """How long a user's prompt waits before it leaves, evenly from 0 to 1 s."""
    return Draws(b"assay/delay/1", _key(secret, prompt_id)).word() / 2**64


def draw_gap_seconds(secret: bytes, label: bytes, mean_seconds: float) -> float:
    """An exponential gap: requests that arrive so are a Poisson process, as users' are.

    `label` is the counter (8 bytes, little endian) of the request before it, or a new miner's
    hotkey: every reserved counter is a request's, so that a missing one shows.
    """
    uniform = (Draws(b"assay/gap/2", secret, label).word() + 0.5) / 2**64
    return -math.log(uniform) * mean_seconds


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a validator commits on the chain once an epoch: one value, one writer."""

    period: int
    """The period whose secret is in use from here on; committed one anchor earlier."""
    next_digest: bytes
    """`secret_digest` of the secret of `period` + 1."""
    revealed_secret: bytes | None
    """The secret of `period` - `REVEALED_AFTER`."""
    params_prefix: bytes
    """First 16 bytes of the digest of all parameters that scores depend on."""
    statements_head: bytes | None
    """Over all statements of the validator: none can be exchanged later."""

    def to_bytes(self) -> bytes:
        """121 bytes: version, period, digest, revealed secret, params prefix, statements' head.

        Zeros stand for none.
        """
        return _ANCHOR.pack(
            ANCHOR_VERSION,
            self.period,
            self.next_digest,
            self.revealed_secret or _NONE,
            self.params_prefix,
            self.statements_head or _NONE,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError for bytes that are no anchor of this version."""
        if len(data) != _ANCHOR.size or data[0] != ANCHOR_VERSION:
            raise ValueError(f"not an anchor of version {ANCHOR_VERSION}")
        _, period, next_digest, revealed, prefix, head = _ANCHOR.unpack(data)
        return cls(
            period,
            next_digest,
            None if revealed == _NONE else revealed,
            prefix,
            None if head == _NONE else head,
        )


def anchor_of(
    master_secret: bytes, period: int, params_digest: bytes, statements_head: bytes | None = None
) -> Anchor:
    """The anchor that opens a period, counted from 0."""
    return Anchor(
        period=period,
        next_digest=secret_digest(period_secret(master_secret, period + 1)),
        revealed_secret=(
            period_secret(master_secret, period - REVEALED_AFTER)
            if period >= REVEALED_AFTER
            else None
        ),
        params_prefix=params_digest[:PARAMS_PREFIX_BYTES],
        statements_head=statements_head,
    )


def _key(secret: bytes, counter: int) -> bytes:
    return secret + counter.to_bytes(8, "little")


def _labelled(label: bytes, secret: bytes, counter: int) -> bytes:
    message = b"assay/" + label + b"/1\n" + counter.to_bytes(8, "little")
    return hmac.new(secret, message, hashlib.sha256).digest()
