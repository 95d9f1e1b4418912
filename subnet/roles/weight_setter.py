"""standings -> scores -> WEIGHTS -> chain, once an epoch, and the anchor after them.

Off the hot path: a slow or failing chain delays weights, never questions. The one writer of the
hotkey's commitment: digest of the next secret and the revealed last one go together.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from protocol.release import Release
from subnet.config import Settings
from subnet.core.book import StandingBook
from subnet.core.burst_plan import BurstPlan
from subnet.core.cover import PERIODS_MAX
from subnet.core.draws import FIRST_PERIOD, anchor_of, period_secret, secret_digest
from subnet.core.earnings import (
    is_any_judged,
    is_settled,
    owed_paid_of,
    pays_of,
    scores_of,
    weights_of,
    withheld_of,
)
from subnet.core.echoes import EchoPool, PeriodStart, Taker, next_pool
from subnet.core.history import EpochIncome, EpochRecord
from subnet.core.packed import pack
from subnet.core.records import RECORD, Paid, TermEnded
from subnet.core.scoring import Score, has_passed_probation
from subnet.core.standing import MinerStanding
from subnet.core.statement import (
    EpochStatement,
    FixedPeriod,
    OpenBurst,
    OpenRecords,
    SignedStatement,
    in_flight_of,
    miner_pays,
    records_root,
    shares_of,
    standings_digest,
)
from subnet.core.weights import version_key
from subnet.ports import Chain, Clock, Metagraph, Signer
from subnet.roles.bursts import BurstLedger
from subnet.store import ValidatorStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One epoch's weights, with all that they rest on, as it was when they were made."""

    standings: tuple[MinerStanding, ...]
    """On this release."""
    remembered: tuple[MinerStanding, ...]
    scores: Mapping[str, Score]
    pays: Mapping[str, int]
    metagraph: Metagraph
    own_uid: int | None
    weights: Mapping[int, int]
    records: OpenRecords
    start: PeriodStart
    """Of the period in use."""
    open_bursts: tuple[OpenBurst, ...]
    burst_plan: BurstPlan


