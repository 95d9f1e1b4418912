"""users' prompts, seed -> THE REAL DISPATCHER -> what each miner sees: traffic to tell apart.

Prober and dispatcher run as they do for money, on virtual time; miners here note what arrives and
answer anything. Users come in sessions, as people do: a burst of prompts, then silence.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import numpy as np

from protocol.handshake import MinerCard
from protocol.inference import Environment, InferenceRequest, InferenceResponse
from protocol.release import Release
from protocol.structure import Structure
from subnet.config import Settings
from subnet.core.audit import Traffic
from subnet.core.draws import draw_task, period_secret, request_id
from subnet.core.echoes import EchoPool, PeriodStart, Taker, next_pool
from subnet.core.records import RECORD
from subnet.core.standing import Decayed, MinerStanding, fresh_standing
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.ports import Endpoint, Exchange, Fault, Tokenizer
from subnet.roles.peer import Peer
from subnet.roles.validator import Validator, World
from subnet.sim.loop import LoopClock, run_virtual

SLOW_MINERS: Final = 2
"""They score less, so fewer users' prompts go to them."""
SLOW_LATENCY: Final = 0.6
FAULT_SHARE: Final = 0.02
SESSION_PROMPTS: Final = 4.0
"""Mean number of prompts that a user asks in a row."""
THINK_SECONDS: Final = 4.0
WARM_UP_SECONDS: Final = 30.0
AUDIT_SECONDS: Final = 5.0
VALIDATOR: Final = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
_PLACE: Final = Environment(engine="watched", torch="none", device="none", dtype="float32")


@dataclass(frozen=True, slots=True)
class Scene:
    """A subnet, and how its users come."""

    miners: int
    probe_interval_seconds: float
    session_gap_seconds: float
    """Mean between the starts of two users' sessions."""
    has_earlier_prompts: bool
    """Whether users asked, and agreed, in the period before."""


