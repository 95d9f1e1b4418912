"""`assay law`: does cheating pay? Every statement with its figure, over many seeds."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli import simulate_options as flags
from subnet.cli.exits import EXIT_FAULT
from subnet.cli.simulate import read_laboratory

if TYPE_CHECKING:
    from subnet.sim.law import Statement
    from subnet.sim.trials import Outcome, Trial

NAME = "law"


def law(
    seeds: Annotated[int, typer.Option(min=2, help="Each trial runs with so many.")] = 20,
    quick: Annotated[
        bool, typer.Option(help="Short runs of a few strategies: to try the command.")
    ] = False,
    config: flags.Config = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for law.json and law.md. Default: none.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="At once. Default: as many as there are cores.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Try on many seeds that no cheat pays, and that honest miners have nothing to fear.

    Prints each statement with its figure and bound. Ends with code 1 if one does not hold. A whole
    run takes more than 45 CPU minutes, on all cores.
    """
    from subnet.config import load_settings
    from subnet.sim.law import judged
    from subnet.sim.trials import quick as short
    from subnet.sim.trials import whole

    trials = short() if quick else whole()
    settings = load_settings(config)
    settings_json = settings.model_dump_json()
    console = Console(stderr=as_json)
    jobs = [(trial, seed, settings_json) for trial in trials for seed in range(seeds)]
    outcomes = list(_done(jobs, processes or os.cpu_count() or 1, console))
    statements = judged(outcomes)
    if output is not None:
        _write(output, statements, trials, outcomes, settings.rules.digest())
        console.print(f"wrote {output / NAME}.json, .md")
    if as_json:
        print(json.dumps([_row(one) for one in statements]))
    else:
        console.print(_grid(statements))
    if not all(one.is_held for one in statements):
        raise typer.Exit(EXIT_FAULT)


def _done(
    jobs: "Sequence[tuple[Trial, int, str]]", processes: int, console: Console
) -> "Iterator[Outcome]":
    """Run all, some at once; in order, whichever ends first."""
    from subnet.cli.calibrate import progress_bars

    with progress_bars(console) as watch, ProcessPoolExecutor(processes) as pool:
        advance = watch("runs", len(jobs))
        for outcome in pool.map(_try, jobs):
            advance(1)
            yield outcome


def _try(job: "tuple[Trial, int, str]") -> "Outcome":
    """One run, in a process of its own."""
    from subnet.config import Settings
    from subnet.sim.trials import tried

    trial, seed, settings = job
    lab = read_laboratory(flags.PROFILES, flags.CALIBRATION, flags.PRICES)
    return tried(trial, seed, lab, Settings.model_validate_json(settings))


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
    outcomes: "Sequence[Outcome]",
    rules_digest: str,
) -> None:
    """The figures, and the digests by which anyone checks that the runs were the same."""
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
    for outcome in outcomes:
        digests.setdefault(outcome.trial, []).append(outcome.result.digest)
    found = {
        "seeds": seeds,
        "rules_digest": rules_digest,
        "trials": scale,
        "statements": [_row(one) for one in statements],
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
