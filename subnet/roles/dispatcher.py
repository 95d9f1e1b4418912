"""draw -> ASK -> structure -> pending audit: the one way in which miners are asked.

Benchmarks and users' own prompts leave through this dispatcher: the same message, parameters drawn
from the same mix, one limit of tokens; either may carry a structure. When each leaves and to whom
is up to the probers and the users' desk. What is left to tell them apart is in `docs/gaming.md`.
Each miner gets tasks of its own.
"""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from protocol.inference import InferenceRequest, InferenceResponse
from protocol.release import Release
from subnet.config import Settings
from subnet.core.audit import Traffic
from subnet.core.audited import PendingAudit, SignedAnswer
from subnet.core.book import StandingBook
from subnet.core.draws import draw_sampling, draw_task, period_secret, request_id, request_nonce
from subnet.core.faults import is_over_asked
from subnet.core.gaming import ExchangeMark, ids_digest, sketch_of
from subnet.core.history import UserPrompt
from subnet.core.records import Answered, Faulted, Violated, prompt_digest
from subnet.core.scoring import answer_times
from subnet.core.standing import Blame, blame_of_refusal
from subnet.core.verification.claim import claim_of
from subnet.core.verification.structure import structural_fault
from subnet.ports import Clock, Exchange, Fault, Grammars, MinerClient, Tokenizer
from subnet.roles.bursts import BurstLedger
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
    task_digest: str | None
    """`prompt_digest` of a benchmark's prompt."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended."""

    exchange: Exchange
    blame: Blame | None
    """Whose fault it is that there is no sound answer; None if there is one."""


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
        self._bars = settings.scoring.bars_of(self._release_digest)
        self._in_flight: Counter[str] = Counter()
        """Requests, by hotkey."""

    def next_turn(self) -> Turn:
        """A turn that is now due: whoever takes it must `ask` by it."""
        return Turn(self._store.period(), self._store.reserve_counter())

    def in_flight(self, hotkey: str) -> int:
        """How many requests of ours a miner has."""
        return self._in_flight[hotkey]

    def can_ask(self, prompt: UserPrompt) -> bool:
        """Whether an answer to it could be checked."""
        return prompt.structure is None or self._grammars is not None

    async def ask(self, peer: Peer, turn: Turn, prompt: UserPrompt | None = None) -> Outcome:
        """One request to one miner, from draw to saved standing: a user's, or a benchmark."""
        hotkey = peer.endpoint.hotkey
        dispatch = self._draw_dispatch(turn, prompt)
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
            return Outcome(exchange, blame)
        return Outcome(exchange, self._record(dispatch, exchange, exchange.response, sent_us))

    async def _blame(self, exchange: Exchange, *, is_full: bool) -> Blame:
        if exchange.fault in STALLS:
            return await self._faults.blame_of_stall()
        if exchange.fault is not Fault.REFUSED:
            return Blame.MINER
        blame = blame_of_refusal(exchange.rejection_reason)
        return Blame.GATEWAY if blame is Blame.BACK_PRESSURE and is_full else blame

    def _draw_dispatch(self, turn: Turn, prompt: UserPrompt | None) -> Dispatch:
        counter = turn.counter
        secret = period_secret(self._store.master_secret, turn.period)
        task = draw_task(secret, counter, self._settings.draws)
        text = task.prompt if prompt is None else prompt.text
        structure = None if self._grammars is None else task.structure
        sampling = draw_sampling(secret, counter, self._settings.draws, structure)
        if prompt is not None:
            sampling = sampling.model_copy(update={"structure": prompt.structure})
        request = InferenceRequest(
            request_id=request_id(secret, counter),
            release_digest=self._release_digest,
            nonce=request_nonce(secret, counter),
            prompt_token_ids=self._tokenizer.render(text),
            sampling=sampling,
            timeout_ms=round(self._settings.validator.request_timeout_seconds * 1000),
        )
        traffic = Traffic.BENCHMARK if prompt is None else Traffic.ORGANIC
        task_digest = prompt_digest(task.prompt) if prompt is None else None
        return Dispatch(request, traffic, turn, prompt, task_digest)

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
        pending = self._pending(dispatch, exchange, response)
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
        )
        self._save(answered, _mark(dispatch, exchange, None), pending, prompt)
        self._ledger.note(exchange, sent_us, answered.latency_ppm(self._settings.rules))
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
            "prompt_digest": dispatch.task_digest,
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

    def _pending(
        self, dispatch: Dispatch, exchange: Exchange, response: InferenceResponse
    ) -> PendingAudit:
        request = dispatch.request
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
