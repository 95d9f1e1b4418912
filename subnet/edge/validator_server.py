"""state file -> SERVER -> miners: why each earns what it earns, and past epochs to be replayed.

Reads the state file and nothing else. Everything served is signed, and could be served by anybody.
"""

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from subnet.config import ValidatorSettings
from subnet.core import epoch_file
from subnet.core.bundle import DELAY_US
from subnet.core.earnings import scores_of
from subnet.core.explanation import DayOld, Explanation, SignedExplanation, explanation_of
from subnet.core.reputation import prior_mean
from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding, fresh_standing
from subnet.edge.http_limits import HttpLimits
from subnet.edge.http_server import serve_http
from subnet.edge.ledger_rows import Closed
from subnet.edge.state_reader import NEVER_US, StateReader
from subnet.ports import Clock, Signer

HOTKEY: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{47,48}")
EPOCH_FILES_AT_ONCE: Final = 2
"""Each takes some MB and a tenth of a second."""
EPOCHS_KEPT: Final = 4
KEEP_ALIVE_SECONDS: Final = 5.0
STOP_GRACE_SECONDS: Final = 2.0


def explain_hotkey(
    reader: StateReader,
    hotkey: str,
    *,
    validator_hotkey: str,
    now_us: int,
    undelayed: bool = False,
) -> Explanation | None:
    """Why a hotkey earns what it earns, as of the last closed epoch; None before the first.

    A live view would tell a miner which of its answers were audited, and so who had asked.
    `undelayed` looks at this moment and hides nothing: for the validator's own eyes.
    """
    last, old = reader.last_closed(), reader.last_closed(now_us - DELAY_US)
    in_use = reader.in_use()
    if undelayed and in_use is not None:
        shown = View(in_use.rules, in_use.release_digest, tuple(reader.standings()), now_us, None)
    elif last is None:
        return None
    else:
        shown = view_of(last)
    before = None if old is None else view_of(old)
    return explained(shown, hotkey, before, validator_hotkey, undelayed=undelayed)


@dataclass(frozen=True, slots=True)
class View:
    """Standings at one moment, and what they are scored by."""

    rules: RuleParams
    release_digest: str
    standings: tuple[MinerStanding, ...]
    at_us: int
    epoch_block: int | None
    """None between two epochs."""


def view_of(closed: Closed) -> View:
    """What a closed epoch ended with."""
    said = closed.statement
    return View(closed.rules, said.release_digest, closed.standings, said.at_us, said.epoch_block)


def explained(
    view: View,
    hotkey: str,
    old: View | None,
    validator_hotkey: str,
    *,
    undelayed: bool = False,
) -> Explanation:
    """The explanation of one hotkey, known or not; `old` is a view that is a day old."""
    standings = _standings(view)
    if hotkey not in standings:
        standings[hotkey] = fresh_standing(hotkey, view.release_digest, view.rules.evidence)
    return explanation_of(
        standings[hotkey],
        scores_of(standings.values(), view.rules)[hotkey],
        view.rules,
        None if old is None else _day_old(old, hotkey, view.release_digest),
        validator_hotkey=validator_hotkey,
        at_us=view.at_us,
        priors=_priors(standings.values(), view),
        undelayed=undelayed,
    )


def _day_old(view: View, hotkey: str, release_digest: str) -> DayOld | None:
    """None for a hotkey that was not known then, or of another release."""
    standings = _standings(view)
    if hotkey not in standings or view.release_digest != release_digest:
        return None
    assert view.epoch_block is not None, "only closed epochs grow old"
    return DayOld(
        epoch_block=view.epoch_block,
        at_us=view.at_us,
        standing=standings[hotkey],
        score=scores_of(standings.values(), view.rules)[hotkey],
        priors=_priors(standings.values(), view),
    )


def _standings(view: View) -> dict[str, MinerStanding]:
    return {one.hotkey: one for one in view.standings if one.release_digest == view.release_digest}


