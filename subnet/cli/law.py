"""`assay law`: does cheating pay? Every statement with its figure, over many seeds."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli import simulate_options as flags
from subnet.cli.exits import EXIT_FAULT
from subnet.cli.outputs import place_of_files

if TYPE_CHECKING:
    from subnet.cli.law_runs import KeptRun
    from subnet.sim.law import Statement
    from subnet.sim.trials import Trial

NAME = "law"
KEEP = Path(".law")


def law(
    seeds: Annotated[int, typer.Option(min=2, help="Each trial runs with so many.")] = 20,
    quick: Annotated[
        bool, typer.Option(help="Short runs of a few strategies: to try the command.")
    ] = False,
    config: flags.Config = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for law.json and law.md. Default: none.")
    ] = None,
    keep: Annotated[
        Path,
        typer.Option(help="Folder in which each run is kept as it ends: what is there is not run."),
    ] = KEEP,
    processes: Annotated[
        int | None, typer.Option(min=1, help="At once. Default: as many as there are cores.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Try on many seeds that no cheat pays, and that honest miners have nothing to fear.

    Prints each statement with its figure and bound. Ends with code 1 if one does not hold. Stopped,
    it goes on where it was; a run is done again once its rules, code or measured answers changed.
    All 20 seeds take more than an hour of CPU time (docs/simulator.md); --quick is to try it.
    """
    from subnet.cli.calibrate import progress_bars
    from subnet.cli.law_runs import all_runs, jobs_of
    from subnet.config import load_settings
    from subnet.sim.law import judged
    from subnet.sim.trials import quick as short
    from subnet.sim.trials import whole

    trials = short() if quick else whole()
    settings = load_settings(config)
    if output is not None:
        place_of_files(output)
    console = Console(stderr=as_json)
    jobs = jobs_of(trials, seeds, settings)
    with progress_bars(console) as watch:
        advance = watch("requests", sum(job.trial.requests for job in jobs))
        runs = all_runs(jobs, keep, settings, processes or os.cpu_count() or 1, advance)
    statements = judged([run.outcome for run in runs])
    if output is not None:
        _write(output, statements, trials, runs, settings.rules.digest())
        console.print(f"wrote {output / NAME}.json, .md")
    if as_json:
        print(json.dumps([_row(one) for one in statements]))
    else:
        console.print(_grid(statements))
    if not all(one.is_held for one in statements):
        raise typer.Exit(EXIT_FAULT)


def _row(one: "Statement") -> dict[str, object]:
    return {**one.model_dump(), "held": one.is_held}


def _grid(statements: "Sequence[Statement]") -> Table:
    grid = Table()
    grid.add_column("statement")
    for title in ("figure", "bound", "held"):
        grid.add_column(title, justify="right")
    for one in statements:
        word = "-" if one.relation == "printed" else "yes" if one.is_held else "NO"
        grid.add_row(_sentence(one), f"{one.figure:.3f}", _bound(one), word)
    return grid


def _sentence(one: "Statement") -> str:
    return f"{one.name} ({one.trial})"


def _bound(one: "Statement") -> str:
    return "printed" if one.bound is None else f"{one.relation} {one.bound:g}"


def _write(
    folder: Path,
    statements: "Sequence[Statement]",
    trials: "Sequence[Trial]",
    runs: "Sequence[KeptRun]",
    rules_digest: str,
) -> None:
    """The figures, what they rest on, and the digests by which anyone checks that the runs were the
    same."""
    from subnet.cli.law_runs import code_digest, cpu_seconds_of
    from subnet.sim.spread import spreads

    seeds = statements[-1].seeds
    scale = {
        one.name: {
            "hours": one.hours,
            "miners": one.miners,
            "validators": one.validators,
            "requests_per_miner_hour": one.load,
            "commit_reveal": one.commit_reveal,
        }
        for one in trials
    }
    digests: dict[str, list[str]] = {}
    for run in runs:
        digests.setdefault(run.trial, []).append(run.result.digest)
    found = {
        "seeds": seeds,
        "rules_digest": rules_digest,
        "code_digest": code_digest(),
        "cpu_seconds": cpu_seconds_of(runs),
        "trials": scale,
        "statements": [_row(one) for one in statements],
        "strategies": [one.model_dump() for one in spreads([run.outcome for run in runs])],
        "digests": digests,
    }
    (folder / f"{NAME}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{NAME}.md").write_text(_page(statements, trials, seeds))


def _page(statements: "Sequence[Statement]", trials: "Sequence[Trial]", seeds: int) -> str:
    held = sum(one.is_held for one in statements)
    lines = [
        "# The law",
        "",
        "Written by `make law` from simulated runs; how they work, and what a trial is:",
        f"[`simulator.md`](simulator.md). {seeds} seeds a trial; a figure is the one-sided 95 %",
        f"bound of the mean over them. {held} of {len(statements)} statements hold.",
        "",
        "| statement | trial | figure | bound | held |",
        "|---|---|---|---|---|",
    ]
    for one in statements:
        word = "-" if one.relation == "printed" else "yes" if one.is_held else "**no**"
        lines.append(f"| {one.name} | {one.trial} | {one.figure:.3f} | {_bound(one)} | {word} |")
    lines += ["", "| trial | hours | miners | validators | requests an hour to each miner |"]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {one.name} | {one.hours:g} | {one.miners} | {one.validators} | {one.load:g} |"
        for one in trials
    ]
    return "\n".join(lines) + "\n"
