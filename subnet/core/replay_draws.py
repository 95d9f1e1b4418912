"""secrets, records -> REPLAY of the draws: who was asked what, who was audited, who signed.

Each function looks at one thing, says in one line what it found, and raises FailedError where a
record contradicts the rules, or OpenError where something is still hidden.
"""

from collections.abc import Mapping, Sequence

from protocol.errors import RejectionReason
from subnet.core.audit import PPM, Traffic, audit_draw_ppm
from subnet.core.checks import EpochFile, FailedError, OpenError, Segment, Verify
from subnet.core.draws import REVEALED_AFTER, request_id, secret_digest
from subnet.core.records import (
    ENDINGS,
    Answered,
    Audited,
    Begun,
    Faulted,
    Lost,
    PassedOver,
    Record,
    Started,
    Violated,
)
from subnet.core.replay_echoes import DrawnPrompts, check_first_counter
from subnet.core.standing import Blame, StandingParams, blame_of_refusal
from subnet.core.statement import EpochStatement, Unaudited

IN_FLIGHT_US_MAX = 660_000_000
"""The protocol's longest timeout, and a minute to write down how it ended."""
REASONS = frozenset(map(str, RejectionReason))


def check_due(file: EpochFile, records: Sequence[Record]) -> str:
    """Each draw that became due has one ending, or is named as still in flight."""
    said, before = file.said, file.said_before
    first = 0 if before is None else before.next_counter
    carried = {} if before is None else {one.counter: one for one in before.in_flight}
    in_flight = {one.counter: one for one in said.in_flight}
    if not 0 <= said.next_counter - first <= len(records) + len(in_flight):
        raise FailedError(f"draws {first} to {said.next_counter} cannot all have endings here")
    due = carried.keys() | set(range(first, said.next_counter))
    periods = {said.period} if before is None else {before.period, said.period}
    ended: set[int] = set()
    for record in records:
        if isinstance(record, ENDINGS):
            if record.counter in ended:
                raise FailedError(f"draw {record.counter} has two endings")
            ended.add(record.counter)
            turn = carried.get(record.counter)
            if record.period not in (periods if turn is None else {turn.period}):
                raise FailedError(f"draw {record.counter} is not of period {record.period}")
    if missing := sorted(due - ended - in_flight.keys()):
        raise FailedError(f"draw {missing[0]} was due and has no ending ({len(missing)} such)")
    if foreign := sorted((ended | in_flight.keys()) - due):
        raise FailedError(f"draw {foreign[0]} was not due ({len(foreign)} such)")
    if both := ended & in_flight.keys():
        raise FailedError(f"draw {min(both)} is said to be in flight, and has an ending")
    for one in said.in_flight:
        turn = carried.get(one.counter)
        if one.since_us != (said.at_us if turn is None else turn.since_us):
            raise FailedError(f"draw {one.counter} was in flight since another time")
        if said.at_us - one.since_us > IN_FLIGHT_US_MAX:
            raise FailedError(f"draw {one.counter} is in flight for longer than any request may be")
    check_first_counter(file, _lowest_counters(records, said))
    starts = _assert_lost_with_a_process(records)
    lost = sum(isinstance(record, Lost) for record in records)
    return (
        f"{len(ended)} endings, {lost} of them lost in {starts} starts; {len(in_flight)} under way"
    )


def _lowest_counters(records: Sequence[Record], said: EpochStatement) -> dict[int, int]:
    """By period, of all that ended or are in flight."""
    lowest: dict[int, int] = {}
    ended = [record for record in records if isinstance(record, ENDINGS)]
    for one in (*ended, *said.in_flight):
        lowest[one.period] = min(one.counter, lowest.get(one.period, one.counter))
    return lowest


def _assert_lost_with_a_process(records: Sequence[Record]) -> int:
    """What a process loses stands directly behind the next one's start, and nothing of it ends."""
    may_lose, gone, starts = False, -1, 0
    for record in records:
        if isinstance(record, Started):
            may_lose, starts = True, starts + 1
        elif isinstance(record, Lost):
            if not may_lose:
                raise FailedError(f"draw {record.counter} was lost, and no process had ended")
            gone = max(gone, record.counter)
        else:
            may_lose = False
            if isinstance(record, ENDINGS) and record.counter < gone:
                raise FailedError(f"draw {record.counter} outlived the process that asked")
    return starts


