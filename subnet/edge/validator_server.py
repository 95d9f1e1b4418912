"""state file -> SERVER -> miners: why each earns what it earns, and past epochs to be replayed.

Reads the state file and nothing else. Everything served is signed, and could be served by anybody.
"""

import re
import socket
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from subnet.config import ValidatorSettings
from subnet.core.bundle import DELAY_US
from subnet.edge.epoch_pages import EpochPages, problem
from subnet.edge.explanations import Explanations
from subnet.edge.http_limits import HttpLimits
from subnet.edge.http_server import serve_http
from subnet.edge.state_reader import StateReader
from subnet.ports import Clock, Signer

HOTKEY: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{47,48}")
KEEP_ALIVE_SECONDS: Final = 5.0
STOP_GRACE_SECONDS: Final = 2.0


class ValidatorPages:
    """What is served, by path."""

    def __init__(self, reader: StateReader, signer: Signer, clock: Clock) -> None:
        self._reader = reader
        self._signer = signer
        self._clock = clock
        self._explanations = Explanations(reader, signer)
        self._epoch_pages = EpochPages(reader)

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
        block = next(reversed(self._reader.closed_epochs()), None)
        return JSONResponse({"status": "serving", "hotkey": self._signer.hotkey, "epoch": block})

    async def explain(self, request: Request) -> Response:
        """A signed explanation, as of the last closed epoch."""
        hotkey = request.path_params["hotkey"]
        if not HOTKEY.fullmatch(hotkey):
            return problem(404, f"{hotkey[:60]!r} is no hotkey")
        signed = await self._explanations.of(hotkey, self._a_day_ago())
        if signed is None:
            return problem(503, "no epoch has ended yet: come back after the next")
        return Response(signed, media_type="application/json")

    async def epochs(self, _: Request) -> Response:
        """The epochs that can be had as files."""
        return JSONResponse({"epochs": self._reader.closed_epochs(self._a_day_ago())})

    async def epoch(self, request: Request) -> Response:
        """One epoch's file, gzipped, for `assay replay --file`."""
        block = request.path_params["block"]
        if block not in self._reader.closed_epochs(self._a_day_ago()):
            return problem(404, f"epoch {block} is not here, or is not a day old yet")
        return self._epoch_pages.page(block)

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
