"""`assay lab verify`: the attack bench, its table and its plot."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.exits import UsageError

if TYPE_CHECKING:
    from subnet.lab.attack_bench import Outcome, Results
    from subnet.lab.attacks import Adversary
    from subnet.lab.detection import Detection

ROOT = Path(__file__).parents[2]
NAME = "verification-results"
SLOWEST_PLOTTED_TOKENS = 100_000


def verify(
    release: Annotated[
        Path, typer.Option(help="The promised release; a weaker checkpoint lies in <release>-weak.")
    ] = ROOT / "assets" / "tiny",
    seed: Annotated[
        int, typer.Option(min=0, help="Of prompts and runs; same seed, same runs.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option(help="Fewer answers, one engine: under three minutes.")
    ] = False,
    attack: Annotated[
        list[str] | None, typer.Option(help="Only this attack; repeat it for more.")
    ] = None,
    adversary: Annotated[
        list[str] | None,
        typer.Option(help="module:Class of your own attack (see subnet.lab.attacks.Adversary)."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Ask these instead, one prompt a line.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write results; by default a whole run writes docs/."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Play honest miners and every known cheat against the verifier, and say how soon it sees them.

    Honest answers come from vLLM, cheats from the lab's sampler; each attack is run 200 times
    against the detector that validators use, with the default bets.
    """
    from subnet.cli.calibrate import progress_bars
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.core.verification.evidence import EvidenceParams
    from subnet.edge.release_files import load_release_files
    from subnet.edge.vllm_runtime import set_engine_environment

    set_engine_environment({})
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.attack_bench import QUICK, WHOLE, run_bench

    chosen = _attacks(attack or [], adversary or [])
    files = load_release_files(str(release))
    try:
        table = CalibrationTable.model_validate_json((release / "calibration.json").read_text())
        texts = prompts.read_text().splitlines() if prompts else []
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    if table.provenance.release_digest != files.release.digest():
        raise UsageError(f"{release}: the calibration is of other weights; run assay calibrate")
    console = Console(stderr=as_json)
    with progress_bars(console) as watch:
        outcome = run_bench(
            files,
            release.with_name(f"{release.name}-weak"),
            HubTokenizer(files.folder),
            table,
            EvidenceParams(),
            chosen,
            QUICK if quick else WHOLE,
            seed,
            [text for text in texts if text.strip()],
            watch,
        )
    is_whole = not (quick or attack or adversary or prompts)
    folder = output or (ROOT / "docs" if is_whole else None)
    if folder:
        _write(folder, outcome, {one.name: one.summary for one in chosen})
        console.print(f"wrote {folder / NAME}.json, .md, .svg")
    if as_json:
        print(outcome.results.model_dump_json(indent=1))
    else:
        _show(outcome.results, console)


def _attacks(names: Sequence[str], paths: Sequence[str]) -> "list[Adversary]":
    """The attacks to play. Raises UsageError for one that is not there."""
    from subnet.lab.attack_bench import chosen_attacks

    own: list[Adversary] = []
    for path in paths:
        module, _, name = path.partition(":")
        try:
            own.append(getattr(importlib.import_module(module), name)())
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"--adversary {path}: {error}; give module:Class") from error
    try:
        shipped = [] if own and not names else chosen_attacks(names)
    except KeyError as error:
        known = ", ".join(one.name for one in chosen_attacks([]))
        raise UsageError(f"--attack {error.args[0]}: known are {known}") from error
    return [*shipped, *own]


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
    honest, cost = results.honest, results.cost
    return [
        f"honest: {honest.alarms} alarms in {honest.tokens} tokens of {honest.responses} answers, "
        f"largest margin {honest.max_margin:.3f} logits",
        f"cost: the referee verifies {cost.batch64_ratio} times as many tokens a second as vLLM "
        f"generates at batch 64, {cost.batch1_ratio} times as many as at batch 1, in "
        f"{cost.over_bare_forward} times the time of its own forward passes",
    ]


def _show(results: "Results", console: Console) -> None:
    grid = Table(title="answers until the alarm")
    for place, title in enumerate(_TITLES):
        grid.add_column(title, justify="left" if place in (0, 5) else "right")
    for row in _rows(results):
        grid.add_row(*row)
    console.print(grid)
    for line in _summary(results):
        console.print(line)


def _write(folder: Path, outcome: "Outcome", summaries: Mapping[str, str]) -> None:
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
