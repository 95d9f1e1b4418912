"""records, factors, weights -> STATEMENT: one epoch of a validator, signed by its hotkey.

It commits to the epoch's records by a Merkle root, to the standings that they led to by a digest,
and to the statement before it, so that nothing can be added, dropped or changed later.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from protocol.message import WireMessage
from protocol.units import BlockNumber, Digest, Hotkey, Microseconds, Signature
from subnet.core.audit import Ppm, Traffic
from subnet.core.bundle import DELAY_US, Whole
from subnet.core.burst_plan import BurstPlan
from subnet.core.capacity import credit_ppm
from subnet.core.merkle import leaf_hash, root_of
from subnet.core.records import Answered, Begun
from subnet.core.scoring import Score
from subnet.core.standing import MinerStanding

Uid = Annotated[int, Field(ge=0, lt=65_536)]


class FixedPeriod(WireMessage):
    """What fixes a period's draws before any of them is used."""

    period: Whole
    secret_digest: Digest
    pool_digest: Digest
    """Of the users' prompts that it may ask again."""
    first_counter: Whole | None
    """The first draw of its secret; None for a period that has not begun."""


class TurnRef(WireMessage):
    """A due request: which draw of which period's secret."""

    period: Whole
    counter: Whole


class InFlight(TurnRef):
    """One without an ending."""

    since_us: Microseconds
    """When the first statement named it."""


class Unaudited(WireMessage):
    """An answer that waits for its audit draw."""

    counter: Whole
    period: Whole
    miner_hotkey: Hotkey
    traffic: Traffic = Field(strict=False)
    response_digest: Digest
    share_ppm: Ppm
    """Which share of such answers is audited; settled when the answer came."""


class WaitingCredit(WireMessage):
    """What an answer of a burst will add to it once it is verified."""

    counter: Whole
    miner_hotkey: Hotkey
    credit_ppm: Whole


class OpenBurst(WireMessage):
    """A burst that began and has not been folded in yet."""

    begun: Begun
    credits_ppm: dict[Hotkey, Whole]
    """Verified so far, above 0; see `capacity.credit_ppm`."""
    waiting: tuple[WaitingCredit, ...]
    """By counter."""
    had_network_fault: bool
    """Whether a fault on record since it began was the network's: it may prove nothing."""


def waiting_credit(answered: Answered, latency_ppm: int) -> WaitingCredit | None:
    """What an answer with that latency factor waits with; None if it came in no burst."""
    told = answered.in_burst
    if told is None:
        return None
    return WaitingCredit(
        counter=answered.counter,
        miner_hotkey=answered.miner_hotkey,
        credit_ppm=credit_ppm(told.tokens, latency_ppm),
    )


def open_burst(
    begun: Begun,
    credits_ppm: Mapping[str, int],
    waiting: Iterable[WaitingCredit],
    *,
    had_network_fault: bool,
) -> OpenBurst:
    """A burst as statements name it."""
    return OpenBurst(
        begun=begun,
        credits_ppm={one: given for one, given in credits_ppm.items() if given},
        waiting=tuple(sorted(waiting, key=lambda one: one.counter)),
        had_network_fault=had_network_fault,
    )


class MinerPay(WireMessage):
    """One miner's factors, and what they came to."""

    hotkey: Hotkey
    uid: Uid | None
    """None if it was not registered."""
    owner: Hotkey | None
    """Its coldkey; None likewise."""
    factors: dict[str, Whole]
    """The fields of `scoring.Score`."""
    score_ppm: Whole
    pay_ppm: Whole
    """The score, and what an unfounded hold kept from the last weights."""


class Share(WireMessage):
    """A weight."""

    uid: Uid
    share: Whole


