"""`assay records`, `assay replay`: an epoch leaves the validator, and anybody computes it again."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.chain_reader import chain_of
from subnet.cli.evidence import write_private
from subnet.cli.exits import EXIT_FAULT, UsageError
from subnet.cli.miner_options import ConfigOption, NetuidOption, NetworkOption
from subnet.cli.state_file import state_of
from subnet.config import Settings, load_settings
from subnet.core import epoch_file
from subnet.core.checks import Check, EpochFile, Outcome
from subnet.core.draws import Anchor
from subnet.core.records import RECORD, Faulted
from subnet.core.replay import chain_checks, contradicted, draw_blocks, replay
from subnet.core.statement import is_old
from subnet.edge.answer_log import read_log
from subnet.edge.system import SystemClock

_COLOUR: Final = {Outcome.HELD: "green", Outcome.FAILED: "red", Outcome.OPEN: "yellow"}
_GZIP_START: Final = b"\x1f\x8b"
EpochOption = Annotated[
    int | None, typer.Option(help="Block of the epoch. Default: the latest with a statement.")
]
StateOption = Annotated[
    Path | None, typer.Option(help="The validator's state file. Default: as in subnet.toml.")
]


def records(
    epoch: EpochOption = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: epoch-<block>-<digest>.jsonl, shortened.")
    ] = None,
    undelayed: Annotated[
        bool,
        typer.Option(
            "--undelayed",
            help="Write an epoch that is younger than a day too. It shows how near each miner is "
            "to an alarm: keep such a file to yourself.",
        ),
    ] = False,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Write one epoch's signed records into a file that anybody can replay with `assay replay`."""
    settings = load_settings(config, {"validator.state_path": state})
    file = read_epoch(settings.validator.state_path, epoch)
    if not undelayed and not is_old(file.signed.statement, SystemClock().now_ns() // 1000):
        raise UsageError(
            f"epoch {file.signed.statement.epoch_block} is younger than a day: fresh detector "
            "states would tell a cheat how far it may go; wait, or use --undelayed"
        )
    said = file.signed.statement
    where = output or Path(f"epoch-{said.epoch_block}-{said.digest()[:8]}.jsonl")
    write_private(where, epoch_file.to_bytes(file))
    if as_json:
        summary = {"file": str(where), "epoch": said.epoch_block, "records": said.records}
        typer.echo(json.dumps(summary | {"digest": said.digest()}))
        return
    typer.echo(f"wrote {where}: {said.records} records, statement {said.digest()}")


def replay_command(
    epoch: EpochOption = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A file that `assay records` wrote, or that a validator served."),
    ] = None,
    miner_log: Annotated[
        list[Path] | None,
        typer.Option(help="A miner's answer log (`miner.answer_log`); may be repeated."),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Compare with the anchor and weights on the chain too.")
    ] = False,
    state: StateOption = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Compute an epoch's weights again from its signed records, bit for bit.

    Checks the statement's signature and its place among the others, that every request which the
    validator's secret made due has one ending, that tasks and audits are those that the secret
    draws, that miners signed what is said of them, and that records lead to the factors, and
    factors to the weights.
    Ends with 0 if nothing failed, 1 if something did, 2 for a file that cannot be used.
    """
    if file is not None and (epoch is not None or state is not None):
        raise UsageError("--file holds one epoch: --epoch and --state are for a validator's state")
    overrides = {
        "validator.state_path": state,
        "chain.network": network,
        "chain.netuid": netuid,
    }
    settings = load_settings(config, overrides)
    log = read_log(miner_log or ())
    path = settings.validator.state_path
    epoch_of = read_file(file) if file else read_epoch(path, epoch, ", or read an epoch by --file")
    from subnet.edge.btauth import verify_signature

    with Console(stderr=True).status("replaying"):
        checks = replay(epoch_of, verify_signature)
        if chain:
            checks += asyncio.run(_on_chain(settings, epoch_of))
    denied: list[Faulted] = []
    if all(one.outcome is not Outcome.FAILED for one in checks if one.name == "records"):
        parsed = [RECORD.validate_json(line) for line in epoch_of.lines]
        denied = contradicted(parsed, log, epoch_of.said.validator_hotkey, verify_signature)
    if as_json:
        typer.echo(report_json(epoch_of, checks, denied))
    else:
        _show(epoch_of, checks, denied)
    is_clean = not denied and all(one.outcome is not Outcome.FAILED for one in checks)
    raise typer.Exit(0 if is_clean else EXIT_FAULT)


def read_epoch(path: Path, epoch_block: int | None, otherwise: str = "") -> EpochFile:
    """An epoch of a validator's own state; the latest for None. Raises UsageError."""
    with state_of(path, otherwise) as reader:
        blocks = reader.closed_epochs()
        if not blocks:
            raise UsageError(f"{path} holds no statement yet: the first comes with an epoch's end")
        found = reader.epoch_file(blocks[-1] if epoch_block is None else epoch_block)
    if found is None:
        raise UsageError(
            f"{path} holds no epoch {epoch_block} with the one before it; "
            f"it holds {', '.join(map(str, blocks[-10:]))}"
        )
    return found


def read_file(path: Path) -> EpochFile:
    """An epoch from a file, gzipped as validators serve it or plain. Raises UsageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        if content.startswith(_GZIP_START):
            content = gzip.decompress(content)
        return epoch_file.from_bytes(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is cut short or broken: {error}") from error
    except epoch_file.EpochFileError as error:
        raise UsageError(f"{path} cannot be replayed: {error}") from error


async def _on_chain(settings: Settings, file: EpochFile) -> list[Check]:
    said = file.said
    async with chain_of(settings.chain) as reading:
        data = await reading.commitment(said.validator_hotkey)
        weights = {} if said.own_uid is None else await reading.weights(said.own_uid)
        hashes = {block: await reading.block_hash(block) for block in draw_blocks(file)}
    try:
        anchor = None if data is None else Anchor.from_bytes(data)
    except ValueError:
        anchor = None
    return chain_checks(file, anchor, weights, hashes)


def report_json(file: EpochFile, checks: Sequence[Check], denied: Sequence[Faulted]) -> str:
    """The outcome for programs."""
    said = file.signed.statement
    return json.dumps(
        {
            "validator_hotkey": said.validator_hotkey,
            "epoch": said.epoch_block,
            "statement": said.digest(),
            "records": said.records,
            "held": all(one.outcome is not Outcome.FAILED for one in checks),
            "open": sum(one.outcome is Outcome.OPEN for one in checks),
            "checks": [asdict(one) for one in checks],
            "weights": {share.uid: share.share for share in said.weights},
            "contradicted": [
                {"request_id": one.request_id, "miner_hotkey": one.miner_hotkey, "word": one.word}
                for one in denied
            ],
        },
        indent=1,
    )


def _show(file: EpochFile, checks: Sequence[Check], denied: Sequence[Faulted]) -> None:
    said = file.signed.statement
    console = Console()
    table = Table(title=f"epoch {said.epoch_block} of {said.validator_hotkey}", box=None)
    for title in ("check", "outcome", "finding"):
        table.add_column(title, overflow="fold")
    for one in checks:
        table.add_row(one.name, f"[{_COLOUR[one.outcome]}]{one.outcome}[/]", one.detail)
    console.print(table)
    for fault in denied:
        console.print(
            f"[red]contradicted[/] the validator recorded {fault.word} for request "
            f"{fault.request_id}, and {fault.miner_hotkey} kept a signed answer to it",
            highlight=False,
        )
    is_clean = all(one.outcome is not Outcome.FAILED for one in checks)
    words = "[green]the weights follow from the records[/]" if is_clean else "[red]refuted[/]"
    is_open = sum(one.outcome is Outcome.OPEN for one in checks)
    rest = f"; {is_open} checks are open" if is_open else ""
    console.print(f"{words}: {len(said.weights)} weights, {said.records} records{rest}.")
