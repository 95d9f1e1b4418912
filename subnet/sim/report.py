"""results -> HTML: one file that shows an owner what each strategy earns, with its plots inside."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from subnet.sim.result import SimResult, income_by_epoch
from subnet.sim.simulation import Simulation

BAR_INCHES = 0.26
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}.worse{color:#b00020}"""


@dataclass(frozen=True)
class ReportedRun:
    """One run under the name that the report gives it."""

    title: str
    result: SimResult
    epochs: dict[str, list[float]]
    """Mean income of a strategy's operators in rao, epoch by epoch."""


def reported(title: str, result: SimResult, done: Simulation) -> ReportedRun:
    """What the report needs of a run."""
    return ReportedRun(title, result, income_by_epoch(done))


def html_report(runs: Sequence[ReportedRun], load: float, miners: int) -> str:
    """A self-contained page; the first run is the one to look at, the others to compare with."""
    first = runs[0].result
    head = (
        f"seed {first.seed}, {first.hours:g} virtual hours, {miners} miners, "
        f"{load:g} requests an hour to each"
    )
    parts = [
        f"<h1>Simulated subnet</h1><p>{head}</p>",
        "<p>Income per cost: 1 is what an honest operator gets for a dollar. Above it a strategy "
        "pays.</p>",
        _table(runs),
        _svg(_bars(runs)),
        _svg(_lines(runs[0])),
        *(
            f"<p>{html.escape(one.title)}: honest CV {one.result.honest_cv:.4f}, honest "
            f"miners quarantined {one.result.quarantined_honest}, digest "
            f"<code>{one.result.digest}</code></p>"
            for one in runs
        ),
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Simulated subnet</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _table(runs: Sequence[ReportedRun]) -> str:
    titles = "".join(f"<th>{html.escape(one.title)}: income per cost<th>upper 95 %" for one in runs)
    rows = []
    for strategy in runs[0].result.strategies:
        cells = []
        for run in runs:
            found = next((s for s in run.result.strategies if s.name == strategy.name), None)
            ratio = found.income_per_cost_over_honest if found else float("nan")
            bound = found.upper95 if found else None
            mark = " class=worse" if strategy.name != "honest" and ratio > 1 else ""
            cells.append(f"<td{mark}>{ratio:.3f}<td>{'-' if bound is None else f'{bound:.3f}'}")
        name = html.escape(strategy.name)
        rows.append(f"<tr><td>{name}<td>{strategy.hotkeys}{''.join(cells)}")
    return f"<table><tr><th>strategy<th>hotkeys{titles}{''.join(rows)}</table>"


def _bars(runs: Sequence[ReportedRun]) -> Any:
    from matplotlib.figure import Figure

    names = [one.name for one in runs[0].result.strategies]
    figure = Figure(figsize=(9, 1.5 + BAR_INCHES * len(names) * len(runs)))
    axes = figure.subplots()
    thick = 0.8 / len(runs)
    for place, run in enumerate(runs):
        found = {s.name: s.income_per_cost_over_honest for s in run.result.strategies}
        spots = [row + thick * place for row in range(len(names))]
        axes.barh(spots, [found.get(name, 0.0) for name in names], thick, label=run.title)
    axes.set_yticks([row + thick * (len(runs) - 1) / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("income per cost over honest")
    axes.legend()
    figure.tight_layout()
    return figure


def _lines(run: ReportedRun) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5))
    axes = figure.subplots()
    for name, values in run.epochs.items():
        is_honest = name == "honest"
        axes.plot(
            range(1, len(values) + 1),
            [value / 1e9 for value in values],
            label=name,
            linewidth=2.5 if is_honest else 1,
            color="black" if is_honest else None,
        )
    axes.set_xlabel(f"epoch ({run.title})")
    axes.set_ylabel("income of an operator, 10^9 rao")
    axes.legend(fontsize=7, ncols=3)
    figure.tight_layout()
    return figure


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    found = text.getvalue()
    return found[found.index("<svg") :]
