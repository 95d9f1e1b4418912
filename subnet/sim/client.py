"""request -> CLIENT -> exchange: `ports.MinerClient` over the simulated wire."""

import asyncio
import hashlib
import math
from collections import Counter
from functools import lru_cache
from typing import Final

from protocol.errors import Refusal, Rejection, RejectionReason
from protocol.handshake import MinerCard
from protocol.inference import InferenceRequest, InferenceResponse
from protocol.sampling import derive_seed
from subnet.core.admission import AdmissionParams
from subnet.core.benchmark import Task
from subnet.core.draws import DrawParams, draw_task, period_secret, request_id
from subnet.ports import Endpoint, Exchange, Fault
from subnet.sim.answers import Answers, SimTokenizer
from subnet.sim.fleet import Fleet, Operator
from subnet.sim.loop import START_SECONDS
from subnet.sim.network import Network
from subnet.sim.profiles import HONEST, MeasuredAnswer, Profiles, ProfilesError
from subnet.sim.store import MemoryStore
from subnet.sim.strategy import Move, Seen, StrategyError

OPEN: Final = "open"
"""The family whose prompts are what users ask."""
LOOK_UP_SHARE: Final = 0.05
"""What takes less GPU than this takes none: a look-up."""
RETRY_AFTER_MS: Final = AdmissionParams().capacity_retry_after_ms
_SIGNATURE: Final = "0" * 128
_HASH: Final = "0" * 64


