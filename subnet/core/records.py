"""what happened -> RECORD -> standing: the one way in which a miner's standing changes.

A validator appends a record for everything that moves a standing, and computes the standing from
the record alone; so whoever has the records computes the same. Every request that the validator's
secret made due has exactly one ending: an answer, a signed refusal, a violation or a fault. Records
hold digests of prompts and answers, never their words.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from protocol.errors import Refusal
from protocol.inference import InferenceResponse
from protocol.structure import Structure
from protocol.units import Digest, Hotkey, Microseconds, RequestId, Signature
from subnet.core.audit import PPM, Ppm, Traffic
from subnet.core.bundle import Draw, Whole
from subnet.core.capacity import BurstResult
from subnet.core.gate import Hold
from subnet.core.reputation import Mass, Source, observed
from subnet.core.rules import RuleParams
from subnet.core.scoring import AnswerTimes, latency_factor
from subnet.core.second_opinion import Opinion, Verdict, after_opinion, after_term, after_weights
from subnet.core.standing import (
    Blame,
    MinerStanding,
    after_answer,
    after_audit,
    after_burst,
    after_fault,
    after_violation,
    requests_refused,
)
from subnet.core.verification.bounds import Reading
from subnet.core.verification.evidence import Channel

MILLI: Final = 1000
MISSED_REQUESTS_MILLI_MAX: Final = 60_000
"""One look at a miner stands for at most a minute's requests, one a second."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_us: Microseconds
    """Since the Unix epoch."""

    def to_bytes(self) -> bytes:
        """The record as it is kept, hashed and exported: one line of JSON."""
        return self.model_dump_json().encode()


class _Record(_Told):
    miner_hotkey: Hotkey


class _Ending(_Record):
    """How one due request ended."""

    period: Whole
    """Whose secret the request derives from."""
    counter: Whole
    """Which draw of that secret; no two requests of a validator share one."""
    request_id: RequestId
    traffic: Traffic
    prompt_digest: Digest | None
    """`prompt_digest`; None for prompts of users who did not agree that others see them, as they
    could be guessed from it."""
    request_digest: Digest


class InBurst(BaseModel):
    """What an answer was for a burst: all such answers are audited as benchmarks are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    burst: Whole
    tokens: Whole
    """Of its tokens, those that arrived in the burst's window."""


class Answered(_Ending):
    """A signed answer that passed every structural check."""

    kind: Literal["answer"] = "answer"
    response: InferenceResponse
    signature: Signature
    """The miner's, over `response`."""
    first_token_us: Microseconds
    """This and the next three at the validator's end, since the request was sent."""
    gap_us_max: Microseconds
    token_us_mean: Microseconds
    total_us: Microseconds
    in_burst: InBurst | None = None
    """None if no burst of this miner's was under way."""

    def latency_ppm(self, rules: RuleParams) -> int:
        """How its times compare with the release's bars."""
        bars = rules.scoring.bars_of(self.response.release_digest)
        times = AnswerTimes(self.first_token_us, self.gap_us_max, self.token_us_mean, self.total_us)
        return round(latency_factor(times, self.response.output_tokens, bars) * PPM)

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        return after_answer(standing, self.latency_ppm(rules) / PPM, rules.standing)


class Violated(_Ending):
    """A signed answer that no honest engine gives."""

    kind: Literal["violation"] = "violation"
    response: InferenceResponse
    signature: Signature
    word: str

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        detail = f"request {self.request_id}"
        return after_violation(standing, self.word, detail, self.at_us * MILLI, rules.standing)


class Faulted(_Ending):
    """No answer. A refusal is proven by the miner's signature, every other fault is a claim."""

    kind: Literal["fault"] = "fault"
    word: str
    blame: Blame
    refusal: Refusal | None = None
    refusal_signature: Signature | None = None
    """The miner's, over `refusal`."""

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        rejection = None if self.refusal is None else self.refusal.rejection
        is_honest = self.blame is Blame.BACK_PRESSURE
        missed = requests_refused(rejection, rules.standing) if is_honest else 1.0
        return after_fault(standing, self.word, self.blame, rules.standing, missed)


class Lost(_Told):
    """A due request that this validator never finished: its process ended. Moves nothing."""

    kind: Literal["lost"] = "lost"
    period: Whole
    counter: Whole


class Started(_Told):
    """A process of this validator began: what follows goes by these rules and this release."""

    kind: Literal["start"] = "start"
    rules: RuleParams
    release_digest: Digest


class Missed(_Record):
    """A miner that could not even be asked."""

    kind: Literal["miss"] = "miss"
    word: str
    blame: Blame
    missed_requests_milli: Annotated[int, Field(ge=0, le=MISSED_REQUESTS_MILLI_MAX)]
    """Thousandths of requests that the look at it stands for."""

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        missed = self.missed_requests_milli / MILLI
        return after_fault(standing, self.word, self.blame, rules.standing, missed)


