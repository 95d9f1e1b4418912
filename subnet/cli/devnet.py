"""`assay devnet`: the embedded chain in the foreground, until Ctrl-C."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from protocol.units import RAO_PER_TAO
from subnet.cli.exits import UsageError, run_process
from subnet.devnet.genesis import dev_accounts
from subnet.devnet.params import DevnetParams
from subnet.devnet.server import run_devnet
from subnet.devnet.store import StoreError


def devnet(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 9944,
    state: Annotated[Path, typer.Option(help="State file; it is made if absent.")] = Path(
        ".assay/devnet.sqlite"
    ),
    block_time: Annotated[
        float, typer.Option("--block-time", help="Seconds per block, from 0.05 to 60.")
    ] = 12.0,
    tempo: Annotated[int, typer.Option(help="Blocks per epoch of a new subnet.")] = 20,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run the embedded chain: a local Bittensor network with funded accounts.

    Anyone knows the keys of its accounts. Do not make it reachable from outside.
    """
    run_process(lambda: _run(host, port, state, block_time, tempo))


def _run(host: str, port: int, state: Path, block_time: float, tempo: int) -> None:
    try:
        params = DevnetParams(block_time_seconds=block_time, tempo_blocks=tempo)
    except ValidationError as error:
        wrong = "; ".join(f"{part['loc'][0]}: {part['msg']}" for part in error.errors())
        raise UsageError(f"invalid settings: {wrong}") from error
    try:
        asyncio.run(
            run_devnet(
                state,
                port,
                params,
                host=host,
                on_listening=lambda endpoint: _greet(endpoint, state, params),
            )
        )
    except StoreError as error:
        raise UsageError(f"{error}; choose another --state file") from error
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
        ) from error


def _greet(endpoint: str, state: Path, params: DevnetParams) -> None:
    typer.echo(f"devnet listens on {endpoint}")
    typer.echo(f"  state {state}, block time {params.block_time_seconds:g} s")
    typer.echo(f"  funded with {params.dev_balance_rao // RAO_PER_TAO:,} TAO each (public keys!):")
    for path, address in dev_accounts().items():
        typer.echo(f"    {path:<10} {address}")
    typer.echo("try next:")
    alice = dev_accounts()["//Alice"]
    typer.echo(f"  btcli query balance --coldkey {alice} -n {endpoint}")
    typer.echo(f"  btcli query subnets -n {endpoint}")
    typer.echo(f"  btcli query epoch-status --netuid 1 -n {endpoint}")