class SimClient:
    """What one validator's requests meet."""

    def __init__(
        self,
        *,
        hotkey: str,
        store: MemoryStore,
        fleet: Fleet,
        network: Network,
        answers: Answers,
        profiles: Profiles,
        draws: DrawParams,
    ) -> None:
        self.hotkey = hotkey
        self.friends: frozenset[str] = frozenset()
        """Strategies that this validator leaks its tasks to."""
        self.faults: Counter[str] = Counter()
        self._store = store
        self._fleet = fleet
        self._network = network
        self._answers = answers
        self._profiles = profiles
        self._draws = draws
        self._tokenizer = SimTokenizer(answers)
        self._turns: dict[str, tuple[int, int]] = {}

    async def handshake(self, endpoint: Endpoint, timeout_seconds: float) -> MinerCard | Fault:
        """A card, or the fault of whoever cannot be reached."""
        operator = self._reached(endpoint.hotkey)
        if operator is None or self._network.is_lost():
            await asyncio.sleep(timeout_seconds)
            return Fault.UNREACHABLE
        await asyncio.sleep(self._network.delay_seconds() + self._network.delay_seconds())
        return self._fleet.card(endpoint.hotkey)

    async def infer(self, endpoint: Endpoint, request: InferenceRequest) -> Exchange:
        """One exchange, from the first byte sent to the last received."""
        hotkey, sent = endpoint.hotkey, asyncio.get_running_loop().time()
        timeout = request.timeout_ms / 1000
        task, is_asked = self._task(request)
        out = self._network.delay_seconds()
        await asyncio.sleep(out)
        operator = self._reached(hotkey)
        if operator is None or self._network.is_lost():
            return await self._failed(request, hotkey, sent, timeout, Fault.TIMEOUT)
        seen = self._seen(operator, hotkey, request, task if is_asked else None)
        move = operator.strategy.move(seen)
        engine = operator.engine
        if move.is_silent or move.is_refused:
            operator.note(self._answer(operator, seen, HONEST), share=0.0)
        if move.is_silent:
            return await self._failed(request, hotkey, sent, timeout, Fault.TIMEOUT)
        share = 0.0 if move.is_aside else self._fleet.prices.share(move.behaviour)
        is_load = share > LOOK_UP_SHARE
        if move.is_refused or (is_load and engine.running >= engine.slots):
            back = self._network.delay_seconds()
            return await self._failed(request, hotkey, sent, out + back, Fault.REFUSED)
        answer = self._answer(operator, seen, move.behaviour)
        engine.running += is_load
        first, gap = engine.times_seconds(answer)
        first, gap = move.wait_seconds + first * move.pace, gap * move.pace
        tokens = min(answer.tokens, request.sampling.tokens_max)
        back = self._network.delay_seconds()
        last = first + gap * (tokens - 1)
        held = last if move.held_seconds == math.inf else move.held_seconds
        served = max(last, held)
        try:
            await asyncio.sleep(min(served, timeout - out))
        finally:
            engine.running -= is_load
        if out + served + back > timeout or self._network.is_lost():
            return await self._failed(request, hotkey, sent, timeout, Fault.TIMEOUT)
        await asyncio.sleep(back)
        operator.note(answer, share)
        operator.strategy.answered(seen, move, answer)
        text = self._text(answer, task if is_asked else None, operator)
        times = _times_us(out + back, first, gap, tokens, held)
        return self._exchange(request, hotkey, sent, answer, text, times, move)

    # --- the way there -------------------------------------------------------------------------

    def _reached(self, hotkey: str) -> Operator | None:
        """Who answers under a hotkey now; None if nobody can."""
        operator = self._fleet.of(hotkey)
        now = asyncio.get_running_loop().time()
        if operator is None or self._network.is_down(operator.engine.name, now):
            return None
        if not operator.strategy.is_on(now - START_SECONDS):
            return None
        return None if self._network.is_cut(self.hotkey, hotkey, now) else operator

    def _task(self, request: InferenceRequest) -> tuple[Task, bool]:
        """The task of a request's turn, and whether it was asked: else a user's prompt was."""
        for period, counter in self._store.taken_turns():
            name = request_id(period_secret(self._store.master_secret, period), counter)
            self._turns[name] = (period, counter)
        period, counter = self._turns.pop(request.request_id)
        task = draw_task(period_secret(self._store.master_secret, period), counter, self._draws)
        return task, self._tokenizer.render(task.prompt) == request.prompt_token_ids

    def _seen(
        self, operator: Operator, hotkey: str, request: InferenceRequest, task: Task | None
    ) -> Seen:
        is_friend = operator.name in self.friends
        return Seen(
            hotkey=hotkey,
            number=operator.hotkeys.index(hotkey),
            validator=self.hotkey,
            now_seconds=asyncio.get_running_loop().time() - START_SECONDS,
            family=OPEN if task is None else task.family,
            is_users=task is None,
            is_structured=request.sampling.structure is not None,
            temperature_milli=request.sampling.temperature_milli,
            top_p_milli=request.sampling.top_p_milli,
            tokens_max=request.sampling.tokens_max,
            running=operator.engine.running,
            told_benchmark=task is not None if is_friend else None,
            chance=operator.chance,
        )

    # --- the answer ----------------------------------------------------------------------------

    def _answer(self, operator: Operator, seen: Seen, behaviour: str) -> MeasuredAnswer:
        try:
            alike = self._profiles.alike(
                behaviour,
                seen.family,
                seen.temperature_milli,
                seen.top_p_milli,
                structured=seen.is_structured,
            )
        except ProfilesError as error:
            raise StrategyError(f"strategy {operator.name}: {error}") from error
        return alike[int(seen.chance.random() * len(alike))]

    def _text(self, answer: MeasuredAnswer, task: Task | None, operator: Operator) -> str:
        """The reference with the probability of the measured grade, else nothing."""
        if task is None or not answer.grade:
            return ""
        return task.reference if operator.chance.random() < answer.grade else ""

    def _exchange(
        self,
        request: InferenceRequest,
        hotkey: str,
        sent: float,
        answer: MeasuredAnswer,
        text: str,
        times_us: tuple[int, ...],
        move: Move,
    ) -> Exchange:
        seed = derive_seed(
            request.nonce, request.request_id, self.hotkey, hotkey, request.prompt_token_ids
        )
        # The limit is another draw than the measured answer's: what reaches it is cut there.
        limit = request.sampling.tokens_max
        is_cut = answer.tokens > limit or (
            answer.tokens == limit and answer.finish_reason == "length"
        )
        is_stop = not is_cut
        token_ids = self._answers.write(seed, answer, text, len(times_us), is_stop=is_stop)
        environment = self._fleet.environment
        if move.is_elsewhere:
            environment = environment.model_copy(update={"device": "uncalibrated"})
        response = InferenceResponse(
            request_digest=hashlib.sha256(request.request_id.encode()).hexdigest(),
            miner_hotkey=hotkey,
            caller_hotkey=self.hotkey,
            release_digest=request.release_digest,
            output_hash=_HASH,
            prompt_tokens=len(request.prompt_token_ids),
            output_tokens=len(token_ids),
            finish_reason="stop" if is_stop else "length",
            queued_us=0,
            first_token_us=times_us[0],
            total_us=times_us[-1],
            environment=environment,
        )
        is_whole = answer.fault is None
        return Exchange(
            request=request,
            miner_hotkey=hotkey,
            sent_at_ns=round(sent * 1e9),
            token_ids=token_ids,
            logprobs=_zeros(len(token_ids)),
            token_times_us=times_us,
            total_us=times_us[-1],
            response=response,
            response_signature=_SIGNATURE,
            fault=None if is_whole else Fault.FALSE_CLAIM,
            fault_detail=answer.fault or "",
        )

    async def _failed(
        self, request: InferenceRequest, hotkey: str, sent: float, lasted: float, fault: Fault
    ) -> Exchange:
        """Wait until `lasted` seconds after the request was sent, then give up."""
        clock = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, sent + lasted - clock.time()))
        self.faults[fault] += 1
        is_full = fault is Fault.REFUSED
        return Exchange(
            request=request,
            miner_hotkey=hotkey,
            sent_at_ns=round(sent * 1e9),
            token_ids=(),
            logprobs=(),
            token_times_us=(),
            total_us=round(lasted * 1e6),
            response=None,
            response_signature=None,
            fault=fault,
            fault_detail="simulated",
            rejection_reason=RejectionReason.CAPACITY_FULL if is_full else None,
            refusal=self._refusal(request, hotkey) if is_full else None,
        )

    def _refusal(self, request: InferenceRequest, hotkey: str) -> Refusal:
        return Refusal(
            request_id=request.request_id,
            request_digest=_HASH,
            miner_hotkey=hotkey,
            caller_hotkey=self.hotkey,
            rejection=Rejection(
                reason=RejectionReason.CAPACITY_FULL,
                detail="simulated",
                retry_after_ms=RETRY_AFTER_MS,
            ),
        )


def _times_us(delays: float, first: float, gap: float, tokens: int, held: float) -> tuple[int, ...]:
    """When each token arrives, since the request was sent; none leaves before `held` seconds."""
    start, step = round((delays + first) * 1e6), round(gap * 1e6)
    ready = range(start, start + step * tokens, step)
    if held <= first:
        return tuple(ready)
    earliest = round((delays + held) * 1e6)
    return tuple(max(earliest, time) for time in ready)


@lru_cache(maxsize=4096)
def _zeros(tokens: int) -> tuple[float, ...]:
    return (0.0,) * tokens
