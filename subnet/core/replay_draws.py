"""secrets, records -> REPLAY of the draws: who was asked what, who was audited, who signed.

Each function looks at one thing, says in one line what it found, and raises FailedError where a
record contradicts the rules, or OpenError where something is still hidden.
"""

from collections.abc import Mapping, Sequence

from subnet.core.audit import PPM, Traffic, audit_draw_ppm
from subnet.core.checks import EpochFile, FailedError, OpenError, Verify
from subnet.core.draws import DrawParams, draw_task, request_id, secret_digest
from subnet.core.records import (
    ENDINGS,
    Answered,
    Audited,
    Faulted,
    Lost,
    PassedOver,
    Record,
    Violated,
    prompt_digest,
)
from subnet.core.statement import EpochStatement, Unaudited


def check_due(file: EpochFile, records: Sequence[Record]) -> str:
    """Each draw that became due has one ending, or is named as still in flight."""
    said = file.signed.statement
    before = None if file.previous is None else file.previous.statement
    due = set() if before is None else {one.counter for one in before.in_flight}
    due |= set(range(0 if before is None else before.next_counter, said.next_counter))
    in_flight = {one.counter for one in said.in_flight}
    ended: set[int] = set()
    for record in records:
        if isinstance(record, ENDINGS):
            if record.counter in ended:
                raise FailedError(f"draw {record.counter} has two endings")
            ended.add(record.counter)
    if missing := sorted(due - ended - in_flight):
        raise FailedError(f"draw {missing[0]} was due and has no ending ({len(missing)} such)")
    if foreign := sorted((ended | in_flight) - due):
        raise FailedError(f"draw {foreign[0]} was not due ({len(foreign)} such)")
    if both := ended & in_flight:
        raise FailedError(f"draw {min(both)} is said to be in flight, and has an ending")
    lost = sum(isinstance(record, Lost) for record in records)
    return f"{len(ended)} endings, {lost} of them lost with a process; {len(in_flight)} in flight"


def check_secrets(file: EpochFile) -> str:
    """Every secret is the one that the statement before fixed, before its use."""
    before = None if file.previous is None else file.previous.statement
    if before is None:
        raise OpenError("nothing before this statement fixed its secrets; the anchors did")
    fixed = dict(zip((before.period, before.period + 1), before.secret_digests, strict=True))
    for period in file.secrets.keys() & fixed.keys():
        if secret_digest(file.secrets[period]).hex() != fixed[period]:
            raise FailedError(f"the secret of period {period} is not the one that was fixed")
    if foreign := sorted(file.secrets.keys() - fixed.keys()):
        raise FailedError(f"nobody fixed a secret for period {foreign[0]} in time")
    if not file.secrets:
        raise OpenError("no secret of this epoch is revealed yet")
    return f"those of periods {', '.join(map(str, sorted(file.secrets)))}, fixed before their use"


def check_draws(records: Sequence[Record], params: DrawParams, secrets: Mapping[int, bytes]) -> str:
    """Request ids and benchmarks' prompts are what the revealed secret draws."""
    checked = hidden = 0
    for record in records:
        if not isinstance(record, Answered | Violated | Faulted):
            continue
        secret = secrets.get(record.period)
        if secret is None:
            hidden += 1
            continue
        if request_id(secret, record.counter) != record.request_id:
            raise FailedError(f"request {record.request_id} is not draw {record.counter}")
        is_benchmark = record.traffic is Traffic.BENCHMARK
        if is_benchmark is (record.prompt_digest is None):
            raise FailedError(f"request {record.request_id}: a benchmark names its prompt")
        if is_benchmark:
            task = draw_task(secret, record.counter, params)
            if prompt_digest(task.prompt) != record.prompt_digest:
                raise FailedError(f"request {record.request_id} asked another task than drawn")
        checked += 1
    if hidden and not checked:
        raise OpenError("the secret of this period is not revealed yet")
    return f"{checked} requests are what the secret draws, {hidden} not checkable yet"


