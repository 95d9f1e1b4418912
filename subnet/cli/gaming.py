"""state file, metagraph -> GAMING: which miners may be playing the measurement, and how surely.

Reads only. Owners come from the chain; without it every hotkey counts as its own owner.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.chain_reader import chain_of
from subnet.cli.miner_options import ConfigOption, NetuidOption, NetworkOption
from subnet.cli.state_file import state_of
from subnet.config import Settings, load_settings
from subnet.core.gaming import (
    Coincidence,
    Gap,
    Likeness,
    Observation,
    coincidences,
    near_duplicates,
    organic_gaps,
)
from subnet.core.gaming.chance import LEVEL

ROWS_MAX = 12
SHARES = frozenset({"no answer", "loud margins"})


@dataclass(frozen=True, slots=True)
class GamingReport:
    """All that was looked at; findings and the rest."""

    exchanges: int
    organic: int
    owners_known: bool
    """Whether the chain said which hotkeys share a coldkey."""
    level: float
    """Probability of any false finding of one kind."""
    gaps: tuple[Gap, ...]
    likenesses: tuple[Likeness, ...]
    coincidences: tuple[Coincidence, ...]

    def to_json(self) -> str:
        """Each entry with `is_finding`."""
        body = asdict(self)
        for name in ("gaps", "likenesses", "coincidences"):
            body[name] = [
                asdict(one) | {"is_finding": one.is_finding} for one in getattr(self, name)
            ]
        return json.dumps(body, indent=2)


def build_report(
    observations: Sequence[Observation], owner_of: Mapping[str, str] | None
) -> GamingReport:
    """From what a validator kept; `owner_of` maps hotkeys to coldkeys."""
    return GamingReport(
        exchanges=len(observations),
        organic=sum(one.mark.traffic == "ORGANIC" for one in observations),
        owners_known=owner_of is not None,
        level=LEVEL,
        gaps=tuple(sorted(organic_gaps(observations), key=_distance, reverse=True)),
        likenesses=tuple(near_duplicates(observations, owner_of or {})),
        coincidences=tuple(coincidences(observations)),
    )


def gaming(
    state: Annotated[
        Path | None, typer.Option(help="The validator's state file. Default: as in subnet.toml.")
    ] = None,
    chain: Annotated[
        bool,
        typer.Option(help="--no-chain: ask no chain for owners; each hotkey counts as its own."),
    ] = True,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Look for miners that play the measurement: serve users worse, share answers, fail as one.

    Findings accuse nobody and change no score: each says how often chance alone would show any
    (1 % a kind). What they mean and miss: docs/gaming.md.

    Example: assay gaming --state validator.sqlite --no-chain
    """
    settings = load_settings(
        config,
        {"chain.network": network, "chain.netuid": netuid, "validator.state_path": state},
    )
    with state_of(settings.validator.state_path) as reader:
        observations = reader.observations()
    owners = asyncio.run(_owners(settings)) if chain else None
    with Console(stderr=True).status("looking"):
        report = build_report(observations, owners)
    if as_json:
        typer.echo(report.to_json())
    else:
        show(report, Console())


async def _owners(settings: Settings) -> dict[str, str]:
    """Coldkeys by hotkey. Raises UsageError where no node answers."""
    async with chain_of(settings.chain, ", --no-chain does without owners") as chain:
        return {row.hotkey: row.coldkey for row in (await chain.metagraph()).neurons}


def show(report: GamingReport, console: Console) -> None:
    """Three tables, findings in yellow, the strongest first."""
    console.print(
        f"{report.exchanges} exchanges, {report.organic} of them users'; owners "
        f"{'by coldkey' if report.owners_known else 'unknown: each hotkey for itself'}"
    )
    gaps = _table("users against benchmarks, beyond what peers show", *GAP_COLUMNS)
    for gap in report.gaps[:ROWS_MAX]:
        gaps.add_row(*_gap_row(gap), style=_style(gap))
    alike = _table("nearly equal answers to different prompts", *PAIR_COLUMNS)
    for one in report.likenesses[:ROWS_MAX]:
        figures = (f"{one.alike}", f"{one.expected:.1f}", f"{one.p_value:.1e}", f"{one.level:.1e}")
        alike.add_row(_names(one.owners), "answers", *figures, style=_style(one))
    joint = _table("failing together", *PAIR_COLUMNS)
    for two in report.coincidences[:ROWS_MAX]:
        figures = (
            *(f"{two.together}", f"{two.expected:.1f}"),
            *(f"{two.p_value:.1e}", f"{two.level:.1e}"),
        )
        joint.add_row(_names(two.hotkeys), two.kind, *figures, style=_style(two))
    for table, everything in (
        (gaps, report.gaps),
        (alike, report.likenesses),
        (joint, report.coincidences),
    ):
        findings = sum(one.is_finding for one in everything)
        if table.row_count:
            console.print(table)
        few = "" if everything else "; too few exchanges (docs/gaming.md)"
        console.print(f"{table.title}: {len(everything)} looked at, {findings} found{few}\n")


GAP_COLUMNS = ("miner", "measure", "users", "benchmarks", "effect", "from", "to")
PAIR_COLUMNS = ("pair", "what", "seen", "by chance", "p", "finding below")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
    return table


def _gap_row(gap: Gap) -> tuple[str, ...]:
    if gap.measure in SHARES:
        figures = [f"{100 * value:+.1f} %" for value in (gap.effect, gap.low, gap.high)]
    else:
        figures = [f"x {math.exp(value):.2f}" for value in (gap.effect, gap.low, gap.high)]
    return _name(gap.miner_hotkey), gap.measure, f"{gap.organic}", f"{gap.benchmark}", *figures


def _distance(gap: Gap) -> tuple[bool, float]:
    width = gap.high - gap.low
    return gap.is_finding, abs(gap.effect) / width if width else 0.0


def _style(one: Gap | Likeness | Coincidence) -> str:
    return "yellow" if one.is_finding else ""


def _names(pair: tuple[str, str]) -> str:
    return f"{_name(pair[0])} {_name(pair[1])}"


def _name(key: str) -> str:
    return f"{key[:8]}.."
