"""`assay calibrate`: measures how honest answers of a release look to the referee."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from subnet.cli.calibration_file import calibration_of
from subnet.cli.exits import EXIT_FAULT
from subnet.cli.outputs import place_of_file
from subnet.core.verification.admission import refused

if TYPE_CHECKING:
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.core.verification.power import PowerReport
    from subnet.lab.transcripts import Advance, Watch

ROOT = Path(__file__).parents[2]
LINE_SECONDS: Final = 5.0
"""At least so long between two lines of progress, the last one apart."""


def calibrate(
    release: Annotated[
        Path, typer.Option(help="Folder of the release: weights, tokenizer, chat template.")
    ] = ROOT / "assets" / "tiny",
    weaker_model: Annotated[
        Path | None,
        typer.Option(help="A weaker checkpoint for the attacks. Default: <release>-weak, if any."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: calibration.json in the release's folder.")
    ] = None,
    prompts: Annotated[
        int,
        typer.Option(min=1000, help="More prompts, sharper bounds: 30,000 take about 15 minutes."),
    ] = 30_000,
    seed: Annotated[int, typer.Option(help="Same release, prompts and seed: same questions.")] = 1,
    config: Annotated[
        Path | None, typer.Option(help="Whose \\[draws] get sharper bounds. Default: subnet.toml.")
    ] = None,
    draws_only: Annotated[
        bool, typer.Option(help="Keep the table, measure anew only what validators draw.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Measure a release's calibration: honest answers by vLLM, scored by the referee.

    Validators look up in it how often honest answers show each margin and log-probability gap;
    outside it they accuse nobody. A quarter of the questions are ones that a search found to be
    hardest on honest numerics: what users ask is judged by bounds that hold for them. Run it for
    every new release, engine version and kind of machine, and start log-only
    (`integrity_check = false` in subnet.toml) until it has been tried. What validators draw most
    has sharper bounds of its own: after a change of families or tier in [draws], --draws-only
    measures these anew in five minutes.

    Nothing is written, and the command ends with code 1, if held-out honest answers raised an
    alarm, or if the shipped attacks are caught too late (subnet/core/verification/power.py has the
    bars): more prompts sharpen the bounds.
    """
    from subnet.config import load_settings
    from subnet.lab.calibration import calibrate as run
    from subnet.lab.calibration import with_drawn

    console = Console(stderr=as_json)
    weak = weaker_model or release.with_name(f"{release.name}-weak")
    draws = load_settings(config).draws
    known = calibration_of(release) if draws_only else None
    where = output or release / "calibration.json"
    if output is not None or release.is_dir():
        place_of_file(where)
    with progress_bars(console) as watch:
        if known is None:
            table = run(release, weak, draws, prompts, seed, watch)
        else:
            table = with_drawn(release, known, draws, seed, watch)
    if not as_json:
        _show(table, console)
    refusals = refused(table)
    if refusals:
        console.print(f"[red]refused, nothing written:[/] {'; '.join(refusals)}", soft_wrap=True)
        raise typer.Exit(EXIT_FAULT)
    text = table.model_dump_json(indent=1) + "\n"
    unfinished = where.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(where)
    if as_json:
        print(text, end="")
    console.print(f"wrote {where}")


@contextmanager
def progress_bars(console: Console) -> "Iterator[Watch]":
    """Progress on `console`: each call of what it yields opens one more bar.

    Where nobody sees a bar move (a file, a pipe), a line now and then says how far it is.
    """
    if not console.is_terminal:
        yield partial(_progress_lines, console, clock=time.monotonic)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def watch(title: str, total: int) -> "Advance":
            task = progress.add_task(title, total=total)

            def advance(count: int) -> None:
                progress.advance(task, count)

            return advance

        yield watch


def _progress_lines(
    console: Console, title: str, total: int, clock: Callable[[], float]
) -> "Advance":
    """`advance` of one title; what was there in the first instant was not done in it."""
    started = clock()
    done = before = 0
    said_at = -math.inf

    def advance(count: int) -> None:
        nonlocal done, before, said_at
        done, now = done + count, clock()
        if now - started < 1:
            before = done
        if now - said_at < LINE_SECONDS and done < total:
            return
        said_at = now
        left = "?"
        if done > before:
            seconds = (now - started) * (total - done) / (done - before)
            left = str(timedelta(seconds=round(seconds)))
        console.print(f"{title}: {done} of {total}, {left} left", highlight=False)

    return advance


def _show(table: "CalibrationTable", console: Console) -> None:
    """The bounds, and how they held."""
    grid = Table(title=f"sigma {table.sigma_logits:.4f}, slack {table.slack_logits:.3f} logits")
    for title in ("T", "top-p", "tokens"):
        grid.add_column(title, justify="right")
    for edge in table.edges_logits:
        grid.add_column(f"> {edge:.3f}: hits (bound)", justify="right")
    for band in table.bands:
        cells = (f"{c} ({p:.1e})" for c, p in zip(band.counts[1:], band.p0[1:], strict=True))
        grid.add_row(
            f"{band.temperature_milli / 1000:g}",
            f"{band.top_p_milli / 1000:g}",
            str(sum(band.counts)),
            *cells,
        )
    console.print(grid)
    console.print("benchmarks, held out:", table.held_out)
    drawn = table.drawn
    if drawn is not None:
        console.print(f"what validators draw, tier {drawn.tier}, held out:", drawn.held_out)
    users = table.users
    if users is not None:
        console.print(
            f"hostile prompts: {users.prompts}, {users.traffic_percent:.0f} % of requests; honest "
            f"gaps {users.gap_ratio:.1f} times, loud margins {users.loud_ratio:.1f} times as many "
            "as with ordinary prompts"
        )
        console.print("hostile prompts, held out:", users.held_out)
    if table.power is not None:
        console.print(_power_grid(table.power))


def _power_grid(power: "PowerReport") -> Table:
    """How soon each attack was caught, by both kinds of bounds."""
    grid = Table(title=f"answers until the alarm, {power.runs} runs an attack")
    grid.add_column("attack")
    for kind in ("benchmarks", "users' prompts"):
        for title in ("detected", "median", "p95"):
            grid.add_column(f"{kind}: {title}", justify="right")
    for drawn, chosen in zip(power.benchmark, power.organic, strict=True):
        cells = [drawn.attack]
        for one in (drawn, chosen):
            figures = (one.median_responses, one.p95_responses)
            cells += [f"{one.detected:.0%}", *("-" if n is None else str(n) for n in figures)]
        grid.add_row(*cells)
    return grid
