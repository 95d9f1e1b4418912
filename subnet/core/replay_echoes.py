"""pools, records -> REPLAY of the echoes: which users' prompts might be asked again, and were.

Like `replay_draws`: each function looks at one thing and raises FailedError where it contradicts
the rules.
"""

from collections.abc import Mapping, Sequence

from subnet.core.audit import Traffic
from subnet.core.checks import EpochFile, FailedError, Segment
from subnet.core.draws import draw_task
from subnet.core.echoes import EchoPool, PeriodEchoes, Taker, next_pool
from subnet.core.records import Answered, Faulted, Record, Violated, prompt_digest
from subnet.core.scoring import has_passed_probation
from subnet.core.standing import MinerStanding
from subnet.core.statement import FixedPeriod


class DrawnPrompts:
    """What a segment's requests had to ask, as far as secrets are revealed."""

    def __init__(self, file: EpochFile, segment: Segment) -> None:
        self._file = file
        self._segment = segment
        self._periods = fixed_periods(file)
        self._known: dict[int, tuple[PeriodEchoes, frozenset[str]]] = {}
        """By period: its echoes, and the digests of its pool."""

    def check(self, record: Answered | Violated | Faulted) -> None:
        """Raises FailedError if the request asked another prompt than was drawn."""
        name, secret = f"request {record.request_id}", self._file.secrets[record.period]
        echoes, digests = self._of_period(record.period, secret)
        if record.traffic is Traffic.ORGANIC:
            if record.prompt_digest in digests:
                raise FailedError(f"{name} asked again what a user was answered before")
            return
        drawn = echoes.drawn(record.counter, record.miner_hotkey)
        if (drawn is None) is (record.traffic is Traffic.ECHO):
            raise FailedError(f"{name} is {record.traffic.lower()}, and the draw is another kind")
        if drawn is None:
            task = draw_task(secret, record.counter, self._segment.rules.draws)
            drawn = prompt_digest(task.prompt, None)
        if drawn != record.prompt_digest:
            raise FailedError(f"{name} asked another prompt than drawn")

    def _of_period(self, period: int, secret: bytes) -> tuple[PeriodEchoes, frozenset[str]]:
        if period not in self._known:
            pool = _pool(self._file, period)
            first = self._periods[period].first_counter
            assert first is not None, f"period {period} has not begun"
            segment = self._segment
            echoes = PeriodEchoes(secret, first, pool, segment.rules, segment.release_digest)
            self._known[period] = echoes, frozenset(one.digest for one in pool.prompts)
        return self._known[period]


def fixed_periods(file: EpochFile) -> dict[int, FixedPeriod]:
    """What is fixed of each period that the file's statements name."""
    before = () if file.said_before is None else file.said_before.periods
    return {one.period: one for one in (*before, *file.said.periods)}


def check_first_counter(file: EpochFile, counters: Mapping[int, int]) -> None:
    """The period in use began with the first draw that is said to be of it. `counters` are the
    lowest of each period, of all that ended here or are in flight."""
    said, before = file.said, file.said_before
    named = fixed_periods(file)[said.period].first_counter
    known = {} if before is None else {one.period: one.first_counter for one in before.periods}
    expected = known.get(said.period)
    if expected is None:
        expected = counters.get(said.period, said.next_counter)
    if named != expected:
        raise FailedError(f"period {said.period} began with draw {expected}, not with {named}")


def check_pool(
    file: EpochFile, records: Sequence[Record], last: Segment, standings: Sequence[MinerStanding]
) -> str:
    """The prompts of the next period follow from this one's and from the records; none is left
    out or slipped in. `standings` are those that the records led to."""
    said, before = file.said, file.said_before
    now, coming = _pool(file, said.period), _pool(file, said.period + 1)
    if before is None and now != EchoPool():
        raise FailedError("no statement before this one fixed any prompts")
    if before is None or before.period != said.period:
        first = fixed_periods(file)[said.period].first_counter
        assert first is not None, f"period {said.period} has not begun"
        owners = {one.hotkey: one.owner for one in said.miners if one.owner is not None}
        passed = [one.hotkey for one in standings if has_passed_probation(one, last.rules.scoring)]
        expected = next_pool(
            now,
            records,
            [Taker(hotkey=one, owner=owners[one]) for one in passed if one in owners],
            turns=said.next_counter - first,
            rules=last.rules,
            release_digest=said.release_digest,
            owners=owners,
        )
        if coming != expected:
            raise FailedError("the records lead to other prompts for the next period")
    return f"{len(coming.prompts)} users' prompts may be asked again in period {said.period + 1}"


def _pool(file: EpochFile, period: int) -> EchoPool:
    pool, fixed = file.pools.get(period), fixed_periods(file).get(period)
    if pool is None or fixed is None:
        raise FailedError(f"the prompts of period {period} are not here")
    if pool.digest() != fixed.pool_digest:
        raise FailedError(f"the prompts of period {period} are not those that were fixed")
    return pool