def check_secrets(file: EpochFile, records: Sequence[Record]) -> str:
    """Every secret is the one that the statement before fixed, before its use."""
    before, said = file.said_before, file.said
    if before is None:
        raise OpenError("nothing before this statement fixed its secrets; the anchors did")
    fixed = {one.period: one.secret_digest for one in before.periods}
    for period, secret in file.secrets.items():
        if period not in fixed:
            raise FailedError(f"nobody fixed a secret for period {period} in time")
        if secret_digest(secret).hex() != fixed[period]:
            raise FailedError(f"the secret of period {period} is not the one that was fixed")
    used = {one.period for one in records if isinstance(one, ENDINGS)}
    used |= {one.period for one in records if isinstance(one, Begun)}
    used |= {one.draw.period for one in records if isinstance(one, Audited | PassedOver)}
    now = said.period + len(file.later)
    revealed = {one for one in used if one <= now - REVEALED_AFTER}
    if hidden := sorted(revealed - file.secrets.keys()):
        raise FailedError(f"the secret of period {hidden[0]} is revealed by now, and not here")
    if not file.secrets:
        raise OpenError("no secret of this epoch is revealed yet")
    return f"those of periods {', '.join(map(str, sorted(file.secrets)))}, fixed before their use"


def check_draws(segments: Sequence[Segment], file: EpochFile) -> str:
    """Request ids, benchmarks' prompts and echoes are what the revealed secret draws."""
    checked = hidden = of_users = echoes = 0
    for segment in segments:
        drawn = DrawnPrompts(file, segment)
        for record in segment.records:
            if not isinstance(record, Answered | Violated | Faulted):
                continue
            of_users += record.traffic is Traffic.ORGANIC
            echoes += record.traffic is Traffic.ECHO
            if record.traffic.is_own and record.prompt_digest is None:
                raise FailedError(f"request {record.request_id} of our own names no prompt")
            secret = file.secrets.get(record.period)
            if secret is None:
                hidden += 1
                continue
            if request_id(secret, record.counter) != record.request_id:
                raise FailedError(f"request {record.request_id} is not draw {record.counter}")
            drawn.check(record)
            checked += 1
    if hidden and not checked:
        raise OpenError("the secret of this period is not revealed yet")
    words = f"{checked} requests are what the secret draws, {hidden} not checkable yet"
    return f"{words}; {echoes} ask again, {of_users} are said to be users'"


def check_audits(
    segments: Sequence[Segment], file: EpochFile, shares_ppm: Mapping[int, int]
) -> str:
    """Who is audited was drawn, and no answer was left out.

    `shares_ppm` holds the audited share by counter, as each miner stood when it answered.
    """
    said, before = file.said, file.said_before
    due = {} if before is None else {one.counter: one for one in before.waiting}
    hashes: dict[int, str] = {}
    seen: set[int] = set()
    for segment in segments:
        for record in segment.records:
            if isinstance(record, Answered):
                due[record.counter] = waiting_of(record, shares_ppm[record.counter])
            elif isinstance(record, Audited | PassedOver):
                _assert_of_an_answer(record, due, seen)
                _assert_drawn(record, due[record.draw.counter].share_ppm, file, hashes)
                seen.add(record.draw.counter)
    waiting = tuple(one for counter, one in due.items() if counter not in seen)
    if waiting != said.waiting:
        raise FailedError("an answer was neither audited nor passed over, nor does it wait")
    if segments[-1].rules.audit.benchmark_ppm == PPM:
        _assert_none_left_out(list(due.values()), seen)
    return f"{len(seen)} drawn or passed over as the rules say, {len(waiting)} wait"


def waiting_of(record: Answered, share_ppm: int) -> Unaudited:
    """An answer as a statement names it."""
    return Unaudited(
        counter=record.counter,
        period=record.period,
        miner_hotkey=record.miner_hotkey,
        traffic=record.traffic,
        response_digest=record.response.digest(),
        share_ppm=share_ppm,
    )


def _assert_of_an_answer(
    record: Audited | PassedOver, due: dict[int, Unaudited], seen: set[int]
) -> None:
    counter = record.draw.counter
    if counter in seen:
        raise FailedError(f"the answer to draw {counter} was audited twice")
    answer = due.get(counter)
    said = record.draw.period, record.miner_hotkey, record.traffic, record.response_digest
    if answer is None or said != (
        answer.period,
        answer.miner_hotkey,
        answer.traffic,
        answer.response_digest,
    ):
        raise FailedError(f"the audit of draw {counter} is of an answer that nobody gave")


