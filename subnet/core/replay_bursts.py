"""secrets, records -> REPLAY of the bursts: each interval has one, and rates follow from answers.

The prober's own account is folded again: a burst begins, its answers wait for their audits, and
what was verified comes to each hotkey's rate. What no record can show (who is on the roster, when a
token came) stays the validator's word; docs/replay.md says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from subnet.core.audit import PPM
from subnet.core.capacity import CapacityParams, credit_ppm, rate_tps_milli
from subnet.core.checks import EpochFile, FailedError, OpenError, Segment
from subnet.core.cover import (
    LATE_SECONDS_MAX,
    PERIODS_MAX,
    Cover,
    Turn,
    burst_seconds_max,
    burst_starts_at,
    burst_window,
    draw_cover,
    interval_seconds,
    met_ppm,
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
from subnet.core.replay_draws import IN_FLIGHT_US_MAX
from subnet.core.replay_walk import BurstView, Walk
from subnet.core.rules import RuleParams
from subnet.core.standing import Blame
from subnet.core.statement import OpenBurst, WaitingCredit

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
    faults: set[Blame] = field(default_factory=set)
    """Who is to blame for faults since it began."""

    def stated(self) -> OpenBurst:
        """As a statement names it."""
        return OpenBurst(
            begun=self.begun,
            credits_ppm={one: given for one, given in self.credits_ppm.items() if given},
            waiting=tuple(self.waiting[counter] for counter in sorted(self.waiting)),
        )


def check_bursts(segments: Sequence[Segment], file: EpochFile, walked: Walk) -> str:
    """Each interval has its burst or a reason why not; groups, lengths and rates follow from the
    secret and from the answers."""
    fold = _Fold(file, walked)
    for segment in segments:
        for record in segment.records:
            fold.take(record, segment.rules)
    fold.end(segments[-1].rules)
    if fold.hidden and not fold.rates:
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
        self._recent: dict[int, tuple[Begun, range | None]] = {}
        """The latest bursts of this file by number, with their windows if these are revealed."""
        self._sent_us: dict[str, int] = {}
        """When each hotkey was last asked, by its answers."""
        self._covers: dict[int, tuple[tuple[str, ...], ...]] = {}
        self._is_starting = False
        self.begun = self.rates = self.hidden = 0
        self.void: Counter[str] = Counter()

    def take(self, record: Record, rules: RuleParams) -> None:
        """One more record."""
        if isinstance(record, Started):
            self._is_starting = True
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
                one.faults.add(record.blame)
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
        if not rules.capacity.is_measured or self._next is None:
            return
        late_us = rules.capacity.duration_seconds_max * _MICROSECONDS + IN_FLIGHT_US_MAX
        interval_us = interval_seconds(rules.capacity) * _MICROSECONDS
        due = int((said.at_us - late_us) / interval_us)
        if self._next < due:
            raise FailedError(f"burst {self._next} was due, and neither began nor is void")

    def _begin(self, record: Begun, rules: RuleParams) -> None:
        number, params = record.burst, rules.capacity
        if self._next is not None and number != self._next:
            raise FailedError(f"burst {self._next} was due, and burst {number} began")
        self._assert_none_stopped()
        self._next = number + 1
        before = self._file.said_before
        earliest = self._file.said.period if before is None else before.period
        if not earliest - PERIODS_MAX <= record.period <= self._file.said.period:
            raise FailedError(f"burst {number} is not of period {record.period}")
        _assert_group(record, self._walked.views[number], params)
        blocks = self._covers.setdefault(record.cover, record.blocks)
        if record.cover and blocks != record.blocks:
            raise FailedError(f"burst {number}: cover {record.cover} has other blocks")
        secret = self._file.secrets.get(record.period)
        window = None
        if secret is not None:
            _assert_drawn(record, secret, self._walked.views[number], params)
            window = burst_window(secret, number, record.at_us, params)
        self.begun += 1
        self._recent[number] = record, window
        if len(self._recent) > RECENT_BURSTS:
            del self._recent[min(self._recent)]
        self.open[number] = _Open(record)

    def _void(self, record: Voided, rules: RuleParams) -> None:
        first, last, word = record.first, record.last, record.word
        interval_us = interval_seconds(rules.capacity) * _MICROSECONDS
        if first > last or last * interval_us > record.at_us:
            raise FailedError(f"burst {last} is void before its interval began")
        if first in self.open:
            began = self.open.pop(first)
            if first != last or began.measured:
                raise FailedError(f"burst {first} is void, and its rates are told")
            if word is VoidWord.NETWORK and Blame.NETWORK not in began.faults:
                raise FailedError(f"burst {first}: the network failed, and no request shows it")
            is_known = word in (VoidWord.STOPPED, VoidWord.NETWORK, VoidWord.VERIFIER)
        else:
            if self._next is not None and first != self._next:
                raise FailedError(f"burst {first} is void, and burst {self._next} was due")
            self._next = last + 1
            is_known = word not in (VoidWord.NETWORK, VoidWord.VERIFIER)
        if not is_known:
            raise FailedError(f"burst {first}: {word} is no reason there")
        if word is VoidWord.STOPPED and not self._is_starting:
            raise FailedError(f"burst {first}: no process had stopped")
        self.void[word] += last - first + 1

    def _measure(self, record: Measured, params: CapacityParams) -> None:
        result, hotkey = record.result, record.miner_hotkey
        number = result.burst
        one = self.open.get(number)
        if one is None or hotkey not in one.begun.group or hotkey in one.measured:
            raise FailedError(f"{hotkey} has a rate of burst {number}, in which it was not")
        begun = one.begun
        beside = begun.group[hotkey]
        met = 0 if begun.is_retry else met_ppm(Cover(begun.cover, begun.blocks), beside)
        told = result.cover, result.beside, result.met_ppm, record.period
        if told != (begun.cover, beside, met, begun.period):
            raise FailedError(f"burst {number}: {hotkey} met other company than it is told to")
        if one.waiting:
            raise FailedError(f"burst {number}: rates are told before all answers were audited")
        secret = self._file.secrets.get(begun.period)
        if secret is None:
            self.hidden += 1
        else:
            window = burst_window(secret, number, 0, params)
            rate = rate_tps_milli(one.credits_ppm[hotkey], window)
            if rate != result.rate_tps_milli:
                words = f"its answers give {rate} thousandths of a token a second"
                raise FailedError(f"burst {number}: {words} to {hotkey}, not the rate told")
            self.rates += 1
        one.measured.add(hotkey)
        if one.measured == one.begun.group.keys():
            del self.open[number]

    def _answer(self, record: Answered, rules: RuleParams) -> None:
        sent_us = record.at_us - record.total_us
        self._assert_was_loaded(record, sent_us, rules)
        self._sent_us[record.miner_hotkey] = sent_us
        for begun, window in self._recent.values():
            if window is not None and record.miner_hotkey in begun.group:
                _assert_counted(record, begun, window)
        told = record.in_burst
        if told is None:
            return
        one = self.open.get(told.burst)
        if one is None or record.miner_hotkey not in one.begun.group:
            raise FailedError(f"request {record.request_id}: its burst {told.burst} never began")
        if told.tokens > record.response.output_tokens:
            raise FailedError(f"request {record.request_id}: more tokens in a burst than it has")
        one.waiting[record.counter] = WaitingCredit(
            counter=record.counter,
            miner_hotkey=record.miner_hotkey,
            credit_ppm=credit_ppm(told.tokens, record.latency_ppm(rules)),
        )

    def _assert_was_loaded(self, record: Answered, sent_us: int, rules: RuleParams) -> None:
        """Whoever was asked just before a burst and just after it began was there to be loaded."""
        hotkey = record.miner_hotkey
        earlier_us = self._sent_us.get(hotkey)
        if earlier_us is None or sent_us - earlier_us > ON_ROSTER_US:
            return
        for number, (begun, _) in self._recent.items():
            if not earlier_us < begun.at_us < sent_us or hotkey in begun.group:
                continue
            if hotkey in self._walked.views[number].closed:
                continue
            seats = {one for at in begun.pair for one in begun.blocks[at]}
            known = {one for block in begun.blocks for one in block}
            room = max(1, rules.capacity.group_size // 4)
            has_room = len(begun.group.keys() - known) < room
            if hotkey in seats or (has_room and hotkey not in known):
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
    return _Open(stated.begun, Counter(stated.credits_ppm), waiting)


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


def _assert_group(record: Begun, view: BurstView, params: CapacityParams) -> None:
    """Each member met the other block, or both if it rides along for a reason."""
    number, blocks = record.burst, record.blocks
    first, second = record.pair
    if max(first, second) >= len(blocks):
        raise FailedError(f"burst {number}: its cover has no such blocks")
    both = tuple(dict.fromkeys(record.pair))
    known = {hotkey for block in blocks for hotkey in block}
    seats = dict.fromkeys(blocks[first], (second,)) | dict.fromkeys(blocks[second], (first,))
    riders = {hotkey for hotkey, beside in record.group.items() if beside != seats.get(hotkey)}
    for hotkey, beside in record.group.items():
        if hotkey in view.closed:
            raise FailedError(f"burst {number}: the gate of {hotkey} was closed")
        if hotkey in riders and beside != both:
            raise FailedError(f"burst {number}: {hotkey} met other blocks")
    if record.is_retry:
        return
    newcomers = record.group.keys() - known
    if uninvited := riders & known - view.shortfalls_ppm.keys():
        raise FailedError(f"burst {number}: nothing lets {min(uninvited)} ride along")
    if len(newcomers) > max(1, params.group_size // 4):
        raise FailedError(f"burst {number}: {len(newcomers)} newcomers ride along")


def _assert_drawn(record: Begun, secret: bytes, view: BurstView, params: CapacityParams) -> None:
    """Instant and, for a cover that begins here, blocks are what the secret draws."""
    number, longest = record.burst, burst_seconds_max(params)
    turns_max = max(1, int(interval_seconds(params) // longest))
    if record.turn >= record.turns or record.turns > turns_max:
        raise FailedError(f"burst {number}: there is no turn {record.turn} of {record.turns}")
    turn = Turn(record.turn, record.turns)
    starts_at = burst_starts_at(secret, number, turn, longest, params)
    if abs(record.at_us / _MICROSECONDS - starts_at) > LATE_SECONDS_MAX:
        raise FailedError(f"burst {number} began at another instant than the secret draws")
    hotkeys = [hotkey for block in record.blocks for hotkey in block]
    drawn = draw_cover(secret, number + 1, hotkeys, view.shortfalls_ppm, params)
    # A single block has no order, and may be of an earlier burst that was void.
    is_other = drawn.blocks != record.blocks if record.cover else drawn.number != 0
    if record.cover in (0, number + 1) and is_other:
        raise FailedError(f"burst {number}: its cover has other blocks than the secret draws")
