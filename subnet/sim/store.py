"""exchange, audit, epoch -> MEMORY: `ports.ValidatorStore` without a disk, for one run."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from protocol.structure import Structure
from subnet.core.audit import Traffic
from subnet.core.audited import AuditRecord, KeptAnswer, PendingAudit
from subnet.core.bundle import AnswerEvidence, EvidenceRules
from subnet.core.echoes import EchoPool, PeriodStart
from subnet.core.gaming import ExchangeMark
from subnet.core.history import EpochRecord, UserPrompt
from subnet.core.packed import Packed
from subnet.core.records import Record, next_burst_after
from subnet.core.rules import RuleParams
from subnet.core.second_opinion import AlarmWindow, OpinionRecord, Verdict
from subnet.core.standing import MinerStanding
from subnet.core.statement import OpenRecords, SignedStatement, head_after


class MemoryStore:
    """What one validator remembers; records are not kept."""

    def __init__(self, secret: bytes, rules: EvidenceRules, answers_max: int) -> None:
        self._secret = secret
        self._rules = rules
        self._answers_max = answers_max
        self._counter = 0
        self._period = 0
        self._starts: dict[int, PeriodStart] = {}
        self._turns: list[tuple[int, int]] = []
        self._standings: dict[tuple[str, str], MinerStanding] = {}
        self._pending: dict[str, PendingAudit] = {}
        self._windows: dict[tuple[str, str, Traffic], list[AnswerEvidence]] = {}
        self._alarms: dict[tuple[str, str], AlarmWindow] = {}
        self._epochs: dict[int, EpochRecord] = {}
        self._next_burst: int | None = None
        self._statement: SignedStatement | None = None
        self._head: bytes | None = None
        self._prompts: dict[int, UserPrompt] = {}
        self._open: dict[int, UserPrompt] = {}
        self._prompted = asyncio.Event()
        """Set while a prompt is open."""
        self.accused: set[str] = set()
        """Hotkeys whose pay was ever held or whose gate ever closed."""
        self.requests: Counter[str] = Counter()
        """Finished exchanges by hotkey."""

    @property
    def master_secret(self) -> bytes:
        """32 bytes."""
        return self._secret

    def standings(self) -> list[MinerStanding]:
        """The latest of every hotkey and release."""
        return list(self._standings.values())

    def reserve_counter(self) -> int:
        """A number that no request had before."""
        self._counter += 1
        self._turns.append((self._period, self._counter))
        return self._counter

    def taken_turns(self) -> list[tuple[int, int]]:
        """(period, counter) of the turns that were taken since the last call."""
        taken, self._turns = self._turns, []
        return taken

    def period(self) -> int:
        """The period whose secret is in use."""
        return self._period

    def open_next_period(self) -> int:
        """Move on to the next period."""
        self._period += 1
        start = self.period_start(self._period) or PeriodStart(None, EchoPool())
        self._starts[self._period] = replace(start, first_counter=self._counter + 1)
        return self._period

    def period_start(self, period: int) -> PeriodStart | None:
        """What was fixed of a period; without records its pool is empty."""
        return self._starts.get(period)

    def save_ending(
        self,
        standing: MinerStanding,
        record: Record,
        pending: PendingAudit | None = None,
        prompt: UserPrompt | None = None,
        mark: ExchangeMark | None = None,
    ) -> None:
        """A request ended."""
        self.requests[standing.hotkey] += 1
        self._save(standing)
        if pending is not None:
            self._pending[pending.request_id] = pending
        if prompt is not None:
            self._prompts[prompt.prompt_id] = prompt
            self._open.pop(prompt.prompt_id, None)
            if not self._open:
                self._prompted.clear()

    def pending_audits(self, answers_max: int) -> list[PendingAudit]:
        """The oldest answers that wait."""
        return [one for one, _ in zip(self._pending.values(), range(answers_max), strict=False)]

    def pending_audits_count(self) -> int:
        """How many answers wait."""
        return len(self._pending)

    def name_draw_block(self, request_ids: Sequence[str], block: int) -> None:
        """Fix the block whose hash decides the draw."""
        for name in request_ids:
            self._pending[name] = replace(self._pending[name], draw_block=block)

    def save_audits(
        self,
        standings: Sequence[MinerStanding],
        done: Sequence[str],
        audits: Sequence[AuditRecord],
        records: Sequence[Record],
        kept: Sequence[KeptAnswer] = (),
    ) -> None:
        """A batch was audited."""
        for standing in standings:
            self._save(standing)
        for name in done:
            del self._pending[name]
        for answer in kept:
            self._keep(answer)

    def alarm_window(self, miner_hotkey: str, release_digest: str) -> AlarmWindow | None:
        """The answers that a hotkey's last alarm rests on."""
        return self._alarms.get((miner_hotkey, release_digest))

    def save_opinion(self, standing: MinerStanding, opinion: OpinionRecord, record: Record) -> None:
        """A second opinion decided."""
        self._save(standing)
        if opinion.verdict is Verdict.CONTRADICTED:
            self._alarms.pop((opinion.miner_hotkey, opinion.release_digest), None)

    def save_epoch(self, epoch: EpochRecord) -> None:
        """Insert or replace an epoch."""
        self._epochs[epoch.epoch_block] = epoch

    def save_moves(self, standings: Sequence[MinerStanding], records: Sequence[Record]) -> None:
        """Standings that moved."""
        for standing in standings:
            self._save(standing)
        self._next_burst = next_burst_after(records, self._next_burst)

    def next_burst(self) -> int | None:
        """All intervals below it were due for a burst."""
        return self._next_burst

    def open_records(self) -> OpenRecords:
        """None: nobody replays a simulated validator."""
        return OpenRecords((), 0, self._counter + 1, (), (), self._next_burst)

    def last_statement(self) -> SignedStatement | None:
        """The latest."""
        return self._statement

    def statements_head(self) -> bytes | None:
        """Over all statements."""
        return self._head

    def close_epoch(
        self,
        epoch: EpochRecord,
        signed: SignedStatement,
        rules: RuleParams,
        packed: Packed,
        moved: Sequence[MinerStanding],
        records: Sequence[Record],
        pool: EchoPool,
    ) -> None:
        """Keep a statement, and what the weights moved."""
        self._starts[self._period + 1] = PeriodStart(None, pool)
        self._statement = signed
        self._head = head_after(self._head, signed.statement.digest())
        self.save_epoch(epoch)
        self.save_moves(moved, records)

    def epochs(self) -> list[EpochRecord]:
        """In order."""
        return [self._epochs[block] for block in sorted(self._epochs)]

    def add_prompts(
        self,
        texts: Sequence[str],
        *,
        has_consent: bool = False,
        structure: Structure | None = None,
    ) -> None:
        """Texts that are there already are left out."""
        known = {prompt.text for prompt in self._prompts.values()}
        for text in dict.fromkeys(texts):
            if text not in known:
                number = len(self._prompts) + 1
                prompt = UserPrompt(number, text, has_consent=has_consent, structure=structure)
                self._prompts[number] = self._open[number] = prompt
                self._prompted.set()

    async def until_prompted(self) -> None:
        """Return once a prompt is open."""
        await self._prompted.wait()

    def open_prompts(self) -> list[UserPrompt]:
        """Those without an answer, in order of arrival."""
        return list(self._open.values())

    def prompts(self) -> list[UserPrompt]:
        """In order of arrival."""
        return list(self._prompts.values())

    def _save(self, standing: MinerStanding) -> None:
        self._standings[standing.hotkey, standing.release_digest] = standing
        if standing.closure is not None or standing.hold is not None:
            self.accused.add(standing.hotkey)

    def _keep(self, answer: KeptAnswer) -> None:
        """One window a detector, as long as it does not start over; the last alarm's set aside."""
        key = (answer.miner_hotkey, answer.release_digest, answer.traffic)
        window = self._windows.setdefault(key, [])
        if answer.before.responses == 0:
            window.clear()
        window.append(answer.evidence)
        del window[: -self._answers_max]
        if answer.is_alarm:
            self._alarms[key[:2]] = AlarmWindow(answer.traffic, self._rules, tuple(window))
            window.clear()
