"""standings -> scores -> WEIGHTS -> chain, once an epoch, and the anchor after them.

Off the hot path: a slow or failing chain delays weights, never questions. The one writer of the
hotkey's commitment: digest of the next secret and the revealed last one go together.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace

import rfc8785

from subnet.config import Settings
from subnet.core.audit import PPM
from subnet.core.draws import FIRST_PERIOD, anchor_of
from subnet.core.history import EpochIncome, EpochRecord
from subnet.core.scoring import Score, pay_ppm, release_quality_ppm, score_miner
from subnet.core.second_opinion import after_term, after_weights
from subnet.core.standing import MinerStanding
from subnet.core.weights import version_key, weights_from_scores
from subnet.ports import Chain, Clock, Metagraph, ValidatorStore
from subnet.roles.book import StandingBook

RULE_SECTIONS = ("draws", "audit", "evidence", "standing", "scoring")
"""The settings that scores depend on; their digest goes into the version key and the anchor."""

_log = logging.getLogger(__name__)


def rules_digest(settings: Settings) -> str:
    """SHA-256 of the scoring parameters as canonical JSON, lower-case hex."""
    rules = settings.model_dump(mode="json", include=set(RULE_SECTIONS))
    return hashlib.sha256(rfc8785.dumps(rules)).hexdigest()


class WeightSetter:
    """Sets weights after every epoch."""

    def __init__(
        self,
        *,
        chain: Chain,
        store: ValidatorStore,
        book: StandingBook,
        clock: Clock,
        own_hotkey: str,
        settings: Settings,
    ) -> None:
        self._chain = chain
        self._store = store
        self._book = book
        self._clock = clock
        self._own_hotkey = own_hotkey
        self._settings = settings
        self._rules_digest = rules_digest(settings)
        self._submissions = 0
        self._due_for: EpochRecord | None = None
        """The epoch whose weights the chain has not accepted yet."""
        self._is_anchor_due = True

    async def run(self) -> None:
        """Set weights until `epochs_max` submissions, or for ever. Raises ChainError.

        Called again after a failure it goes on where it was: an epoch's weights are due until the
        chain has them.
        """
        await self._wait_for_permit()
        while True:
            while self._is_anchor_due:
                await self._commit_anchor()
            if self._due_for is None:
                await self._await_epoch()
            await self._submit()
            if 0 < self._settings.validator.epochs_max <= self._submissions:
                return

    async def _wait_for_permit(self) -> None:
        is_said = False
        while True:
            metagraph = await self._chain.metagraph()
            own = metagraph.neuron(self._own_hotkey)
            if own is not None and own.has_validator_permit:
                return
            if not is_said:
                is_said = True
                _log.warning("no validator permit yet at block %d: no weights", metagraph.block)
            await self._chain.wait_for_epoch()

    async def _await_epoch(self) -> None:
        epoch_block = await self._chain.wait_for_epoch()
        metagraph = await self._chain.metagraph()
        incomes = tuple(
            EpochIncome(row.hotkey, row.incentive, row.emission_rao) for row in metagraph.neurons
        )
        self._due_for = EpochRecord(epoch_block, incomes)
        self._store.save_epoch(self._due_for)

    async def _submit(self) -> None:
        """Send the weights that are due; nothing if nobody was ever audited."""
        record = self._due_for
        assert record is not None, "weights are due after an epoch"
        metagraph = await self._chain.metagraph()
        self._end_terms()
        scored = self.scores()
        made_from = {one.hotkey: one for one in self._book.known()}
        scores = {hotkey: pay_ppm(made_from[hotkey], score) for hotkey, score in scored.items()}
        weights = self._weights(metagraph, scores)
        if weights:
            key = version_key(self._settings.validator.rules_version, self._rules_digest)
            await self._chain.set_weights(weights, key)
            block = metagraph.block
            moved = self._moved_by_weights(made_from, scored)
            self._store.save_epoch(
                replace(
                    record,
                    submitted_block=block,
                    version_key=key,
                    weights=weights,
                    scores_ppm=scores,
                    is_settled=all(_is_settled(score) for score in scored.values()),
                ),
                moved,
            )
            self._book.put(moved)
            self._submissions += 1
            _log.info("weights of block %d accepted: %s", block, _shares(weights))
        else:
            _log.info("no answer was audited yet: no weights at block %d", metagraph.block)
        self._due_for = None
        self._store.open_next_period()
        self._is_anchor_due = True

    def _end_terms(self) -> None:
        """Close the gates whose second opinion did not come within an epoch."""
        now_ns = self._clock.now_ns()
        over = [
            after
            for before in self._book.known()
            if (after := after_term(before, now_ns)) is not before
        ]
        for standing in over:
            assert standing.closure is not None, "the end of a term closes the gate"
            _log.warning("gate closed for %s: %s", standing.hotkey, standing.closure.detail)
        if over:
            self._store.save_standings(over)
            self._book.put(over)

    def _moved_by_weights(
        self, made_from: Mapping[str, MinerStanding], scored: Mapping[str, Score]
    ) -> list[MinerStanding]:
        """What the accepted weights withheld or made good, on the standings as they are now."""
        moved: list[MinerStanding] = []
        for hotkey, score in scored.items():
            is_held = score.gate_ppm > 0 and score.hold_ppm == 0
            is_paid = score.gate_ppm > 0 and score.hold_ppm > 0
            withheld_ppm = score.unheld_ppm if is_held else None
            owed_ppm = made_from[hotkey].owed_ppm if is_paid else 0
            if withheld_ppm is not None or owed_ppm:
                now = self._book.standing(hotkey)
                moved.append(after_weights(now, withheld_ppm, owed_ppm))
        return moved

    def scores(self) -> dict[str, Score]:
        """The score of every known miner by hotkey."""
        standings = self._book.known()
        scoring, evidence = self._settings.scoring, self._settings.evidence
        quality = release_quality_ppm(standings, scoring)
        return {
            standing.hotkey: score_miner(standing, quality, scoring, evidence)
            for standing in standings
        }

    def _weights(self, metagraph: Metagraph, scores: Mapping[str, int]) -> dict[int, int]:
        """Shares by uid.

        When everyone who was audited earned nothing, the validator weighs itself alone: consensus
        drops that, so nobody is paid, while setting nothing would keep paying by old weights.
        """
        own = metagraph.neuron(self._own_hotkey)
        own_uid = None if own is None else own.uid
        uids = {row.hotkey: row.uid for row in metagraph.neurons}
        weights = weights_from_scores(scores, uids, own_uid)
        if not weights and own_uid is not None and any(one.audited for one in self._book.known()):
            return {own_uid: 1}
        return weights

    async def _commit_anchor(self) -> None:
        data = anchor_of(
            self._store.master_secret, self._store.period(), bytes.fromhex(self._rules_digest)
        ).to_bytes()
        if await self._chain.commitment(self._own_hotkey) != data:
            await self._chain.commit(data)
        self._is_anchor_due = False
        if self._store.period() < FIRST_PERIOD:
            await self._open_first_period()

    async def _open_first_period(self) -> None:
        """Let the prober begin, once the block that holds the digest of its secret is final."""
        await self._chain.wait_for_block(await self._chain.block_number() + 1)
        self._store.open_next_period()
        self._is_anchor_due = True


def _is_settled(score: Score) -> bool:
    """Whether nothing about a miner is still to be decided."""
    return score.gate_ppm == 0 or (score.hold_ppm == PPM and score.probation_ppm == PPM)


def _shares(weights: Mapping[int, int]) -> str:
    total = sum(weights.values())
    return ", ".join(f"uid {uid} {share / total:.3f}" for uid, share in sorted(weights.items()))
