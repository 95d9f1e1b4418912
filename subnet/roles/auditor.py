"""pending audit -> DRAW -> REFEREE -> evidence, grade: what the answers were worth.

The draw comes after the answer is signed (`core.audit`). A batch is scored in a thread, so that
the loop that times answers is not held up, and saved in one transaction. Nobody is struck by a
referee that does not recognise known-honest and known-tampered answers of its own release.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from subnet.config import Settings
from subnet.core.audit import (
    PPM,
    Traffic,
    audit_draw_ppm,
    is_referee_sound,
    readings,
)
from subnet.core.audited import AuditRecord, KeptAnswer, PendingAudit
from subnet.core.benchmark import Outcome, Task, grade, program_of
from subnet.core.book import StandingBook
from subnet.core.canary import Canary
from subnet.core.draws import draw_task, period_secret
from subnet.core.records import Audited, PassedOver, Record
from subnet.core.scoring import is_verified
from subnet.core.standing import MinerStanding
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import Channel, Readings
from subnet.core.verification.verdict import step
from subnet.ports import Chain, Clock, Referee, Sandbox, SandboxError, Tokenizer
from subnet.roles.bursts import BurstLedger
from subnet.roles.evidence import DrawnAnswer, draw_of, kept_answer
from subnet.store import ValidatorStore

BLOCK_HASHES_MAX: Final = 256

_log = logging.getLogger(__name__)


class RefereeUnsoundError(Exception):
    """The referee failed its self-test: the verifier is at fault, not the miners."""


@dataclass(slots=True)
class _Batch:
    """What one batch comes to, before it is saved."""

    records: list[Record]
    changed: dict[str, MinerStanding] = field(default_factory=dict)
    audits: list[AuditRecord] = field(default_factory=list)
    kept: list[KeptAnswer] = field(default_factory=list)
    verified: set[str] = field(default_factory=set)
    """Request ids of answers that agreed, or that nothing is held against."""
    is_raised: bool = False


class Auditor:
    """Draws, recomputes and grades answers that wait."""

    def __init__(
        self,
        *,
        chain: Chain,
        referee: Referee,
        table: CalibrationTable,
        canary: Canary,
        store: ValidatorStore,
        book: StandingBook,
        ledger: BurstLedger,
        tokenizer: Tokenizer,
        clock: Clock,
        settings: Settings,
        sandbox: Sandbox | None = None,
    ) -> None:
        """`sandbox` may be None only where `settings.draws` asks for nothing to be executed."""
        self._chain = chain
        self._referee = referee
        self._table = table
        self._canary = canary
        self._store = store
        self._book = book
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._clock = clock
        self._settings = settings
        self._rules = settings.rules
        self._sandbox = sandbox
        self._audits_until_canary = 0
        self._block_hashes: dict[int, bytes] = {}

    async def run(self) -> None:
        """Audit for ever. Raises ChainError, and RefereeUnsoundError, which nobody may outlive."""
        while True:
            settled = await self.audit_once()
            if settled < self._settings.validator.audit_batch_answers_max:
                await asyncio.sleep(self._settings.validator.audit_interval_seconds)

    async def audit_once(self) -> int:
        """One batch; how many answers wait no longer."""
        if self._audits_until_canary <= 0:
            await self.test_referee()
        waiting = self._store.pending_audits(self._settings.validator.audit_batch_answers_max)
        if not waiting:
            return 0
        drawn, passed_over = await self._draw(waiting)
        if drawn or passed_over:
            scores = await self._score([one.pending.claim for one in drawn])
            grades = [await self._grade(one.pending) for one in drawn]
            self._settle(drawn, scores, grades, passed_over)
            self._audits_until_canary -= len(drawn)
        return len(drawn) + len(passed_over)

    async def test_referee(self) -> None:
        """Raise RefereeUnsoundError unless it tells known-honest from known-tampered answers."""
        canary = self._canary
        scores = await self._score([*canary.honest, *canary.tampered])
        honest = list(zip(canary.honest, scores, strict=False))
        tampered = list(zip(canary.tampered, scores[len(canary.honest) :], strict=True))
        if not is_referee_sound(honest, tampered, self._table, self._settings.evidence):
            raise RefereeUnsoundError(
                "the referee does not tell honest from tampered answers of its own release: "
                "the calibration belongs to other weights, or this machine computes wrongly"
            )
        self._audits_until_canary = self._settings.audit.canary_every_audits

    async def _draw(
        self, waiting: Sequence[PendingAudit]
    ) -> tuple[list[DrawnAnswer], list[DrawnAnswer]]:
        """(audited, passed over); the rest waits for its block. Raises ChainError."""
        drawn: list[DrawnAnswer] = []
        passed_over: list[DrawnAnswer] = []
        open_ones: list[PendingAudit] = []
        for pending in waiting:
            if pending.share_ppm == PPM:
                drawn.append(DrawnAnswer(pending, draw_of(pending)))
            else:
                open_ones.append(pending)
        unnamed = [pending.request_id for pending in open_ones if pending.draw_block is None]
        if unnamed:
            self._store.name_draw_block(unnamed, await self._chain.block_number() + 1)
        named = [pending for pending in open_ones if pending.draw_block is not None]
        if named:
            final = await self._chain.wait_for_block(0)
            for pending in named:
                if pending.draw_block is not None and pending.draw_block <= final:
                    draw_ppm = await self._draw_ppm(pending, pending.draw_block)
                    is_drawn = draw_ppm < pending.share_ppm
                    block_hash = self._block_hashes[pending.draw_block]
                    draw = draw_of(pending, pending.draw_block, block_hash)
                    (drawn if is_drawn else passed_over).append(DrawnAnswer(pending, draw))
        return drawn, passed_over

    async def _draw_ppm(self, pending: PendingAudit, block: int) -> int:
        if block not in self._block_hashes:
            if len(self._block_hashes) >= BLOCK_HASHES_MAX:
                self._block_hashes.clear()
            self._block_hashes[block] = await self._chain.block_hash(block)
        secret = period_secret(self._store.master_secret, pending.period)
        return audit_draw_ppm(pending.response_digest, self._block_hashes[block], secret)

    async def _score(self, claims: Sequence[Claim]) -> list[ClaimScore]:
        return await asyncio.to_thread(self._referee.score, claims) if claims else []

    def _settle(
        self,
        drawn: Sequence[DrawnAnswer],
        scores: Sequence[ClaimScore],
        grades: Sequence[tuple[str, float | None]],
        passed_over: Sequence[DrawnAnswer],
    ) -> None:
        """Fold the batch into the standings, in one step and one transaction."""
        now_us = self._clock.now_ns() // 1000
        batch = _Batch(records=[_pass(one, now_us) for one in passed_over])
        for one, score, graded in zip(drawn, scores, grades, strict=True):
            self._fold(one, score, graded, now_us, batch)
        done = [one.pending.request_id for one in (*drawn, *passed_over)]
        changed = list(batch.changed.values())
        self._store.save_audits(changed, done, batch.audits, batch.records, batch.kept)
        self._book.put(changed)
        for one in (*drawn, *passed_over):
            request_id = one.pending.request_id
            is_good = request_id in batch.verified
            self._ledger.settle(request_id, one.draw.share_ppm, is_verified=is_good)
        if batch.is_raised:
            self._audits_until_canary = 0

    def _fold(
        self,
        one: DrawnAnswer,
        score: ClaimScore,
        graded: tuple[str, float | None],
        now_us: int,
        batch: "_Batch",
    ) -> None:
        pending = one.pending
        hotkey = pending.miner_hotkey
        before = batch.changed.get(hotkey) or self._book.standing(hotkey)
        found = self._readings(pending, score)
        family, quality = graded
        record = Audited(
            at_us=now_us,
            miner_hotkey=hotkey,
            draw=one.draw,
            response_digest=pending.response_digest,
            traffic=pending.traffic,
            readings=None if found is None else dict(found),
            family=family,
            grade_ppm=None if quality is None else round(quality * PPM),
            has_second_opinion=self._settings.validator.second_opinion != "none",
        )
        after = record.apply(before, self._rules)
        batch.changed[hotkey] = after
        if is_verified(before, after, self._settings.scoring, is_covered=found is not None):
            batch.verified.add(pending.request_id)
        batch.records.append(record)
        batch.is_raised |= after.hold is not None and before.hold is None
        if found is not None:
            state = before.evidence[pending.traffic]
            after_it = step(state, found, self._settings.evidence)
            if not after_it.is_alarmed or _is_news(before):
                batch.kept.append(kept_answer(one, score, found, state, after_it, now_us))
        batch.audits.append(
            AuditRecord(
                request_id=pending.request_id,
                miner_hotkey=hotkey,
                traffic=pending.traffic,
                family=family,
                audited_at_ns=now_us * 1000,
                counts=None if found is None else found[Channel.MARGIN].counts,
                grade=quality,
            )
        )
        _say_what_moved(before, after)

    def _readings(self, pending: PendingAudit, score: ClaimScore) -> Readings | None:
        """None if the table covers not this request, or not these two machines."""
        there, here = pending.signed.response.environment, self._referee.environment
        if not self._table.covers(there, here):
            return None
        return readings(pending.claim, score, self._table, pending.traffic)

    async def _grade(self, pending: PendingAudit) -> tuple[str, float | None]:
        """(family, grade): the task is derived again from the secret, and must be the one asked.

        It is another one if the [draws] section changed between question and answer. There is no
        grade where our own sandbox fails.
        """
        if pending.traffic is not Traffic.BENCHMARK:
            return "", None
        secret = period_secret(self._store.master_secret, pending.period)
        task = draw_task(secret, pending.counter, self._settings.draws)
        if self._tokenizer.render(task.prompt) != pending.claim.prompt_token_ids:
            return "", None
        text = self._tokenizer.detokenize(pending.claim.output_token_ids)
        try:
            return task.family, grade(task, text, await self._outcome(task, text))
        except SandboxError as error:
            _log.warning("an answer to %s stays without a grade: %s", task.family, error)
            return task.family, None

    async def _outcome(self, task: Task, answer: str) -> Outcome | None:
        """What came of the answer's program, if it has one. Raises SandboxError."""
        program = program_of(task, answer)
        if program is None:
            return None
        assert self._sandbox is not None, "a validator without a sandbox draws no such task"
        return await asyncio.to_thread(self._sandbox.run, program)


def _pass(one: DrawnAnswer, now_us: int) -> PassedOver:
    return PassedOver(
        at_us=now_us,
        miner_hotkey=one.pending.miner_hotkey,
        draw=one.draw,
        response_digest=one.pending.response_digest,
        traffic=one.pending.traffic,
    )


def _is_news(before: MinerStanding) -> bool:
    """Whether an alarm decides or asks anything: beside an open question or behind a closed gate
    its transcripts must not take the place of those that the question or the verdict is about."""
    return before.closure is None and before.hold is None


def _say_what_moved(before: MinerStanding, after: MinerStanding) -> None:
    if after.closure is not None and before.closure is None:
        _log.warning("gate closed for %s: %s", after.hotkey, after.closure.detail)
    if after.closure is None and before.closure is not None:
        _log.info("gate open again for %s, on probation", after.hotkey)
    if after.hold is not None and before.hold is None:
        _log.warning(
            "new pay held for %s until a second opinion: %s", after.hotkey, after.hold.detail
        )