def _assert_drawn(
    record: Audited | PassedOver, share_ppm: int, file: EpochFile, hashes: dict[int, str]
) -> None:
    draw = record.draw
    if draw.share_ppm != share_ppm:
        words = f"{share_ppm} ppm of such answers are audited, not {draw.share_ppm}"
        raise FailedError(f"draw {draw.counter}: as its miner stood, {words}")
    is_audited = isinstance(record, Audited)
    if draw.share_ppm == PPM:
        if not is_audited:
            raise FailedError(f"draw {draw.counter}: all such answers are audited, this was not")
        return
    if draw.block is None or draw.block_hash is None:
        raise FailedError(f"draw {draw.counter} names no block whose hash decided")
    if hashes.setdefault(draw.block, draw.block_hash) != draw.block_hash:
        raise FailedError(f"block {draw.block} has two hashes")
    secret = file.secrets.get(draw.period)
    if secret is not None:
        ppm = audit_draw_ppm(record.response_digest, bytes.fromhex(draw.block_hash), secret)
        if is_audited is not (ppm < draw.share_ppm):
            raise FailedError(f"draw {draw.counter}: the draw decides otherwise")


def _assert_none_left_out(due: Sequence[Unaudited], seen: set[int]) -> None:
    """Answers to our own requests are audited in their order: those that wait are the latest."""
    is_waiting = False
    for answer in due:
        if not answer.traffic.is_own:
            continue
        if answer.counter not in seen:
            is_waiting = True
        elif is_waiting:
            raise FailedError(f"an answer before that to draw {answer.counter} was not audited")


def check_signatures(segments: Sequence[Segment], said: EpochStatement, verify: Verify) -> str:
    """Every answer and refusal was signed by the miner, to this validator."""
    answers = refusals = 0
    asked: set[str] = set()
    for segment in segments:
        for record in segment.records:
            if not isinstance(record, Answered | Violated | Faulted):
                continue
            if record.request_digest in asked:
                raise FailedError(f"request {record.request_id} is another one under a new name")
            asked.add(record.request_digest)
            if isinstance(record, Faulted):
                refusals += _assert_fault(record, segment.rules.standing, said, verify)
            else:
                _assert_answer(record, segment.release_digest, said, verify)
                answers += 1
    return f"{answers} answers and {refusals} refusals, each signed by its miner"


def _assert_answer(
    record: Answered | Violated, release_digest: str, said: EpochStatement, verify: Verify
) -> None:
    response = record.response
    is_theirs = (
        response.miner_hotkey == record.miner_hotkey
        and response.caller_hotkey == said.validator_hotkey
        and response.request_digest == record.request_digest
        and response.release_digest == release_digest
    )
    if not is_theirs or not verify(response.signing_bytes(), record.signature, record.miner_hotkey):
        raise FailedError(f"{record.miner_hotkey} did not sign {record.request_id}")


def _assert_fault(
    record: Faulted, params: StandingParams, said: EpochStatement, verify: Verify
) -> bool:
    """Whether it is a refusal; its word and blame follow from what the miner signed, or did not."""
    refusal = record.refusal
    if (record.word in REASONS) is (refusal is None):
        raise FailedError(f"request {record.request_id}: {record.word} without proof")
    if refusal is None:
        if record.blame in (Blame.BACK_PRESSURE, Blame.GATEWAY):
            raise FailedError(f"request {record.request_id}: {record.blame} without a refusal")
        return False
    is_theirs = (
        refusal.request_id == record.request_id
        and refusal.miner_hotkey == record.miner_hotkey
        and refusal.caller_hotkey == said.validator_hotkey
        and refusal.request_digest == record.request_digest
        and refusal.rejection.reason == record.word
    )
    signature = record.refusal_signature or ""
    if not is_theirs or not verify(refusal.signing_bytes(), signature, record.miner_hotkey):
        raise FailedError(f"{record.miner_hotkey} did not refuse {record.request_id}")
    blame = blame_of_refusal(refusal.rejection, params)
    allowed = {blame, Blame.GATEWAY} if blame is Blame.BACK_PRESSURE else {blame}
    if record.blame not in allowed:
        wait = f"to be asked again after {refusal.rejection.retry_after_ms} ms"
        words = f"{record.word}, {wait}, is not {record.blame}"
        raise FailedError(f"request {record.request_id}: {words}")
    return True
