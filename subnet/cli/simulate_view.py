"""finished runs -> TABLES, JSON: what `assay simulate` prints."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from subnet.sim.report import ReportedRun
    from subnet.sim.result import SimResult


def as_json(runs: "Sequence[ReportedRun]") -> str:
    """One result; with --compare both, by their files, and what changed."""
    from subnet.sim.report import changes

    if len(runs) == 1:
        return json.dumps(_body(runs[0]))
    return json.dumps(
        {"runs": {run.title: _body(run) for run in runs}, "change": changes(runs)},
    )


def _body(run: "ReportedRun") -> dict[str, object]:
    own = run.validators
    found = run.result.model_dump(mode="json")
    return {**found, "validators_run": None if own is None else own.model_dump(mode="json")}


def show(runs: "Sequence[ReportedRun]", console: Console) -> None:
    """A table of miners, one of validators that are not honest, and a line a run."""
    from subnet.sim.report import changes

    first = runs[0].result
    change = changes(runs) if len(runs) > 1 else {}
    title = f"seed {first.seed}, {first.hours:g} virtual hours, {first.requests} requests"
    console.print(_miners(title, runs, [run.result for run in runs], change))
    own = [run.validators for run in runs if run.validators is not None]
    grid = _validators(runs, change)
    if grid.row_count:
        console.print(grid)
    if own:
        few = f"miners beside those validators, {own[0].hours:.3g} virtual hours"
        console.print(_miners(few, runs, own, {}))
    for run in runs:
        _show_rest(run, console)


def _miners(
    title: str,
    runs: "Sequence[ReportedRun]",
    results: "Sequence[SimResult]",
    change: dict[str, float | None],
) -> Table:
    from subnet.sim.report import number

    is_compared = len(runs) > 1
    caption = "1 is what an honest operator earns for a dollar; a strategy above it pays"
    title = f"{title}: income per cost over honest" if is_compared else title
    grid = Table(title=title, caption=caption)
    grid.add_column("strategy", no_wrap=True)
    columns = [] if is_compared else ["hotkeys", "income, 10^9 rao", "cost, USD"]
    for run in runs:
        columns += [run.title if is_compared else "income per cost over honest", "upper 95 %"]
    for name in [*columns, *(["change"] if change else [])]:
        grid.add_column(name, justify="right", overflow="fold")
    for place, one in enumerate(results[0].strategies):
        cells = [str(one.hotkeys), f"{one.income_rao / 1e9:.1f}", f"{one.cost:.2f}"]
        cells = [] if is_compared else cells
        for found in (result.strategies[place] for result in results):
            cells += [number(found.income_per_cost_over_honest), number(found.upper95)]
        grid.add_row(one.name, *cells, *_changed(one.name, change))
    return grid


def _validators(runs: "Sequence[ReportedRun]", change: dict[str, float | None]) -> Table:
    from subnet.sim.report import dividends, number

    is_apart = runs[0].validators is not None
    apart = ", in a run of their own" if is_apart else ""
    grid = Table(title=f"dishonest validators{apart}: dividends per stake over honest")
    grid.add_column("validator", no_wrap=True)
    found = [dividends(run) for run in runs]
    for run in runs:
        title = run.title if len(runs) > 1 else "over honest"
        grid.add_column(title, justify="right", overflow="fold")
    if change:
        grid.add_column("change", justify="right")
    for name in found[0]:
        grid.add_row(name, *(number(one.get(name)) for one in found), *_changed(name, change))
    return grid


def _changed(name: str, change: dict[str, float | None]) -> list[str]:
    from subnet.sim.report import signed

    return [signed(change[name])] if change else []


def _show_rest(run: "ReportedRun", console: Console) -> None:
    from subnet.sim.report import number

    found = run.result
    console.print(
        f"{run.title}: honest CV {number(found.honest_cv)}, honest miners quarantined "
        f"{found.quarantined_honest}, digest {found.digest[:16]}",
        highlight=False,
        soft_wrap=True,
    )
    if any(one.income_per_cost_over_honest is None for one in found.strategies):
        console.print("  - : honest miners earned nothing, or a strategy cost nothing")
    if found.unmeasured_families:
        families = ", ".join(found.unmeasured_families)
        console.print(f"  not measured, answered from the whole pool: {families}")
