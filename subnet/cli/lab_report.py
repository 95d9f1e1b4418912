"""The attack bench's results, as people read them: a table, a page, a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from subnet.lab.attack_bench import Outcome, Results
    from subnet.lab.detection import Detection

NAME = "verification-results"
SLOWEST_PLOTTED_TOKENS = 100_000


def _rows(results: "Results") -> list[tuple[str, ...]]:
    def figure(value: object) -> str:
        return "-" if value is None else f"{value}"

    return [
        (
            one.name,
            f"{one.detected:.0%}",
            figure(one.median_responses),
            figure(one.p95_responses),
            figure(one.median_tokens),
            figure(one.channel),
        )
        for one in results.attacks
    ]


_TITLES = ("attack", "detected", "median answers", "p95 answers", "median tokens", "channel")


def _summary(results: "Results") -> list[str]:
    honest, cost, short = results.honest, results.cost, results.one_token
    return [
        f"honest: {honest.alarms} alarms in {honest.tokens} tokens of {honest.responses} answers, "
        f"largest margin {honest.max_margin:.3f} logits",
        f"answers of one token: {short.honest_alarms} alarms in {short.honest_responses} honest "
        f"ones, {short.dishonest_alarms} in {short.dishonest_responses} by the smaller model, the "
        f"first after {short.first_alarm_responses or '-'}",
        f"cost: the referee verifies {cost.batch64_ratio} times as many tokens a second as vLLM "
        f"generates at batch 64, {cost.batch1_ratio} times as many as at batch 1, in "
        f"{cost.over_bare_forward} times the time of its own forward passes",
    ]


def show_results(results: "Results", console: Console) -> None:
    """Print the table of attacks and what honest answers did."""
    grid = Table(title="answers until the alarm")
    for place, title in enumerate(_TITLES):
        grid.add_column(title, justify="left" if place in (0, 5) else "right")
    for row in _rows(results):
        grid.add_row(*row)
    console.print(grid)
    for line in _summary(results):
        console.print(line)


def write_results(folder: Path, outcome: "Outcome", summaries: Mapping[str, str]) -> None:
    """Write the .json, .md and .svg; `summaries` say what each attack does."""
    folder.mkdir(parents=True, exist_ok=True)
    results = outcome.results
    (folder / f"{NAME}.json").write_text(results.model_dump_json(indent=1) + "\n")
    lines = [
        "# What the verifier catches, and how soon",
        "",
        "Written by `assay lab verify` from `verification-results.json`; how it works:",
        "`docs/verification.md`. Each attack ran 200 times, at temperature 1, top-p .95, top-k 50,",
        "every tenth request greedy. The alarm is c = 1e8; `-` means that fewer runs than that",
        f"ended within 4,000 answers. Release `{results.release[:16]}`, seed {results.seed}.",
        "",
        *(f"- {line}" for line in _summary(results)),
        "",
        f"![share of runs detected, by tokens]({NAME}.svg)",
        "",
        f"| {' | '.join(_TITLES)} | what it does |",
        f"|{'---|' * (len(_TITLES) + 1)}",
        *(f"| {' | '.join(row)} | {summaries[row[0]]} |" for row in _rows(results)),
    ]
    (folder / f"{NAME}.md").write_text("\n".join(lines) + "\n")
    _plot(folder / f"{NAME}.svg", outcome.detections)


def _plot(path: Path, detections: "Mapping[str, Sequence[Detection]]") -> None:
    """Share of runs detected against tokens audited, an attack a line."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "assay"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6))
    styles: list[Any] = ["-", "--", ":", "-."]
    for place, (name, runs) in enumerate(detections.items()):
        tokens = sorted(run.tokens for run in runs if run.channel is not None)
        shares = [(rank + 1) / len(runs) for rank in range(len(tokens))]
        axes.step(tokens, shares, where="post", label=name, linestyle=styles[place // 10 % 4])
    axes.set_xscale("log")
    axes.set_xlim(1, SLOWEST_PLOTTED_TOKENS)
    axes.set_xlabel("audited tokens")
    axes.set_ylabel("share of runs detected")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
