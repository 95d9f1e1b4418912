"""`assay explain`: why a miner earns what it earns, factor by factor."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from subnet.cli.exits import EXIT_FAULT, UsageError
from subnet.cli.miner_options import ConfigOption
from subnet.cli.state_file import state_of
from subnet.config import load_settings
from subnet.core.explanation import Explanation, Factor, SignedExplanation
from subnet.edge.system import SystemClock

ANSWER_BYTES_MAX: Final = 1_000_000
TIMEOUT_SECONDS: Final = 20.0


def explain(
    hotkey: Annotated[str, typer.Argument(help="The miner's hotkey.")],
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask a validator, such as http://203.0.113.7:8092; its signature is "
            "checked. Default: read the state file of a validator on this machine."
        ),
    ] = None,
    validator: Annotated[
        str | None,
        typer.Option(help="Hotkey that must have signed what --url answers. Default: any."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="This moment's figures, detectors included: for the validator's own eyes.",
        ),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="The validator's state file. Default: as in subnet.toml.")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show every factor of a miner's score, the evidence behind it, and what would raise it.

    As of the last closed epoch; what every audit moves (integrity, coverage, quality, reputation)
    comes a day later, or with an alarm.
    """
    if url is not None and (live or state is not None):
        raise UsageError("--url asks a validator: --live and --state read the file of one here")
    if url is None and validator is not None:
        raise UsageError("--validator checks who signed what --url answers; give --url too")
    if url is not None:
        found = _asked(url, hotkey, validator)
    else:
        settings = load_settings(config, {"validator.state_path": state})
        found = _read(settings.validator.state_path, hotkey, is_live=live)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        _show(found)


def _read(path: Path, hotkey: str, *, is_live: bool) -> Explanation:
    from subnet.edge.explanations import explain_hotkey

    try:
        with state_of(path, ", or ask a validator by --url") as reader:
            found = explain_hotkey(
                reader,
                hotkey,
                validator_hotkey=reader.identity("hotkey"),
                now_us=SystemClock().now_ns() // 1000,
                undelayed=is_live,
            )
    except ValidationError as error:
        raise UsageError(f"{hotkey[:60]} is no hotkey") from error
    if found is None:
        raise UsageError(f"{path} has closed no epoch yet; come back after the next, or use --live")
    return found


def _asked(url: str, hotkey: str, validator: str | None) -> Explanation:
    from subnet.edge.btauth import verify_signature

    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {url}: give one such as http://203.0.113.7:8092")
    body = asyncio.run(_fetched(f"{url.rstrip('/')}/v1/explain/{hotkey}"))
    try:
        signed = SignedExplanation.model_validate_json(body)
    except ValidationError as error:
        raise UsageError(f"{url} {_told_instead(body)}") from error
    found = signed.explanation
    signer = validator or found.validator_hotkey
    if not verify_signature(found.signing_bytes(), signed.signature, signer):
        typer.echo(f"refuted: {signer} did not sign this", err=True)
        raise typer.Exit(EXIT_FAULT)
    return found


def _told_instead(body: bytes) -> str:
    """A validator's own words for why it explains nothing, or what came from something else."""
    try:
        words = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"answered nothing of ours: {body[:200]!r}"
    return f"says: {words[:200]}"


async def _fetched(url: str) -> bytes:
    import aiohttp

    limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return await answer.content.read(ANSWER_BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UsageError(f"cannot ask {url}: {error or 'no answer in time'}") from error


def _show(found: Explanation) -> None:
    console = Console()
    console.print(
        f"[bold]{found.miner_hotkey}[/] ({found.state}), by {found.validator_hotkey}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"It {found.sentence}.", highlight=False)
    console.print("The score is the factors' product: 1.000 is full marks at one token a second.\n")
    table = Table(box=None, pad_edge=False, header_style="bold underline")
    for title in ("factor", "value", "rests on", "what would raise it", "score by"):
        table.add_column(title, overflow="fold")
    for factor in found.factors:
        table.add_row(
            factor.name.removesuffix("_ppm").removesuffix("_tps_milli").replace("_", " "),
            _value(factor),
            factor.evidence,
            factor.advice,
            f"{factor.gain_ppm / 1e6:.3f}" if factor.gain_ppm else "",
        )
    console.print(table)
    for one in found.reputation:
        console.print(
            f"reputation for {one.family}: at least {one.lower_ppm / 1e6:.3f}, mean "
            f"{one.mean_ppm / 1e6:.3f}, over {one.answers_milli / 1000:.1f} answers that count",
            highlight=False,
        )
    if found.faults:
        counts = sorted(found.faults.items()), sorted(found.blames.items())
        words, blames = (", ".join(f"{count} x {word}" for word, count in one) for one in counts)
        console.print(f"requests without an answer: {words}; by {blames}", highlight=False)


def _value(factor: Factor) -> str:
    if factor.value is None:
        return "hidden"
    if factor.name.endswith("_tps_milli"):
        return f"{factor.value / 1000:.1f} tok/s"
    return f"{factor.value / 1e6:.3f}" if factor.name.endswith("_ppm") else str(factor.value)