BUSY: Final = Scene(8, 2.0, 3.0, has_earlier_prompts=False)
"""One request of a user for three of ours: what a miner could learn from when requests come."""
TALKATIVE: Final = Scene(16, 28.0, 12.0, has_earlier_prompts=True)
"""Few requests of ours, so that the prompts of half a sample are enough to ask again; and enough
owners, as an owner that saw a prompt is not asked it again."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user asks."""

    text: str
    structure: Structure | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as its miner saw it."""

    miner: int
    at_seconds: float
    in_flight: int
    """Requests that this miner was at work on when it came."""
    request: InferenceRequest


@dataclass(frozen=True, slots=True)
class Traced:
    """An arrival with what the miner would like to know."""

    arrival: Arrival
    traffic: Traffic
    family: str
    """Of a benchmark; else empty."""

    @property
    def is_organic(self) -> bool:
        """Whether a user waits for the answer."""
        return self.traffic is Traffic.ORGANIC


def watch_traffic(
    prompts: Sequence[Prompt],
    release: Release,
    tokenizer: Tokenizer,
    settings: Settings,
    seed: int,
    scene: Scene = BUSY,
    earlier: Sequence[Prompt] = (),
) -> list[Traced]:
    """All requests of one validator in order, while users come at a steady rate.

    Left out are the first half minute and what came after the last session began: before and after
    them there are no users, and a clock would tell what no miner of a living subnet can know.
    `earlier` were answered, with consent, in the period before; what comes once each of them had
    its turn again is left out too.
    """
    pace = {"probe_interval_seconds": scene.probe_interval_seconds}
    validator = settings.validator.model_copy(update=pace)
    settings = settings.model_copy(update={"validator": validator})
    with TemporaryDirectory() as folder:
        secret = np.random.default_rng([seed, 0]).bytes(32)
        store = _Store(Path(folder) / "v.sqlite", {"hotkey": VALIDATOR}, secret)
        with closing(store):
            rng = np.random.default_rng([seed, 1])
            run = _Run(store, release, tokenizer, settings, rng, scene)
            run_virtual(run.live(prompts, earlier))
            return _steady(run, store, settings)


def _steady(run: "_Run", store: SqliteValidatorStore, settings: Settings) -> list[Traced]:
    """What arrived while users came, and while there was something to ask again."""
    traffic = {one.mark.request_id: one.mark.traffic for one in store.observations()}
    secret = period_secret(store.master_secret, store.period())
    last = store.open_records().next_counter if run.turns_until is None else run.turns_until
    turns = {request_id(secret, turn): turn for turn in range(last)}
    found = []
    for one in run.miners.arrived:
        name = one.request.request_id
        if name in turns and run.steady_from <= one.at_seconds <= run.steady_until:
            is_task = traffic[name] is Traffic.BENCHMARK
            family = draw_task(secret, turns[name], settings.draws).family if is_task else ""
            found.append(Traced(one, traffic[name], family))
    return found


class _Store(SqliteValidatorStore):
    """Nobody signs a statement here, which would fix the pool of a period."""

    pool = EchoPool()

    def period_start(self, period: int) -> PeriodStart | None:
        """What was fixed of a period."""
        found = super().period_start(period)
        return None if found is None else replace(found, pool=self.pool)


class _AnyGrammar:
    """Answers here are not judged."""

    def refused_at(self, structure: Structure, token_ids: Sequence[int]) -> int | None:
        """Nothing is."""
        del structure, token_ids
        return None


class _Signer:
    """Nobody reads what a validator signs here."""

    hotkey = VALIDATOR

    def sign(self, message: bytes) -> str:
        """Nothing."""
        del message
        return "0" * 128


class _Run:
    """One validator whose miners all passed probation."""

    def __init__(
        self,
        store: _Store,
        release: Release,
        tokenizer: Tokenizer,
        settings: Settings,
        rng: np.random.Generator,
        scene: Scene,
    ) -> None:
        store.open_next_period()
        self._store = store
        self._release_digest = release.digest()
        self._settings = settings
        self._rng = rng
        self._session_gap_seconds = scene.session_gap_seconds
        self.steady_from = self.steady_until = 0.0
        self.turns_until: int | None = None
        """Where every prompt of the pool had its turn; a living subnet begins another period."""
        self.miners = _Miners(release, rng)
        nobody = cast(Any, None)  # Nobody here reads a chain, audits, or sets weights.
        world = World(
            chain=nobody,
            client=self.miners,
            referee=nobody,
            second_engine=None,
            grammars=_AnyGrammar(),
            tokenizer=tokenizer,
            store=store,
            clock=LoopClock(),
            signer=_Signer(),
            release=release,
            table=nobody,
            canary=nobody,
            settings=settings,
        )
        self._roles = Validator(world)
        numbers = range(scene.miners)
        self._roles.book.put(_standing(number, release, settings) for number in numbers)
        for number in numbers:
            endpoint = Endpoint(hotkey_of(number), "127.0.0.1", number)
            slots = settings.miner.concurrent_requests_max
            self._roles.roster.peers[endpoint.hotkey] = Peer(endpoint, endpoint.hotkey, slots, 0.0)

    async def live(self, prompts: Sequence[Prompt], earlier: Sequence[Prompt]) -> None:
        """Ask all users' prompts, the earlier ones in a period before."""
        if earlier:
            await self._live_a_period(earlier)
        await self._ask_until_answered(prompts)

    async def _live_a_period(self, prompts: Sequence[Prompt]) -> None:
        """Answer these users' prompts; the next period may ask them again, once its first window
        is over."""
        for prompt in prompts:
            self._store.add_prompts([prompt.text], has_consent=True, structure=prompt.structure)
        async with asyncio.TaskGroup() as group:
            serving = [
                group.create_task(self._roles.desk.run()),
                group.create_task(self._drop_audits()),
            ]
            while self._store.open_prompts():  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(1)
            for task in serving:
                task.cancel()
        hotkeys = list(self._roles.roster.peers)
        self._store.pool = next_pool(
            EchoPool(),
            map(RECORD.validate_json, self._store.open_records().lines),
            [Taker(hotkey=one, owner=one) for one in hotkeys],
            turns=0,
            rules=self._settings.rules,
            release_digest=self._release_digest,
            owners={},
        )
        self._store.open_next_period()
        turn = 0
        for _ in range(self._settings.draws.window_requests):
            turn = self._store.reserve_counter()
        self.turns_until = turn + len(self._store.pool.prompts)

    async def _ask_until_answered(self, prompts: Sequence[Prompt]) -> None:
        """Ask, until nobody waits for an answer any more."""
        async with asyncio.TaskGroup() as group:
            endless = [
                group.create_task(self._roles.prober.run()),
                group.create_task(self._roles.desk.run()),
                group.create_task(self._drop_audits()),
            ]
            await self._arrive(prompts)
            while self._store.open_prompts():  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(1)
            for task in endless:
                task.cancel()

    async def _arrive(self, prompts: Sequence[Prompt]) -> None:
        """Users' prompts, in the order given, session by session."""
        rng, at, due = self._rng, 0.0, []
        left, start = len(prompts), asyncio.get_running_loop().time()
        self.steady_from = start + WARM_UP_SECONDS
        while left:
            at += rng.exponential(self._session_gap_seconds)
            asks = min(left, int(rng.geometric(1 / SESSION_PROMPTS)))
            due += list(at + np.cumsum(rng.exponential(THINK_SECONDS, asks)))
            left -= asks
        self.steady_until, now = start + at, 0.0
        for prompt, when in zip(prompts, sorted(due), strict=True):
            await asyncio.sleep(when - now)
            now = when
            self._store.add_prompts([prompt.text], structure=prompt.structure)

    async def _drop_audits(self) -> None:
        """Nobody audits here, and what waits must not stop the questions."""
        while True:
            await asyncio.sleep(AUDIT_SECONDS)
            waiting = [one.request_id for one in self._store.pending_audits(1000)]
            self._store.save_audits([], waiting, [], [])


