"""secrets, records -> REPLAY of the bursts: each interval has one, and rates follow from answers.

The prober's own account is folded again: a burst begins, its answers wait for their audits, and
what was verified comes to each hotkey's rate. What no record can show (who is on the roster, when a
token came) stays the validator's word; docs/replay.md says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from subnet.core.audit import PPM
from subnet.core.burst_plan import (
    BurstPlan,
    after_begin,
    after_rates,
    after_void,
    passed_over,
    result_of,
)
from subnet.core.capacity import CapacityParams, rate_tps_milli
from subnet.core.checks import EpochFile, FailedError, OpenError, Segment
from subnet.core.cover import (
    PERIODS_MAX,
    burst_at,
    burst_from,
    bursts_between,
    counted_window,
    newcomers_max,
)
from subnet.core.records import (
    Answered,
    Audited,
    Begun,
    Faulted,
    Measured,
    PassedOver,
    Record,
    Started,
    Violated,
    Voided,
    VoidWord,
)
from subnet.core.replay_begun import (
    assert_drawn,
    assert_group,
    assert_pair,
    assert_planned,
    assert_repeats,
)
from subnet.core.replay_draws import IN_FLIGHT_US_MAX
from subnet.core.replay_walk import Walk
from subnet.core.rules import RuleParams
from subnet.core.standing import Blame
from subnet.core.statement import OpenBurst, WaitingCredit, open_burst, waiting_credit

SLACK_US = 2_000_000
"""Between a token's arrival and the record of its answer."""
RECENT_BURSTS = 4
ON_ROSTER_US = 5_000_000
"""Whoever was asked within so long before and after an instant could be asked at it."""
_MICROSECONDS = 1_000_000


@dataclass(slots=True)
class _Open:
    """A burst that has not been folded in yet."""

    begun: Begun
    credits_ppm: Counter[str] = field(default_factory=Counter)
    waiting: dict[int, WaitingCredit] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    had_network_fault: bool = False

    def stated(self) -> OpenBurst:
        """As a statement names it."""
        return open_burst(
            self.begun,
            self.credits_ppm,
            self.waiting.values(),
            had_network_fault=self.had_network_fault,
        )


def check_bursts(segments: Sequence[Segment], file: EpochFile, walked: Walk) -> str:
    """Each interval has its burst or a reason why not; instants, groups and rates follow from the
    secret and from the answers."""
    fold = _Fold(file, walked)
    for segment in segments:
        for record in segment.records:
            fold.take(record, segment.rules)
    fold.end(segments[-1].rules)
    if fold.hidden and fold.hidden == fold.begun:
        raise OpenError("the secret of this period is not revealed yet")
    void = ", ".join(f"{count} x {word}" for word, count in sorted(fold.void.items()))
    words = f"{fold.begun} bursts, {fold.rates} rates as the answers give them"
    return f"{words}; void: {void or 'none'}; {len(fold.open)} under way"