class EpochStatement(WireMessage):
    """What a validator says of one epoch."""

    validator_hotkey: Hotkey
    netuid: Uid
    at_us: Microseconds
    """When it was signed, since the Unix epoch."""
    epoch_block: BlockNumber
    """When consensus ran; the statement's name among those of one validator."""
    period: Whole
    """Whose secret was in use."""
    periods: tuple[FixedPeriod, ...]
    """`period`, the next one, all that `in_flight`, `waiting` and open bursts name, and those that
    an instant may still have been drawn in (`cover.PERIODS_MAX`); in order.
    Whoever holds this statement's anchor holds the next one's before it is used."""
    metagraph_block: BlockNumber
    """Whose uids the weights go by."""
    release_digest: Digest
    rules_digest: Digest
    rules_version: Annotated[int, Field(ge=0, lt=2**32)]
    """With the rules' digest it makes the weights' version key."""
    records: Whole
    records_root: Digest
    """Over the records since the statement before."""
    next_counter: Whole
    """All draws below it were due by now."""
    in_flight: tuple[InFlight, ...]
    """Those of them whose ending is still to come."""
    waiting: tuple[Unaudited, ...]
    """Answers to be audited or passed over in a later epoch, in the order in which they came."""
    next_burst: Whole | None
    """All intervals below it were due for a burst by now; None before the first."""
    open_bursts: tuple[OpenBurst, ...]
    """By number."""
    burst_plan: BurstPlan
    """Which bursts come next."""
    standings_digest: Digest
    """Of the standings after the records."""
    own_uid: Uid | None
    miners: tuple[MinerPay, ...]
    """By hotkey."""
    weights: tuple[Share, ...]
    """By uid; empty if nothing was set."""
    previous: Digest | None
    """The digest of the statement before; None for the first."""


class SignedStatement(WireMessage):
    """A statement as it is kept and published."""

    statement: EpochStatement
    signature: Signature


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """The records that no statement counts yet, as they are kept, in order."""

    lines: tuple[bytes, ...]
    last_sequence: int
    """The store's own number of the last of them."""
    next_counter: int
    """All draws below it are or were due."""
    in_flight: tuple[TurnRef, ...]
    """Those of them without an ending."""
    waiting: tuple[Unaudited, ...]
    """Answers that wait for their audit draw, in order."""
    next_burst: int | None
    """All intervals below it are or were due for a burst."""


def head_after(head: bytes | None, statement_digest: str) -> bytes:
    """The head over all statements up to this one, 32 bytes: what the anchor holds."""
    before = head or bytes(32)
    return hashlib.sha256(b"assay/head/1\n" + before + bytes.fromhex(statement_digest)).digest()


def in_flight_of(
    turns: Sequence[TurnRef], before: EpochStatement | None, at_us: int
) -> tuple[InFlight, ...]:
    """The requests under way, each with when it was first named."""
    known = {} if before is None else {one.counter: one.since_us for one in before.in_flight}
    return tuple(
        InFlight(period=one.period, counter=one.counter, since_us=known.get(one.counter, at_us))
        for one in turns
    )


def records_root(lines: Iterable[bytes]) -> str:
    """The Merkle root (RFC 6962) over records as they are kept, lower-case hex."""
    return root_of([leaf_hash(line) for line in lines]).hex()


def standings_digest(standings: Sequence[MinerStanding]) -> str:
    """SHA-256 over the standings by hotkey, lower-case hex."""
    digest = hashlib.sha256(b"assay/standings/1\n")
    for standing in sorted(standings, key=lambda one: one.hotkey):
        digest.update(standing.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


def miner_pays(
    scores: Mapping[str, Score],
    pays: Mapping[str, int],
    uids: Mapping[str, int],
    owners: Mapping[str, str],
) -> tuple[MinerPay, ...]:
    """Every miner's factors, by hotkey."""
    return tuple(
        MinerPay(
            hotkey=hotkey,
            uid=uids.get(hotkey),
            owner=owners.get(hotkey),
            factors=scores[hotkey].model_dump(),
            score_ppm=scores[hotkey].total_ppm,
            pay_ppm=pays[hotkey],
        )
        for hotkey in sorted(scores)
    )


def shares_of(weights: Mapping[int, int]) -> tuple[Share, ...]:
    """Weights by uid."""
    return tuple(Share(uid=uid, share=weights[uid]) for uid in sorted(weights))


def is_old(statement: EpochStatement, now_us: int) -> bool:
    """Whether it may leave the validator: a fresh one shows how near every alarm is."""
    return statement.at_us <= now_us - DELAY_US
