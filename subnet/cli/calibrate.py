"""`assay calibrate`: measures how honest answers of a release look to the referee."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from subnet.cli.exits import EXIT_FAULT

if TYPE_CHECKING:
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.lab.calibration import Watch
    from subnet.lab.transcripts import Advance

ROOT = Path(__file__).parents[2]


def calibrate(
    release: Annotated[
        Path, typer.Option(help="Folder of the release: weights, tokenizer, chat template.")
    ] = ROOT / "assets" / "tiny",
    output: Annotated[
        Path | None, typer.Option(help="Default: calibration.json in the release's folder.")
    ] = None,
    prompts: Annotated[
        int, typer.Option(min=1, help="More prompts, sharper bounds: 20,000 take about 10 minutes.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="Same release, prompts and seed: same questions.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Measure a release's calibration: honest answers by vLLM, scored by the referee.

    Validators look up in it how often honest answers show each margin and log-probability gap;
    outside it they accuse nobody. Run it for every new release, engine version and kind of machine,
    and start log-only (`integrity_check = false` in subnet.toml) until it has been tried.

    Ends with code 1 if held-out honest answers raised an alarm: such a table must not be used.
    """
    from subnet.lab.calibration import calibrate as run

    console = Console(stderr=as_json)
    with progress_bars(console) as watch:
        table = run(release, prompts, seed, watch)
    where = output or release / "calibration.json"
    text = table.model_dump_json(indent=1) + "\n"
    unfinished = where.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(where)
    if as_json:
        print(text, end="")
    else:
        _show(table, console)
    console.print(f"wrote {where}")
    assert table.held_out is not None
    if table.held_out.alarms:
        raise typer.Exit(EXIT_FAULT)


@contextmanager
def progress_bars(console: Console) -> "Iterator[Watch]":
    """Progress on `console`: each call of what it yields opens one more bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def watch(title: str, total: int) -> "Advance":
            task = progress.add_task(title, total=total)

            def advance(count: int) -> None:
                progress.advance(task, count)

            return advance

        yield watch


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
    console.print(table.held_out)