def _priors(standings: Iterable[MinerStanding], view: View) -> dict[str, float]:
    """What a newcomer starts from in each family."""
    params, masses = view.rules.reputation, defaultdict(list)
    for one in standings:
        for family, mass in one.reputation.items():
            masses[family].append(mass.at(view.at_us, params))
    return {family: prior_mean(known, params) for family, known in masses.items()}


class _Closed:
    """The latest closed epochs, read once each: they weigh a megabyte, and anybody may ask."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._kept: dict[int, Closed] = {}

    def by(self, at_us_max: int) -> Closed | None:
        """The latest that was closed by then."""
        blocks = self._reader.closed_epochs(at_us_max)
        if not blocks:
            return None
        if blocks[-1] not in self._kept:
            found = self._reader.last_closed(at_us_max)
            assert found is not None, "statements are only dropped when there are later ones"
            if len(self._kept) >= EPOCHS_KEPT:
                self._kept.clear()
            self._kept[blocks[-1]] = found
        return self._kept[blocks[-1]]


class ValidatorPages:
    """What is served, by path."""

    def __init__(self, reader: StateReader, signer: Signer, clock: Clock) -> None:
        self._reader = reader
        self._signer = signer
        self._clock = clock
        self._closed = _Closed(reader)
        self._at_once = asyncio.Semaphore(EPOCH_FILES_AT_ONCE)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/v1/explain/{hotkey}", self.explain),
                Route("/v1/epochs", self.epochs),
                Route("/v1/epochs/{block:int}", self.epoch),
            ]
        )

    async def health(self, _: Request) -> Response:
        """Alive, whose, and the last epoch that has a statement."""
        last = self._closed.by(NEVER_US)
        block = None if last is None else last.statement.epoch_block
        return JSONResponse({"status": "serving", "hotkey": self._signer.hotkey, "epoch": block})

    async def explain(self, request: Request) -> Response:
        """A signed explanation, as of the last closed epoch."""
        hotkey = request.path_params["hotkey"]
        if not HOTKEY.fullmatch(hotkey):
            return _problem(404, f"{hotkey[:60]!r} is no hotkey")
        last, old = self._closed.by(NEVER_US), self._closed.by(self._a_day_ago())
        if last is None:
            return _problem(503, "no epoch has ended yet: come back after the next")
        before = None if old is None else view_of(old)
        found = explained(view_of(last), hotkey, before, self._signer.hotkey)
        signature = self._signer.sign(found.signing_bytes())
        signed = SignedExplanation(explanation=found, signature=signature)
        return Response(signed.to_bytes(), media_type="application/json")

    async def epochs(self, _: Request) -> Response:
        """The epochs that can be had as files."""
        return JSONResponse({"epochs": self._reader.closed_epochs(self._a_day_ago())})

    async def epoch(self, request: Request) -> Response:
        """One epoch's file, for `assay replay --file`."""
        block = request.path_params["block"]
        if block not in self._reader.closed_epochs(self._a_day_ago()):
            return _problem(404, f"epoch {block} is not here, or is not a day old yet")
        async with self._at_once:
            file = await asyncio.to_thread(self._reader.epoch_file, block)
        if file is None:
            return _problem(404, f"the epoch before {block} is not here any more")
        return Response(epoch_file.to_bytes(file), media_type="application/x-ndjson")

    def _a_day_ago(self) -> int:
        return self._clock.now_ns() // 1000 - DELAY_US


async def serve_validator(
    pages: ValidatorPages, bound: socket.socket, settings: ValidatorSettings
) -> None:
    """Serve until cancelled."""
    limits = HttpLimits(
        settings.connections_max,
        settings.connections_per_address_max,
        settings.read_timeout_seconds,
    )
    await serve_http(
        pages.app(),
        bound,
        limits,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
        stop_grace_seconds=STOP_GRACE_SECONDS,
    )


def _problem(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status_code=status)