class WeightSetter:
    """Sets weights after every epoch."""

    def __init__(
        self,
        *,
        chain: Chain,
        store: ValidatorStore,
        book: StandingBook,
        ledger: BurstLedger,
        clock: Clock,
        signer: Signer,
        release: Release,
        settings: Settings,
    ) -> None:
        self._chain = chain
        self._store = store
        self._book = book
        self._ledger = ledger
        self._clock = clock
        self._signer = signer
        self._own_hotkey = signer.hotkey
        self._release_digest = release.digest()
        self._settings = settings
        self._rules_digest = settings.rules.digest()
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
            if 0 < self._settings.validator.epochs_max <= self._submissions:
                return
            if self._due_for is None:
                await self._await_epoch()
            await self._submit()

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
        """Send the weights that are due; nothing if nobody was ever judged."""
        epoch = self._due_for
        assert epoch is not None, "weights are due after an epoch"
        metagraph = await self._chain.metagraph()
        self._end_terms()
        outcome = self._outcome(metagraph)
        if outcome.weights:
            key = version_key(self._settings.validator.rules_version, self._rules_digest)
            await self._chain.set_weights(outcome.weights, key)
            epoch = replace(
                epoch,
                submitted_block=metagraph.block,
                version_key=key,
                weights=outcome.weights,
                scores_ppm=outcome.pays,
                is_settled=all(
                    is_settled(one, outcome.scores[one.hotkey], self._settings.rules)
                    for one in outcome.standings
                ),
            )
            self._submissions += 1
            _log.info("weights of block %d accepted: %s", metagraph.block, _shares(outcome.weights))
        else:
            _log.info("nobody was judged yet: no weights at block %d", metagraph.block)
        root = await asyncio.to_thread(records_root, outcome.records.lines)
        packed = await asyncio.to_thread(pack, outcome.records, outcome.remembered)
        fixed = self._store.period_start(self._store.period() + 1)
        pool = await asyncio.to_thread(self._pool, outcome) if fixed is None else fixed.pool
        pool_digest = await asyncio.to_thread(pool.digest)
        # From here on nothing may be waited for: the standings move on meanwhile.
        records = self._paid(outcome) if outcome.weights else []
        moved = [self._book.after(record) for record in records]
        signed = self._signed(epoch, outcome, root, pool_digest)
        self._store.close_epoch(epoch, signed, self._settings.rules, packed, moved, records, pool)
        self._book.put(moved)
        self._due_for = None
        self._store.open_next_period()
        self._is_anchor_due = True

    def _outcome(self, metagraph: Metagraph) -> _Outcome:
        standings = self._book.known()
        scores = scores_of(standings, self._settings.rules)
        pays = pays_of(standings, scores)
        own = metagraph.neuron(self._own_hotkey)
        own_uid = None if own is None else own.uid
        uids = {row.hotkey: row.uid for row in metagraph.neurons}
        is_judged = is_any_judged(standings, self._settings.rules)
        start = self._store.period_start(self._store.period())
        assert start is not None, "weights are set in a period that has begun"
        return _Outcome(
            standings=tuple(standings),
            remembered=tuple(self._book.remembered()),
            scores=scores,
            pays=pays,
            metagraph=metagraph,
            own_uid=own_uid,
            weights=weights_of(pays, uids, own_uid, is_any_judged=is_judged),
            records=self._store.open_records(),
            start=start,
            open_bursts=self._ledger.open_bursts(),
            burst_plan=self._ledger.plan,
        )

    def _pool(self, outcome: _Outcome) -> EchoPool:
        """The users' prompts that the next period may ask again."""
        assert outcome.start.first_counter is not None, "it has begun"
        asked = {one.hotkey for one in outcome.standings}
        rows = [row for row in outcome.metagraph.neurons if row.hotkey in asked]
        owners = {row.hotkey: row.coldkey for row in rows}
        takers = [
            Taker(hotkey=one.hotkey, owner=owners[one.hotkey])
            for one in outcome.standings
            if one.hotkey in owners and has_passed_probation(one, self._settings.scoring)
        ]
        return next_pool(
            outcome.start.pool,
            map(RECORD.validate_json, outcome.records.lines),
            takers,
            turns=outcome.records.next_counter - outcome.start.first_counter,
            rules=self._settings.rules,
            release_digest=self._release_digest,
            owners=owners,
        )

    def _signed(
        self, epoch: EpochRecord, outcome: _Outcome, root: str, pool_digest: str
    ) -> SignedStatement:
        """What the epoch came to."""
        signed = self._store.last_statement()
        before = None if signed is None else signed.statement
        at_us, period, records = self._clock.now_ns() // 1000, self._store.period(), outcome.records
        in_flight = in_flight_of(records.in_flight, before, at_us)
        # A burst may have been drawn by the secret of a period before.
        periods = set(range(max(FIRST_PERIOD, period - PERIODS_MAX), period + 1))
        periods |= {one.begun.period for one in outcome.open_bursts}
        periods |= {one.period for one in in_flight} | {one.period for one in records.waiting}
        said = {} if before is None else {one.period: one for one in before.periods}
        uids = {row.hotkey: row.uid for row in outcome.metagraph.neurons}
        owners = {row.hotkey: row.coldkey for row in outcome.metagraph.neurons}
        statement = EpochStatement(
            validator_hotkey=self._own_hotkey,
            netuid=outcome.metagraph.netuid,
            at_us=at_us,
            epoch_block=epoch.epoch_block,
            period=period,
            periods=(
                *(self._begun(one, said.get(one), outcome.start) for one in sorted(periods)),
                self._fixed(period + 1, pool_digest, None),
            ),
            metagraph_block=outcome.metagraph.block,
            release_digest=self._release_digest,
            rules_digest=self._rules_digest,
            rules_version=self._settings.validator.rules_version,
            records=len(outcome.records.lines),
            records_root=root,
            next_counter=outcome.records.next_counter,
            in_flight=in_flight,
            waiting=records.waiting,
            next_burst=records.next_burst,
            open_bursts=outcome.open_bursts,
            burst_plan=outcome.burst_plan,
            standings_digest=standings_digest(outcome.remembered),
            own_uid=outcome.own_uid,
            miners=miner_pays(outcome.scores, outcome.pays, uids, owners),
            weights=shares_of(outcome.weights),
            previous=None if before is None else before.digest(),
        )
        return SignedStatement(
            statement=statement, signature=self._signer.sign(statement.signing_bytes())
        )

    def _begun(self, period: int, said: FixedPeriod | None, in_use: PeriodStart) -> FixedPeriod:
        """What is fixed of a period that has begun: as it was `said` in the statement before.

        A pool may be large and there are many: only one that no statement named is read again.
        """
        if said is not None and said.first_counter is not None:
            return said
        start = in_use if period == self._store.period() else self._store.period_start(period)
        assert start is not None, "a request in flight is of a period that is still kept"
        pool_digest = start.pool.digest() if said is None else said.pool_digest
        return self._fixed(period, pool_digest, start.first_counter)

    def _fixed(self, period: int, pool_digest: str, first_counter: int | None) -> FixedPeriod:
        return FixedPeriod(
            period=period,
            secret_digest=secret_digest(period_secret(self._store.master_secret, period)).hex(),
            pool_digest=pool_digest,
            first_counter=first_counter,
        )

    def _end_terms(self) -> None:
        """Close the gates whose second opinion did not come within an epoch."""
        now_us = self._clock.now_ns() // 1000
        records = [
            record
            for before in self._book.known()
            if self._book.after(record := TermEnded(at_us=now_us, miner_hotkey=before.hotkey))
            is not before
        ]
        over = [self._book.after(record) for record in records]
        for standing in over:
            assert standing.closure is not None, "the end of a term closes the gate"
            _log.warning("gate closed for %s: %s", standing.hotkey, standing.closure.detail)
        if over:
            self._store.save_moves(over, records)
            self._book.put(over)

    def _paid(self, outcome: _Outcome) -> list[Paid]:
        """What the accepted weights withheld or made good."""
        now_us = self._clock.now_ns() // 1000
        records = [
            Paid(
                at_us=now_us,
                miner_hotkey=standing.hotkey,
                withheld_ppm=withheld_of(outcome.scores[standing.hotkey]),
                owed_ppm=owed_paid_of(standing, outcome.scores[standing.hotkey]),
            )
            for standing in outcome.standings
        ]
        return [one for one in records if one.withheld_ppm is not None or one.owed_ppm]

    async def _commit_anchor(self) -> None:
        data = anchor_of(
            self._store.master_secret,
            self._store.period(),
            bytes.fromhex(self._rules_digest),
            self._store.statements_head(),
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


def _shares(weights: Mapping[int, int]) -> str:
    total = sum(weights.values())
    return ", ".join(f"uid {uid} {share / total:.3f}" for uid, share in sorted(weights.items()))