class PassedOver(_Record):
    """An answer that the audit draw passed over. Moves nothing."""

    kind: Literal["pass"] = "pass"
    draw: Draw
    response_digest: Digest
    traffic: Traffic

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The same standing."""
        return standing


class Audited(_Record):
    """What the referee and the grader found in one answer."""

    kind: Literal["audit"] = "audit"
    draw: Draw
    response_digest: Digest
    traffic: Traffic
    readings: dict[Channel, Reading] | None
    """None outside the calibrated envelope."""
    family: str
    grade_ppm: Ppm | None
    has_second_opinion: bool
    """Whether an alarm holds pay until a second engine has spoken."""

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        grade = None if self.grade_ppm is None else self.grade_ppm / PPM
        after = after_audit(
            standing,
            self.traffic,
            self.readings,
            grade,
            self.at_us * MILLI,
            rules.standing,
            rules.evidence,
            has_second_opinion=self.has_second_opinion,
        )
        is_verified = after.verified > standing.verified
        if grade is None or not is_verified:
            return after
        mass = after.reputation.get(self.family, Mass())
        known = observed(mass, grade, Source.AUDIT, self.at_us, rules.reputation)
        return after.model_copy(update={"reputation": {**after.reputation, self.family: known}})


class Measured(_Record):
    """What one burst showed of a hotkey beside others."""

    kind: Literal["burst"] = "burst"
    period: Whole
    """Whose secret the burst's instant and length derive from."""
    result: BurstResult

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        return after_burst(standing, self.result, rules.capacity)


class Begun(_Told):
    """A joint burst began. Moves nothing; what its hotkeys gave follows as `Measured`."""

    kind: Literal["begin"] = "begin"
    period: Whole
    """Whose secret the burst's instant, length and draws derive from."""
    burst: Whole
    """Which interval of the clock it fell into, by the whole second at which that starts."""
    turn: Whole
    turns: Annotated[int, Field(ge=1, lt=65_536)]
    """This validator's place among those that share the interval."""
    cover: Whole
    blocks: tuple[tuple[Hotkey, ...], ...]
    """The whole cover, block by block."""
    pair: tuple[Whole, Whole]
    """Which blocks met."""
    instead_of: Whole | None
    """The burst that this one is the second try of."""
    group: dict[Hotkey, tuple[Whole, ...]]
    """Who takes part, with the blocks that it met; in a second try those of the first."""
    absent: tuple[Hotkey, ...]
    """Those of them that are not there for the second try: nobody asks them, and they give nothing.
    Else one of two on the same engine could stay away while the other tries again."""

    def loads(self, hotkey: str) -> bool:
        """Whether it is asked in the burst."""
        return hotkey in self.group and hotkey not in self.absent


class VoidWord(StrEnum):
    """Why an interval brought no rates."""

    STOPPED = "STOPPED"
    """The validator's process was not running, or ended in the burst."""
    LATE = "LATE"
    """The instant was gone by when the last burst was over, or this machine woke up."""
    NOBODY = "NOBODY"
    """No miner could be asked."""
    BUSY = "BUSY"
    """Too many answers waited for the referee."""
    NETWORK = "NETWORK"
    """In the burst a fault was the network's."""
    VERIFIER = "VERIFIER"
    """In the burst this machine was overloaded."""


class Voided(_Told):
    """Intervals whose bursts proved nothing, or never began. Moves nothing."""

    kind: Literal["void"] = "void"
    first: Whole
    last: Whole
    """All whose number lies between are meant, these two included."""
    word: VoidWord


class Opined(_Record):
    """What a second engine said of an alarm."""

    kind: Literal["opinion"] = "opinion"
    asked: Hold
    engine: str
    verdict: Verdict
    first_log_evidence: float
    second_log_evidence: float
    answers: Whole

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        opinion = Opinion(
            self.verdict, self.first_log_evidence, self.second_log_evidence, self.answers
        )
        return after_opinion(standing, self.asked, opinion, self.engine, self.at_us * MILLI)


class TermEnded(_Record):
    """An epoch went by without a second opinion."""

    kind: Literal["term"] = "term"

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        return after_term(standing, self.at_us * MILLI)


class Paid(_Record):
    """What the weights that the chain took withheld from a miner, or made good."""

    kind: Literal["pay"] = "pay"
    withheld_ppm: Whole | None
    owed_ppm: Whole

    def apply(self, standing: MinerStanding, rules: RuleParams) -> MinerStanding:
        """The standing after it."""
        return after_weights(standing, self.withheld_ppm, self.owed_ppm)


ENDINGS: Final = (Answered, Violated, Faulted, Lost)
Moving = (
    Answered
    | Violated
    | Faulted
    | Missed
    | PassedOver
    | Audited
    | Measured
    | Opined
    | TermEnded
    | Paid
)
Unmoving = Lost | Started | PassedOver | Begun | Voided
"""What stands in no book."""
Record = Moving | Lost | Started | Begun | Voided
RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def prompt_digest(prompt: str, structure: Structure | None = None) -> str:
    """What names a prompt in its record, lower-case hex; `structure` is what its user asks for."""
    digest = hashlib.sha256(b"assay/prompt/1\n" + prompt.encode())
    if structure is None:
        return digest.hexdigest()
    shape = structure.model_dump_json().encode()
    return hashlib.sha256(b"assay/prompt/2\n" + digest.digest() + shape).hexdigest()


def next_burst_after(records: Sequence[Record], before: int | None) -> int | None:
    """The lowest number of an interval that these records do not account for yet."""
    for record in records:
        if isinstance(record, Begun):
            before = record.burst + 1
        elif isinstance(record, Voided):
            before = max(before or 0, record.last + 1)
    return before