class _Fold:
    """Folds records in their order. `take` raises FailedError."""

    def __init__(self, file: EpochFile, walked: Walk) -> None:
        before = file.said_before
        self._file = file
        self._walked = walked
        self._next = None if before is None else before.next_burst
        self.open = (
            {one.begun.burst: _reopened(one) for one in before.open_bursts} if before else {}
        )
        self._plan = BurstPlan() if before is None else before.burst_plan
        self._recent: dict[int, tuple[Begun, frozenset[str]]] = {}
        """This process's latest bursts by number, each with those for whom a second try would have
        come in its stead."""
        self._sent_us: dict[str, int] = {}
        """When each hotkey was last asked, by its answers."""
        self._is_starting = False
        self.begun = self.rates = self.hidden = 0
        self.void: Counter[str] = Counter()

    def take(self, record: Record, rules: RuleParams) -> None:
        """One more record."""
        if isinstance(record, Started):
            self._is_starting = True
            self._plan = BurstPlan()
            self._recent.clear()
        elif isinstance(record, Begun):
            self._begin(record, rules)
        elif isinstance(record, Voided):
            self._void(record, rules)
        elif isinstance(record, Measured):
            self._measure(record, rules.capacity)
        elif isinstance(record, Answered):
            self._answer(record, rules)
        elif isinstance(record, Audited | PassedOver):
            self._settle(record)
        elif isinstance(record, Faulted):
            for one in self.open.values():
                one.had_network_fault |= record.blame is Blame.NETWORK
        if isinstance(record, Answered | Violated | Faulted):
            self._assert_none_stopped()

    def end(self, rules: RuleParams) -> None:
        """What is left is what the statement names."""
        said = self._file.said
        for number, one in self.open.items():
            if one.measured:
                raise FailedError(f"burst {number}: only some of its hotkeys' rates are told")
        if said.next_burst != self._next:
            raise FailedError(f"the next burst is {self._next}, not {said.next_burst}")
        stated = tuple(self.open[number].stated() for number in sorted(self.open))
        if stated != said.open_bursts:
            raise FailedError("the bursts under way are others than the statement names")
        if self._plan != said.burst_plan:
            raise FailedError("other bursts come next than the statement names")
        if not rules.capacity.is_measured or self._next is None:
            return
        late_us = rules.capacity.duration_seconds_max * _MICROSECONDS + IN_FLIGHT_US_MAX
        upcoming = burst_from(self._next, rules.capacity)
        if upcoming < burst_at((said.at_us - late_us) / _MICROSECONDS, rules.capacity):
            raise FailedError(f"burst {upcoming} was due, and neither began nor is void")

    def _begin(self, record: Begun, rules: RuleParams) -> None:
        number, params = record.burst, rules.capacity
        due = burst_from(number if self._next is None else self._next, params)
        if number != due:
            raise FailedError(f"burst {due} was due, and burst {number} began")
        self._assert_none_stopped()
        self._next = number + 1
        before = self._file.said_before
        earliest = self._file.said.period if before is None else before.period
        if not earliest - PERIODS_MAX <= record.period <= self._file.said.period:
            raise FailedError(f"burst {number} is not of period {record.period}")
        again = assert_planned(record, self._plan)
        if again is None or again.instead_of is None:
            assert_group(record, self._walked.views[number], params)
        else:
            assert_repeats(record, again, self._walked.views[number])
        awaited = frozenset(
            hotkey for one in passed_over(self._plan, record) for hotkey in one.wanted
        )
        secret = self._file.secrets.get(record.period)
        if secret is None:
            self.hidden += 1
        else:
            assert_drawn(record, secret, self._walked.views[number], params)
            if again is None:
                assert_pair(record, secret, self._walked.views[number], self._plan)
        self._plan = after_begin(self._plan, record, params)
        self.begun += 1
        self._recent[number] = record, awaited
        if len(self._recent) > RECENT_BURSTS:
            del self._recent[min(self._recent)]
        self.open[number] = _Open(record)

    def _void(self, record: Voided, rules: RuleParams) -> None:
        first, last, word = record.first, record.last, record.word
        if first > last or last * _MICROSECONDS > record.at_us:
            raise FailedError(f"burst {last} is void before its interval began")
        intervals = bursts_between(first, last, rules.capacity)
        if first in self.open:
            began = self.open.pop(first)
            if first != last or began.measured:
                raise FailedError(f"burst {first} is void, and its rates are told")
            if word is VoidWord.NETWORK and not began.had_network_fault:
                raise FailedError(f"burst {first}: the network failed, and no request shows it")
            intervals = 1
            is_known = word in (VoidWord.STOPPED, VoidWord.NETWORK, VoidWord.VERIFIER)
            if word is not VoidWord.STOPPED:
                self._plan = after_void(self._plan, began.begun)
        else:
            due = burst_from(first if self._next is None else self._next, rules.capacity)
            if burst_from(first, rules.capacity) != due:
                raise FailedError(f"burst {first} is void, and burst {due} was due")
            self._next = last + 1
            is_known = word not in (VoidWord.NETWORK, VoidWord.VERIFIER)
        if not is_known:
            raise FailedError(f"burst {first}: {word} is no reason there")
        if word is VoidWord.STOPPED and not self._is_starting:
            raise FailedError(f"burst {first}: no process had stopped")
        self.void[word] += intervals

    def _measure(self, record: Measured, params: CapacityParams) -> None:
        result, hotkey = record.result, record.miner_hotkey
        number = result.burst
        one = self.open.get(number)
        if one is None or hotkey not in one.begun.group or hotkey in one.measured:
            raise FailedError(f"{hotkey} has a rate of burst {number}, in which it was not")
        begun, rate = one.begun, result.rate_tps_milli
        if result != result_of(begun, hotkey, rate) or record.period != begun.period:
            raise FailedError(f"burst {number}: {hotkey} met other company than it is told to")
        if one.waiting:
            raise FailedError(f"burst {number}: rates are told before all answers were audited")
        given = rate_tps_milli(one.credits_ppm[hotkey], counted_window(0, params))
        if given != rate:
            words = f"its answers give {given} thousandths of a token a second"
            raise FailedError(f"burst {number}: {words} to {hotkey}, not the rate told")
        self.rates += 1
        one.measured.add(hotkey)
        if one.measured == one.begun.group.keys():
            del self.open[number]
            fallen = self._walked.fallen.get(number, frozenset())
            self._plan = after_rates(self._plan, begun, fallen)

    def _answer(self, record: Answered, rules: RuleParams) -> None:
        sent_us = record.at_us - record.total_us
        self._assert_was_loaded(record, sent_us, rules)
        self._sent_us[record.miner_hotkey] = sent_us
        for begun, _ in self._recent.values():
            if begun.loads(record.miner_hotkey):
                _assert_counted(record, begun, counted_window(begun.at_us, rules.capacity))
        told = record.in_burst
        if told is None:
            return
        one = self.open.get(told.burst)
        if one is None or not one.begun.loads(record.miner_hotkey):
            raise FailedError(f"request {record.request_id}: its burst {told.burst} never began")
        if told.tokens > record.response.output_tokens:
            raise FailedError(f"request {record.request_id}: more tokens in a burst than it has")
        credit = waiting_credit(record, record.latency_ppm(rules))
        assert credit is not None
        one.waiting[record.counter] = credit

    def _assert_was_loaded(self, record: Answered, sent_us: int, rules: RuleParams) -> None:
        """Whoever was asked just before a burst and just after it began was there to be loaded."""
        hotkey = record.miner_hotkey
        earlier_us = self._sent_us.get(hotkey)
        if earlier_us is None or sent_us - earlier_us > ON_ROSTER_US:
            return
        for number, (begun, awaited) in self._recent.items():
            if not earlier_us < begun.at_us < sent_us or begun.loads(hotkey):
                continue
            if hotkey in self._walked.views[number].closed:
                continue
            if hotkey in awaited:
                raise FailedError(f"burst {number}: the second try of {hotkey} was due")
            if _had_a_place(hotkey, begun, rules):
                raise FailedError(f"{hotkey} was left out of burst {number}")

    def _settle(self, record: Audited | PassedOver) -> None:
        counter = record.draw.counter
        for one in self.open.values():
            waiting = one.waiting.pop(counter, None)
            if waiting is not None and counter in self._walked.verified:
                share_ppm = max(1, record.draw.share_ppm)
                one.credits_ppm[waiting.miner_hotkey] += waiting.credit_ppm * PPM // share_ppm

    def _assert_none_stopped(self) -> None:
        """A process takes its bursts along: behind its start they are void."""
        if self._is_starting and self.open:
            raise FailedError(f"burst {min(self.open)} outlived the process that began it")
        self._is_starting = False


