"""results -> HTML: one file that shows an owner what each strategy earns, with its plots inside."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subnet.sim.options import SimOptions
from subnet.sim.profiles import HONEST
from subnet.sim.result import SimResult, income_by_epoch
from subnet.sim.simulation import Simulation
from subnet.sim.validators import HONEST_VALIDATOR

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
    validators: SimResult | None = None
    """Of the dishonest validators' own run."""


def reported(
    title: str, result: SimResult, done: Simulation, validators: SimResult | None = None
) -> ReportedRun:
    """What the report needs of a run."""
    return ReportedRun(title, result, income_by_epoch(done), validators)


def dividends(run: ReportedRun) -> dict[str, float]:
    """Each dishonest validator's dividends per stake over an honest one's, from either run."""
    results = [run.result] if run.validators is None else [run.result, run.validators]
    return {
        one.name: one.dividends_per_stake_over_honest
        for result in results
        for one in result.validators
        if one.name != HONEST_VALIDATOR and one.dividends_per_stake_over_honest is not None
    }


def changes(runs: Sequence[ReportedRun]) -> dict[str, float | None]:
    """How much the first run's rules add to every strategy's figure over the second's.

    Income per cost of miners, dividends per stake of validators, both over the honest; None where
    one of the two figures is not there.
    """
    first, second = (_figures(run) for run in runs)
    return {
        name: None if one is None or (other := second.get(name)) is None else round(one - other, 6)
        for name, one in first.items()
    }


def _figures(run: ReportedRun) -> dict[str, float | None]:
    own = () if run.validators is None else run.validators.strategies
    strategies = {one.name: one for one in (*own, *run.result.strategies)}
    found = {name: one.income_per_cost_over_honest for name, one in strategies.items()}
    return {**found, **dividends(run)}


def html_report(runs: Sequence[ReportedRun], options: SimOptions) -> str:
    """A self-contained page of one run, or of two whose first is compared with the second."""
    head = (
        f"seed {options.seed}, {options.hours:g} virtual hours, {options.miners} miners, "
        f"{options.validators} validators, {options.load:g} requests an hour to each miner, "
        f"{options.bursts_per_day} joint probes a day of each validator"
    )
    change = changes(runs) if len(runs) > 1 else {}
    parts = [
        f"<h1>Simulated subnet</h1><p>{head}</p>",
        "<p>Income per cost: 1 is what an honest operator gets for a dollar. Above it a strategy "
        "pays.</p>",
        _table(runs, [run.result for run in runs], change),
        _svg(_bars(runs)),
        _svg(_lines(runs[0])),
        _validators(runs, change),
        *(
            f"<p>{html.escape(one.title)}: honest CV {number(one.result.honest_cv)}, honest "
            f"miners quarantined {one.result.quarantined_honest}, digest "
            f"<code>{one.result.digest}</code></p>"
            for one in runs
        ),
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Simulated subnet</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _table(
    runs: Sequence[ReportedRun], results: Sequence[SimResult], change: Mapping[str, float | None]
) -> str:
    titles = "".join(f"<th>{html.escape(one.title)}: income per cost<th>upper 95 %" for one in runs)
    titles += "<th>change" if change else ""
    rows = []
    for place, strategy in enumerate(results[0].strategies):
        cells = []
        for result in results:
            found = result.strategies[place]
            ratio = found.income_per_cost_over_honest
            is_worse = strategy.name != HONEST and ratio is not None and ratio > 1
            mark = " class=worse" if is_worse else ""
            cells.append(f"<td{mark}>{number(ratio)}<td>{number(found.upper95)}")
        name = html.escape(strategy.name)
        cells += [f"<td>{signed(change[strategy.name])}"] if change else []
        rows.append(f"<tr><td>{name}<td>{strategy.hotkeys}{''.join(cells)}")
    return f"<table><tr><th>strategy<th>hotkeys{titles}{''.join(rows)}</table>"


def _validators(runs: Sequence[ReportedRun], change: Mapping[str, float | None]) -> str:
    """The dishonest validators, and their own run's miners if they had one."""
    found = [dividends(run) for run in runs]
    if not found[0]:
        return ""
    titles = "".join(f"<th>{html.escape(one.title)}: dividends per stake" for one in runs)
    titles += "<th>change" if change else ""
    rows = ""
    for name in found[0]:
        cells = [number(one.get(name)) for one in found]
        cells += [signed(change[name])] if change else []
        rows += f"<tr><td>{html.escape(name)}{''.join(f'<td>{cell}' for cell in cells)}"
    parts = ["<h2>Dishonest validators</h2>"]
    parts.append(f"<table><tr><th>validator{titles}{rows}</table>")
    own = [run.validators for run in runs if run.validators is not None]
    if own:
        parts.append(
            f"<p>In a run of their own of {own[0].hours:.3g} hours, beside these miners:</p>"
        )
        parts.append(_table(runs, own, change))
    return "".join(parts)


def number(value: float | None) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A change, or a dash where there is none."""
    return "-" if value is None else f"{value:+.3f}"


def _bars(runs: Sequence[ReportedRun]) -> Any:
    from matplotlib.figure import Figure

    names = [one.name for one in runs[0].result.strategies]
    figure = Figure(figsize=(9, 1.5 + BAR_INCHES * len(names) * len(runs)))
    axes = figure.subplots()
    thick = 0.8 / len(runs)
    for place, run in enumerate(runs):
        found = {s.name: s.income_per_cost_over_honest for s in run.result.strategies}
        spots = [row + thick * place for row in range(len(names))]
        axes.barh(spots, [found[name] or 0.0 for name in names], thick, label=run.title)
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
        is_honest = name == HONEST
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
