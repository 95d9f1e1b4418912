"""`assay lab card`: what a release can do and where it breaks down, as JSON and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.exits import UsageError
from subnet.cli.miner_options import VllmOption
from subnet.cli.outputs import place_of_files
from subnet.core.benchmark import FAMILIES

if TYPE_CHECKING:
    from subnet.lab.card_figures import FamilyCard, Figures, ModelCard

ROOT = Path(__file__).parents[2]
NAME = "model-card"
TITLES = (
    "family",
    "tier",
    "grade",
    "error",
    "between repeats",
    "refused",
    "cut short",
    "tokens needed",
)


def card(
    model: Annotated[
        str, typer.Option(help="The release: a folder, or a hub name such as Qwen/Qwen3-0.6B.")
    ] = str(ROOT / "assets" / "tiny"),
    revision: Annotated[str, typer.Option(help="The model's revision on the hub.")] = "main",
    runtime: Annotated[
        str, typer.Option(help="Engine build that the release pins, as miners name it.")
    ] = "vllm-0.32.0-cpu",
    family: Annotated[
        list[str] | None,
        typer.Option(help="Only this benchmark family; repeat it for more. Plug-ins count."),
    ] = None,
    vllm: VllmOption = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of tasks and sampling; same seed, same questions.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option(help="Fewer tasks and repeats: a look, not a measurement.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the card; by default a whole run of the shipped release writes docs/."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Serve a release by its real engine, ask it every tier of every family, and write its card.

    Each task is asked several times with the same prompt and other nonces, which shows how steady
    the release is. The card says where it fails: the tier at which a family's mean grade falls
    under the bar, the context length at which an easy fact is no longer found, how often it
    refuses. Tiers that do not fit the model's context are listed as such.

    Grades of code need bubblewrap (Debian package `bubblewrap`), if such tasks fit the model.

    Example: assay lab card --model Qwen/Qwen3-0.6B --runtime vllm-0.32.0-cuda --output card
    """
    chosen = _families(family or [])
    console = Console(stderr=as_json)
    is_default = Path(model) == ROOT / "assets" / "tiny" and not (quick or family)
    folder = output or (ROOT / "docs" if is_default else None)
    if folder:
        place_of_files(folder)
    made = _measured(model, revision, runtime, chosen, vllm or [], seed, console, quick=quick)
    if folder:
        (folder / f"{NAME}.json").write_text(made.model_dump_json(indent=1) + "\n")
        (folder / f"{NAME}.md").write_text(page(made))
        console.print(f"wrote {folder / NAME}.json, .md")
    if as_json:
        print(made.model_dump_json(indent=1))
    else:
        _show(made, console)


def _families(names: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise UsageError(f"--family {unknown[0]}: known are {', '.join(FAMILIES)}")
    return tuple(names) or tuple(FAMILIES)


def _measured(
    model: str,
    revision: str,
    runtime: str,
    families: Sequence[str],
    vllm: Sequence[str],
    seed: int,
    console: Console,
    *,
    quick: bool,
) -> "ModelCard":
    from subnet.cli.calibrate import progress_bars
    from subnet.edge.engine_args import parse_engine_arguments
    from subnet.edge.release_files import load_release_files
    from subnet.edge.sandbox import BubblewrapSandbox
    from subnet.edge.vllm_runtime import set_engine_environment

    arguments = parse_engine_arguments(vllm)
    files = load_release_files(model, revision, runtime=runtime)
    set_engine_environment(arguments)
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.card import QUICK, WHOLE, make_card, needs_sandbox

    tokenizer = HubTokenizer(files.folder)
    is_code_run = needs_sandbox(tokenizer, families, files.release.context_tokens_max, seed)
    sandbox = BubblewrapSandbox() if is_code_run else None
    with progress_bars(console) as watch:
        sizes = QUICK if quick else WHOLE
        return make_card(files, tokenizer, families, sizes, seed, arguments, sandbox, watch)


def _rows(made: "ModelCard") -> list[tuple[str, ...]]:
    return [
        (family.name, str(one.tier), *_cells(one.figures), str(one.tokens_max))
        for family in made.families
        for one in family.tiers
    ]


def _cells(found: "Figures | None") -> tuple[str, ...]:
    if found is None:
        return ("does not fit", "", "", "", "")

    def figure(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return (
        figure(found.grade),
        figure(found.grade_error),
        figure(found.repeat_deviation),
        f"{found.refusals:.1%}",
        f"{found.cut_short:.1%}",
    )


def _boundary(family: "FamilyCard") -> str:
    if all(one.figures is None or one.figures.grade is None for one in family.tiers):
        return f"{family.name}: quality is not measured"
    holds = "no tier" if family.holds_to_tier is None else f"tier {family.holds_to_tier}"
    if family.fails_at_tier is None:
        return f"{family.name}: holds to {holds}, the hardest that fits"
    return f"{family.name}: holds to {holds}, fails at tier {family.fails_at_tier}"


def _summary(made: "ModelCard") -> list[str]:
    holds = "nowhere" if made.holds_to_tokens is None else f"to {made.holds_to_tokens} tokens"
    fails = "" if made.fails_at_tokens is None else f", fails at {made.fails_at_tokens}"
    return [
        *(_boundary(family) for family in made.families),
        f"an easy fact inside a longer prompt: found {holds}{fails}",
        f"refused: {made.refusals:.2%} of all answers",
        f"standard deviation of a grade between repeats of one task: {made.repeat_deviation:.3f}",
    ]


def _show(made: "ModelCard", console: Console) -> None:
    grid = Table(title=f"{made.model}: {made.tasks} tasks a tier, {made.repeats} repeats")
    for title in TITLES:
        is_name = title == "family"
        grid.add_column(title, justify="left" if is_name else "right", no_wrap=is_name)
    for row in _rows(made):
        grid.add_row(*row)
    console.print(grid)
    for line in _summary(made):
        console.print(line)


def page(made: "ModelCard") -> str:
    """The card as Markdown."""
    sampling = (
        f"temperature {made.temperature_milli / 1000:g}, top-p {made.top_p_milli / 1000:g}, "
        f"top-k {made.top_k}"
    )
    lengths = [f"| {one.tokens} | {' | '.join(_cells(one.figures))} |" for one in made.lengths]
    return "\n".join(
        [
            f"# Model card: {made.model}",
            "",
            f"Written by `assay lab card --seed {made.seed}`; never edited. Release "
            f"`{made.release_digest[:16]}`, served by {made.environment}, {sampling}. "
            f"{made.tasks} tasks of each tier and length, each asked {made.repeats} times with the "
            "same prompt and other nonces. A tier or length holds while the mean grade is at least "
            f"{made.bar:g}. The families and tiers: `docs/benchmark.md`.",
            "",
            "## Where it fails",
            *(f"- {line}" for line in _summary(made)),
            "",
            "## Families and tiers",
            "`error` is the standard error of the mean over tasks, `between repeats` the standard "
            "deviation of the grade between repeats of one task, `tokens needed` the longest "
            "prompt with room for its answer.",
            "",
            f"| {' | '.join(TITLES)} |",
            f"|{' --- |' * len(TITLES)}",
            *(f"| {' | '.join(row)} |" for row in _rows(made)),
            "",
            "## Context length",
            "One easy retrieval question at a random depth of sentences that say nothing.",
            "",
            f"| tokens | {' | '.join(TITLES[2:7])} |",
            f"|{' --- |' * 6}",
            *lengths,
            "",
        ]
    )