def check_audits(records: Sequence[Record], file: EpochFile) -> str:
    """Who is audited was drawn, and no answer was left out."""
    said = file.signed.statement
    carried = () if file.previous is None else file.previous.statement.waiting
    answers = {record.counter: record for record in records if isinstance(record, Answered)}
    seen: set[int] = set()
    for record in records:
        if not isinstance(record, Audited | PassedOver):
            continue
        counter = record.draw.counter
        if counter in seen:
            raise FailedError(f"the answer to draw {counter} was audited twice")
        seen.add(counter)
        answer = answers.get(counter)
        if answer is not None and (
            answer.response.digest() != record.response_digest
            or answer.miner_hotkey != record.miner_hotkey
        ):
            raise FailedError(f"the audit of draw {counter} is of another answer")
        _assert_drawn(record, file)
    due = [*carried, *(Unaudited(counter=n, traffic=one.traffic) for n, one in answers.items())]
    if foreign := sorted(seen - {one.counter for one in due}):
        raise FailedError(f"the answer to draw {foreign[0]} was audited, and nobody gave it")
    waiting = tuple(one for one in due if one.counter not in seen)
    if waiting != said.waiting:
        raise FailedError("an answer was neither audited nor passed over, nor does it wait")
    if file.rules.audit.benchmark_ppm == PPM:
        _assert_none_left_out(due, seen)
    return f"{len(seen)} drawn or passed over as the rules say, {len(waiting)} wait"


def _assert_drawn(record: Audited | PassedOver, file: EpochFile) -> None:
    draw, audit = record.draw, file.rules.audit
    shares = {audit.benchmark_ppm, audit.organic_ppm}
    shares |= {max(share, audit.suspect_ppm) for share in shares}
    if draw.share_ppm not in shares:
        raise FailedError(f"draw {draw.counter}: no rule audits a share of {draw.share_ppm} ppm")
    is_audited = isinstance(record, Audited)
    if draw.share_ppm == PPM:
        if not is_audited:
            raise FailedError(f"draw {draw.counter}: all such answers are audited, this was not")
        return
    secret = file.secrets.get(draw.period)
    if draw.block_hash is None:
        raise FailedError(f"draw {draw.counter} names no block whose hash decided")
    if secret is not None:
        ppm = audit_draw_ppm(record.response_digest, bytes.fromhex(draw.block_hash), secret)
        if is_audited is not (ppm < draw.share_ppm):
            raise FailedError(f"draw {draw.counter}: the draw decides otherwise")


def _assert_none_left_out(due: Sequence[Unaudited], seen: set[int]) -> None:
    """All benchmarks are audited in the order of their answers: those that wait are the latest."""
    is_waiting = False
    for answer in due:
        if answer.traffic is not Traffic.BENCHMARK:
            continue
        if answer.counter not in seen:
            is_waiting = True
        elif is_waiting:
            raise FailedError(f"an answer before that to draw {answer.counter} was not audited")


def check_signatures(records: Sequence[Record], said: EpochStatement, verify: Verify) -> str:
    """Every answer and refusal was signed by the miner, to this validator."""
    answers = refusals = 0
    for record in records:
        if isinstance(record, Answered | Violated):
            response = record.response
            is_theirs = (
                response.miner_hotkey == record.miner_hotkey
                and response.caller_hotkey == said.validator_hotkey
                and response.request_digest == record.request_digest
                and response.release_digest == said.release_digest
            )
            if not is_theirs or not verify(
                response.signing_bytes(), record.signature, record.miner_hotkey
            ):
                raise FailedError(f"{record.miner_hotkey} did not sign {record.request_id}")
            answers += 1
        if isinstance(record, Faulted) and record.refusal is not None:
            refusal = record.refusal
            is_theirs = (
                refusal.miner_hotkey == record.miner_hotkey
                and refusal.caller_hotkey == said.validator_hotkey
                and refusal.request_digest == record.request_digest
                and refusal.rejection.reason == record.word
            )
            if not is_theirs or not verify(
                refusal.signing_bytes(), record.refusal_signature or "", record.miner_hotkey
            ):
                raise FailedError(f"{record.miner_hotkey} did not refuse {record.request_id}")
            refusals += 1
    return f"{answers} answers and {refusals} refusals, each signed by its miner"
