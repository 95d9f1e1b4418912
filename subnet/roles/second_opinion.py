"""held alarm -> SECOND ENGINE -> verdict: nobody is punished on one engine's word alone.

A loop of its own, as loading an engine takes longer than a batch of audits. The question and its
answer lie in the store, so a validator that is killed between them asks again when it is back.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subnet.config import Settings
from subnet.core.audit import is_referee_sound
from subnet.core.book import StandingBook
from subnet.core.bundle import EvidenceRules
from subnet.core.gate import Hold
from subnet.core.records import Opined
from subnet.core.second_opinion import (
    AlarmWindow,
    Opinion,
    OpinionRecord,
    SecondScores,
    Verdict,
    claims_of,
    opinion_on,
    power,
)
from subnet.core.standing import MinerStanding
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.ports import Clock, OpinionUnavailableError, SecondEngine
from subnet.store import ValidatorStore

TOKENS_AT_ONCE: Final = 200_000
"""Of the alarms that one load of the engine answers, but for the last of them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One open alarm with what it rests on."""

    hotkey: str
    asked: Hold
    window: AlarmWindow
    claims: list[Claim]


class SecondOpinions:
    """Asks the second engine about every alarm that is open."""

    def __init__(
        self,
        *,
        engine: SecondEngine,
        store: ValidatorStore,
        book: StandingBook,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._store = store
        self._book = book
        self._clock = clock
        self._settings = settings.validator
        self._hopeless: dict[str, Hold] = {}
        """Alarms of which too little is left, by hotkey."""
        self._failures: Counter[str] = Counter()
        """Of the engine over one hotkey's transcripts alone."""
        self._is_one_by_one = False

    async def run(self) -> None:
        """Ask for ever; an engine that fails is tried again after a pause that doubles."""
        shortest = self._settings.second_opinion_retry_seconds
        pause = shortest
        while True:
            try:
                await self.settle_once()
            except OpinionUnavailableError as error:
                _log.warning(
                    "no second opinion from %s, next try in %.0f s: %s",
                    self._engine.name,
                    pause,
                    error,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._settings.second_opinion_retry_seconds_max)
            else:
                pause = shortest
                await asyncio.sleep(self._settings.audit_interval_seconds)

    async def settle_once(self) -> int:
        """Load the engine once for what is open; how many alarms it decided.

        Raises OpinionUnavailableError. What failed alone waits behind the others from then on, so
        that transcripts which break the engine keep nobody else waiting.
        """
        batch = self._batch()
        if not batch:
            return 0
        claims = [claim for question in batch for claim in question.claims]
        rules = batch[0].window.rules
        try:
            found = await self._engine.score(claims, rules.table.slack_logits)
            _assert_sound(found, rules)
        except OpinionUnavailableError:
            self._is_one_by_one = True
            if len(batch) == 1:
                self._failures[batch[0].hotkey] += 1
            raise
        self._is_one_by_one = False
        self._failures -= Counter(dict.fromkeys(self._failures, 1))
        scores = iter(found.scores)
        return sum(
            self._settle(question, list(itertools.islice(scores, len(question.claims))))
            for question in batch
        )

    def _batch(self) -> list[Question]:
        """The open questions that one load of the engine answers; all rest on the same rules."""
        waiting = sorted(
            (
                (self._failures[standing.hotkey], standing.hold.at_ns, standing.hotkey)
                for standing in self._book.known()
                if standing.hold is not None
                and self._hopeless.get(standing.hotkey) != standing.hold
            ),
        )
        batch: list[Question] = []
        for failures, _, hotkey in waiting:
            is_alone = bool(failures) or self._is_one_by_one
            if batch and (is_alone or sum(map(_tokens, batch)) >= TOKENS_AT_ONCE):
                break
            question = self._question(self._book.standing(hotkey))
            if question is not None and (not batch or _rules(question) == _rules(batch[0])):
                batch.append(question)
            if batch and is_alone:
                break
        return batch

    def _question(self, standing: MinerStanding) -> Question | None:
        asked = standing.hold
        assert asked is not None, "only an open alarm is asked about"
        window = self._store.alarm_window(standing.hotkey, standing.release_digest)
        if window is None or window.traffic is not asked.traffic:
            self._give_up(standing.hotkey, asked)
            return None
        return Question(standing.hotkey, asked, window, claims_of(window))

    def _settle(self, question: Question, scores: Sequence[ClaimScore]) -> bool:
        opinion = opinion_on(question.window, question.claims, scores)
        if opinion.verdict is Verdict.OPEN:
            self._give_up(question.hotkey, question.asked)
            return False
        return self._save(question.hotkey, question.asked, opinion)

    def _save(self, hotkey: str, asked: Hold, opinion: Opinion) -> bool:
        """Fold the opinion into the standing as it is now; the miner was audited meanwhile."""
        before, now_us = self._book.standing(hotkey), self._clock.now_ns() // 1000
        record = Opined(
            at_us=now_us,
            miner_hotkey=hotkey,
            asked=asked,
            engine=self._engine.name,
            verdict=opinion.verdict,
            first_log_evidence=opinion.first_log_evidence,
            second_log_evidence=opinion.second_log_evidence,
            answers=opinion.answers,
        )
        after = self._book.after(record)
        if after is before:
            return False
        found = OpinionRecord(
            miner_hotkey=hotkey,
            release_digest=after.release_digest,
            traffic=asked.traffic,
            engine=self._engine.name,
            verdict=opinion.verdict,
            at_ns=now_us * 1000,
            first_log_evidence=opinion.first_log_evidence,
            second_log_evidence=opinion.second_log_evidence,
            answers=opinion.answers,
        )
        self._store.save_opinion(after, found, record)
        self._book.put([after])
        self._say(found, after)
        return True

    def _say(self, record: OpinionRecord, after: MinerStanding) -> None:
        if record.verdict is Verdict.CONFIRMED and after.closure is not None:
            _log.warning("gate closed for %s: %s", after.hotkey, after.closure.detail)
            return
        _log.error(
            "your two engines disagree about %s: evidence %s by the referee, %s by %s over %d "
            "answers; the miner's pay is released, one of the engines computes wrongly",
            after.hotkey,
            power(record.first_log_evidence),
            power(record.second_log_evidence),
            record.engine,
            record.answers,
        )

    def _give_up(self, hotkey: str, asked: Hold) -> None:
        self._hopeless[hotkey] = asked
        _log.warning(
            "no second opinion on %s: too few of the transcripts behind its alarm are kept",
            hotkey,
        )


def _assert_sound(found: SecondScores, rules: EvidenceRules) -> None:
    """A blind second engine would contradict, and so clear, every cheat."""
    canary, scores = found.canary, found.canary_scores
    honest = list(zip(canary.honest, scores, strict=False))
    tampered = list(zip(canary.tampered, scores[len(honest) :], strict=True))
    if not is_referee_sound(honest, tampered, rules.table, rules.evidence):
        raise OpinionUnavailableError(
            "it does not tell honest from tampered answers of its own release"
        )


def _rules(question: Question) -> str:
    return question.window.rules.digest()


def _tokens(question: Question) -> int:
    return sum(
        len(claim.prompt_token_ids) + len(claim.output_token_ids) for claim in question.claims
    )
