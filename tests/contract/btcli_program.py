"""btcli with its tree of 800 commands built before the first run: half of a run's time."""

from functools import cache

import typer.main
from bittensor.cli.main import app, main

__all__ = ["main"]

typer.main.get_command = cache(typer.main.get_command)
typer.main.get_command(app)
