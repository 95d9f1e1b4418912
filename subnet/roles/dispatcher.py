"""draw -> ASK -> structure -> pending audit: the one way in which miners are asked.

Benchmarks, echoes and users' own prompts leave through this dispatcher: the same message,
parameters drawn from the same mix, one limit of tokens; any may carry a structure. When each leaves
and to whom is up to the probers and the users' desk. What is left to tell them apart is in
`docs/gaming.md`. Each miner gets tasks of its own.
"""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from protocol.inference import InferenceRequest, InferenceResponse
from protocol.release import Release
from subnet.config import Settings
from subnet.core.audit import Traffic, answer_share_ppm
from subnet.core.audited import PendingAudit, SignedAnswer
from subnet.core.book import StandingBook
from subnet.core.draws import draw_sampling, draw_task, period_secret, request_id, request_nonce
from subnet.core.faults import is_over_asked
from subnet.core.gaming import ExchangeMark, ids_digest, sketch_of
from subnet.core.history import UserPrompt
from subnet.core.records import Answered, Faulted, Violated, prompt_digest
from subnet.core.scoring import answer_times, is_suspect
from subnet.core.standing import Blame, blame_of_refusal
from subnet.core.verification.claim import claim_of
from subnet.core.verification.structure import structural_fault
from subnet.ports import Clock, Exchange, Fault, Grammars, MinerClient, Tokenizer
from subnet.roles.bursts import BurstLedger
from subnet.roles.echo_desk import EchoDesk
from subnet.roles.faults import STALLS, FaultJudge
from subnet.roles.peer import Peer
from subnet.store import ValidatorStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """Which draw of which period's secret a request comes from; no two requests share one."""

    period: int
    counter: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One request with everything that its draws came from."""

    request: InferenceRequest
    traffic: Traffic
    turn: Turn
    prompt: UserPrompt | None
    """A user's that waits for its answer."""
    prompt_digest: str | None
    """What names the prompt in the records."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended."""

    exchange: Exchange
    blame: Blame | None
    """Whose fault it is that there is no sound answer; None if there is one."""

    @property
    def wait_seconds(self) -> float:
        """How long the miner asked us to wait, if it did so honestly."""
        refusal = self.exchange.refusal
        if refusal is None or self.blame not in (Blame.BACK_PRESSURE, Blame.GATEWAY):
            return 0.0
        return (refusal.rejection.retry_after_ms or 0) / 1000