class _Miners:
    """Note what comes, and answer something of some length in some time."""

    def __init__(self, release: Release, rng: np.random.Generator) -> None:
        self._release = release
        self._rng = rng
        self._in_flight: Counter[int] = Counter()
        self.arrived: list[Arrival] = []

    async def handshake(self, endpoint: Endpoint, timeout_seconds: float) -> MinerCard | Fault:
        """Never asked."""
        raise AssertionError((endpoint, timeout_seconds))

    async def infer(self, endpoint: Endpoint, request: InferenceRequest) -> Exchange:
        """One answer, or now and then none."""
        loop, miner = asyncio.get_running_loop(), endpoint.port
        start = loop.time()
        self.arrived.append(Arrival(miner, start, self._in_flight[miner], request))
        self._in_flight[miner] += 1
        tokens = min(int(self._rng.geometric(1 / 40)) + 1, request.sampling.tokens_max)
        await asyncio.sleep(0.1 + 0.02 * tokens * float(self._rng.lognormal(0, 0.3)))
        self._in_flight[miner] -= 1
        is_fault = self._rng.random() < FAULT_SHARE
        spent_us = round((loop.time() - start) * 1e6)
        response = None if is_fault else self._response(endpoint, request, tokens, spent_us)
        ids = self._ids(response, request)
        return Exchange(
            request=request,
            miner_hotkey=endpoint.hotkey,
            sent_at_ns=round(start * 1e9),
            token_ids=ids,
            logprobs=(0.0,) * len(ids),
            token_times_us=tuple(
                np.linspace(spent_us / 10, spent_us, len(ids)).astype(int).tolist()
            ),
            total_us=spent_us,
            response=response,
            response_signature=None if is_fault else "0" * 128,
            fault=Fault.BROKEN_STREAM if is_fault else None,
            fault_detail="",
        )

    def _ids(
        self, response: InferenceResponse | None, request: InferenceRequest
    ) -> tuple[int, ...]:
        if response is None:
            return ()
        stops = self._release.stop_token_ids
        plain = max(stops) + 1
        if response.finish_reason == "stop":
            return (plain,) * (response.output_tokens - 1) + stops[:1]
        return (plain,) * request.sampling.tokens_max

    def _response(
        self, endpoint: Endpoint, request: InferenceRequest, tokens: int, spent_us: int
    ) -> InferenceResponse:
        return InferenceResponse(
            request_digest=request.digest(),
            miner_hotkey=endpoint.hotkey,
            caller_hotkey=VALIDATOR,
            release_digest=request.release_digest,
            output_hash="0" * 64,
            prompt_tokens=len(request.prompt_token_ids),
            output_tokens=tokens,
            finish_reason="length" if tokens == request.sampling.tokens_max else "stop",
            queued_us=0,
            first_token_us=spent_us // 10,
            total_us=spent_us,
            environment=_PLACE,
        )


def hotkey_of(number: int) -> str:
    """A well-formed address."""
    return "5" + "ABCDEFGHJKLMNPQRSTUVWXYZ"[number] * 47


def _standing(number: int, release: Release, settings: Settings) -> MinerStanding:
    latency = SLOW_LATENCY if number < SLOW_MINERS else 1.0
    fresh = fresh_standing(hotkey_of(number), release.digest(), settings.evidence)
    past = settings.scoring.probation_answers * 10
    return fresh.model_copy(
        update={"verified": past, "latency": Decayed(total=latency * past, weight=float(past))}
    )