def _reopened(stated: OpenBurst) -> _Open:
    waiting = {one.counter: one for one in stated.waiting}
    found = _Open(stated.begun, Counter(stated.credits_ppm), waiting)
    found.had_network_fault = stated.had_network_fault
    return found


def _had_a_place(hotkey: str, begun: Begun, rules: RuleParams) -> bool:
    """Whether a burst would have asked it, had it been there."""
    if begun.instead_of is not None:
        return hotkey in begun.absent
    known = {one for block in begun.blocks for one in block}
    has_room = len(begun.group.keys() - known) < newcomers_max(rules.capacity)
    seats = {one for at in begun.pair for one in begun.blocks[at]}
    return hotkey in seats or (has_room and hotkey not in known)


def _assert_counted(record: Answered, begun: Begun, window: range) -> None:
    """What an answer adds to a burst follows from its times, but for tokens at the borders."""
    number, told = begun.burst, record.in_burst
    last_us = record.at_us
    first_us = last_us - record.total_us + record.first_token_us
    if told is None or told.burst != number:
        if begun.at_us < last_us < window.stop - SLACK_US:
            raise FailedError(f"request {record.request_id} ended in burst {number}, untold")
        return
    is_inside = window.start + SLACK_US <= first_us and last_us <= window.stop - SLACK_US
    is_outside = last_us < window.start - SLACK_US or first_us > window.stop + SLACK_US
    tokens = record.response.output_tokens
    if (is_inside and told.tokens != tokens) or (is_outside and told.tokens):
        words = f"{told.tokens} of {tokens} tokens in burst {number}"
        raise FailedError(f"request {record.request_id}: {words} is not what its times give")