class Dispatcher:
    """Asks one miner one thing, and remembers what came of it."""

    def __init__(
        self,
        *,
        client: MinerClient,
        store: ValidatorStore,
        book: StandingBook,
        faults: FaultJudge,
        ledger: BurstLedger,
        tokenizer: Tokenizer,
        grammars: Grammars | None,
        clock: Clock,
        own_hotkey: str,
        release: Release,
        settings: Settings,
    ) -> None:
        self._client = client
        self._store = store
        self._book = book
        self._faults = faults
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._grammars = grammars
        self._clock = clock
        self._own_hotkey = own_hotkey
        self._release = release
        self._release_digest = release.digest()
        self._settings = settings
        self._echoes = EchoDesk(store=store, settings=settings, release_digest=self._release_digest)
        self._bars = settings.scoring.bars_of(self._release_digest)
        self._in_flight: Counter[str] = Counter()
        """Requests, by hotkey."""
        self._quiet_until_us: Counter[str] = Counter()
        """Until when a miner asked us to wait, by hotkey, by the monotonic timer."""

    def next_turn(self) -> Turn:
        """A turn that is now due: whoever takes it must `ask` by it."""
        return Turn(self._store.period(), self._store.reserve_counter())

    def in_flight(self, hotkey: str) -> int:
        """How many requests of ours a miner has."""
        return self._in_flight[hotkey]

    def must_wait(self, hotkey: str) -> bool:
        """Whether a miner said honestly that it is full, and named a later time."""
        return self._clock.monotonic_us() < self._quiet_until_us[hotkey]

    def can_ask(self, prompt: UserPrompt) -> bool:
        """Whether an answer to it could be checked."""
        return prompt.structure is None or self._grammars is not None

    async def ask(self, peer: Peer, turn: Turn, prompt: UserPrompt | None = None) -> Outcome:
        """One request to one miner, from draw to saved standing: a user's, or one of our own."""
        hotkey = peer.endpoint.hotkey
        dispatch = self._draw_dispatch(turn, hotkey, prompt)
        others = self._in_flight[hotkey]
        self._in_flight[hotkey] += 1
        sent_us = self._clock.monotonic_us()
        try:
            exchange = await self._client.infer(peer.endpoint, dispatch.request)
        finally:
            self._in_flight[hotkey] -= 1
        if exchange.fault is not None or exchange.response is None:
            is_full = is_over_asked(others, peer.concurrent_requests_max)
            blame = await self._blame(exchange, is_full=is_full)
            self._record_fault(dispatch, exchange, blame)
            outcome = Outcome(exchange, blame)
            wait_us = round(outcome.wait_seconds * 1e6)
            until_us = self._clock.monotonic_us() + wait_us
            self._quiet_until_us[hotkey] = max(self._quiet_until_us[hotkey], until_us)
            return outcome
        return Outcome(exchange, self._record(dispatch, exchange, exchange.response, sent_us))

    async def _blame(self, exchange: Exchange, *, is_full: bool) -> Blame:
        if exchange.fault in STALLS:
            return await self._faults.blame_of_stall()
        if exchange.fault is not Fault.REFUSED:
            return Blame.MINER
        rejection = None if exchange.refusal is None else exchange.refusal.rejection
        blame = blame_of_refusal(rejection, self._settings.standing)
        return Blame.GATEWAY if blame is Blame.BACK_PRESSURE and is_full else blame

    def _draw_dispatch(self, turn: Turn, hotkey: str, prompt: UserPrompt | None) -> Dispatch:
        counter = turn.counter
        secret = period_secret(self._store.master_secret, turn.period)
        echo = self._echoes.drawn(turn.period, counter, hotkey) if prompt is None else None
        of_user = prompt or echo
        digest: str | None
        if of_user is None:
            traffic = Traffic.BENCHMARK
            task = draw_task(secret, counter, self._settings.draws)
            text, digest = task.prompt, prompt_digest(task.prompt)
            structure = None if self._grammars is None else task.structure
            sampling = draw_sampling(secret, counter, self._settings.draws, structure)
        else:
            traffic = Traffic.ORGANIC if echo is None else Traffic.ECHO
            text, digest = of_user.text, of_user.digest if of_user.has_consent else None
            sampling = draw_sampling(secret, counter, self._settings.draws)
            sampling = sampling.model_copy(update={"structure": of_user.structure})
        request = InferenceRequest(
            request_id=request_id(secret, counter),
            release_digest=self._release_digest,
            nonce=request_nonce(secret, counter),
            prompt_token_ids=self._tokenizer.render(text),
            sampling=sampling,
            timeout_ms=round(self._settings.validator.request_timeout_seconds * 1000),
        )
        return Dispatch(request, traffic, turn, prompt, digest)

    def _record(
        self, dispatch: Dispatch, exchange: Exchange, response: InferenceResponse, sent_us: int
    ) -> Blame | None:
        """Save a violation, which is the miner's, or an answer that waits for its audit."""
        violation = structural_fault(
            exchange.token_ids,
            response.finish_reason,
            prompt_tokens=len(dispatch.request.prompt_token_ids),
            tokens_max=dispatch.request.sampling.tokens_max,
            release=self._release,
            refused_at=self._refused_at(dispatch.request, exchange),
        )
        if violation is not None:
            _log.warning(
                "miner %s: %s in request %s",
                exchange.miner_hotkey,
                violation,
                dispatch.request.request_id,
            )
            self._save(
                Violated(
                    **self._ending(dispatch, exchange),
                    response=response,
                    signature=exchange.response_signature or "",
                    word=violation,
                ),
                _mark(dispatch, exchange, violation),
            )
            return Blame.MINER
        prompt = dispatch.prompt
        if prompt is not None:
            prompt = replace(
                prompt,
                answer=self._tokenizer.detokenize(exchange.token_ids),
                answered_by=exchange.miner_hotkey,
                request_id=dispatch.request.request_id,
            )
        times = answer_times(exchange.token_times_us, exchange.total_us, self._bars)
        answered = Answered(
            **self._ending(dispatch, exchange),
            response=response,
            signature=exchange.response_signature or "",
            first_token_us=times.first_token_us,
            gap_us_max=times.gap_us,
            token_us_mean=times.token_us_mean,
            total_us=times.total_us,
            in_burst=self._ledger.in_burst(exchange, sent_us),
        )
        pending = self._pending(dispatch, exchange, answered)
        self._save(answered, _mark(dispatch, exchange, None), pending, prompt)
        self._ledger.note(answered, answered.latency_ppm(self._settings.rules))
        return None

    def _save(
        self,
        record: Answered | Violated | Faulted,
        mark: ExchangeMark,
        pending: PendingAudit | None = None,
        prompt: UserPrompt | None = None,
    ) -> None:
        after = self._book.after(record)
        self._store.save_ending(after, record, pending, prompt, mark)
        self._book.put([after])

    def _ending(self, dispatch: Dispatch, exchange: Exchange) -> dict[str, Any]:
        """What every ending of a request records."""
        return {
            "at_us": self._clock.now_ns() // 1000,
            "miner_hotkey": exchange.miner_hotkey,
            "period": dispatch.turn.period,
            "counter": dispatch.turn.counter,
            "request_id": dispatch.request.request_id,
            "traffic": dispatch.traffic,
            "prompt_digest": dispatch.prompt_digest,
            "request_digest": dispatch.request.digest(),
        }

    def _refused_at(self, request: InferenceRequest, exchange: Exchange) -> int | None:
        structure = request.sampling.structure
        if structure is None:
            return None
        assert self._grammars is not None, "only what can be checked is asked for"
        return self._grammars.refused_at(structure, exchange.token_ids)

    def _record_fault(self, dispatch: Dispatch, exchange: Exchange, blame: Blame) -> None:
        fault = exchange.fault or Fault.BROKEN_STREAM
        word = exchange.rejection_reason if fault is Fault.REFUSED else None
        _log.info("miner %s: %s %s", exchange.miner_hotkey, word or fault, exchange.fault_detail)
        self._save(
            Faulted(
                **self._ending(dispatch, exchange),
                word=word or fault,
                blame=blame,
                refusal=exchange.refusal,
                refusal_signature=exchange.refusal_signature,
            ),
            _mark(dispatch, exchange, word or fault),
        )
        self._ledger.note_fault(blame)

    def _pending(self, dispatch: Dispatch, exchange: Exchange, answered: Answered) -> PendingAudit:
        request, response = dispatch.request, answered.response
        standing = self._book.standing(exchange.miner_hotkey)
        share = answer_share_ppm(
            dispatch.traffic,
            is_in_burst=answered.in_burst is not None,
            is_suspect=is_suspect(standing, self._settings.scoring, self._settings.evidence),
            params=self._settings.audit,
        )
        return PendingAudit(
            request_id=request.request_id,
            miner_hotkey=exchange.miner_hotkey,
            traffic=dispatch.traffic,
            period=dispatch.turn.period,
            counter=dispatch.turn.counter,
            response_digest=response.digest(),
            claim=claim_of(
                request,
                exchange.token_ids,
                exchange.logprobs,
                response.finish_reason,
                miner_hotkey=exchange.miner_hotkey,
                caller_hotkey=self._own_hotkey,
            ),
            signed=SignedAnswer(request, response, exchange.response_signature or ""),
            share_ppm=share,
            has_consent=dispatch.prompt is None or dispatch.prompt.has_consent,
        )


def _mark(dispatch: Dispatch, exchange: Exchange, fault: str | None) -> ExchangeMark:
    times = exchange.token_times_us
    return ExchangeMark(
        request_id=dispatch.request.request_id,
        miner_hotkey=exchange.miner_hotkey,
        traffic=dispatch.traffic,
        prompt_digest=ids_digest(dispatch.request.prompt_token_ids),
        sent_at_ns=exchange.sent_at_ns,
        fault=fault,
        first_token_us=times[0] if times else 0,
        total_us=exchange.total_us,
        tokens=len(exchange.token_ids),
        sketch=sketch_of(exchange.token_ids) if fault is None else b"",
    )
