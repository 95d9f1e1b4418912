"""`assay lab tell-apart`: can a miner tell users' prompts from benchmarks?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.exits import UsageError
from subnet.cli.miner_options import ConfigOption
from subnet.cli.outputs import place_of_files
from subnet.config import load_settings

if TYPE_CHECKING:
    from subnet.lab.sights import Sight
    from subnet.lab.tell_apart import Report
    from subnet.lab.watched import Prompt

ROOT = Path(__file__).parents[2]
SAMPLE = Path("assets") / "prompts" / "users.jsonl"
RUNS, QUICK_RUNS = 40, 6
PROMPTS_MIN = 160


def tell_apart_command(
    release: Annotated[
        Path, typer.Option(help="Folder of the release whose tokens are counted.")
    ] = ROOT / "assets" / "tiny",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='Users\' prompts, a JSON object a line: {"text": ..., "schema": {...}}, a schema '
            "only if the answer must obey one. Default: our own stand-in, assets/prompts."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same traffic.")] = 0,
    quick: Annotated[bool, typer.Option(help="Fewer runs: a minute or two.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write gaming.json; by default a whole run writes docs/."),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train classifiers on all that a miner sees, and say how well they tell users from benchmarks.

    The real prober, users' desk and dispatcher run on virtual time; the attacker trains on labelled
    traffic and is tested on other prompts, other secrets and, for content, other families. AUC .5
    is blind, 1 is certain. Measured on a busy subnet, and on one whose users ask enough that their
    prompts are asked again, without and with such echoes. Ends with code 1 if wire and timing of
    the one, or anything of the other with echoes, give away more than .55.

    Example: assay lab tell-apart --quick --prompts mine.jsonl
    """
    asked = _read(prompts or ROOT / SAMPLE)
    console = Console(stderr=as_json)
    folder = output or (None if quick or prompts else ROOT / "docs")
    if folder:
        place_of_files(folder)
    report = _run(release, asked, prompts or SAMPLE, config, console, seed=seed, quick=quick)
    if folder:
        (folder / "gaming.json").write_text(report.model_dump_json(indent=1) + "\n")
        console.print(f"wrote {folder / 'gaming.json'}")
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        console.print(_table("a busy subnet, no echoes", report.sights))
        for one in (report.without_echoes, report.with_echoes):
            title = f"a talkative subnet, {one.echo_share:.1%} of our own requests are echoes"
            console.print(_table(title, one.sights))
    if not report.is_within:
        raise typer.Exit(1)


def _run(
    release: Path,
    prompts: "Sequence[Prompt]",
    source: Path,
    config: Path | None,
    console: Console,
    *,
    seed: int,
    quick: bool,
) -> "Report":
    try:
        from subnet.lab.tell_apart import tell_apart
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}: install the lab extra, pip install -e '.[lab]'") from error
    from subnet.cli.calibrate import progress_bars
    from subnet.edge.release_files import load_release_files
    from subnet.edge.tokenizer import HubTokenizer

    files = load_release_files(str(release))
    with progress_bars(console) as watch:
        return tell_apart(
            prompts,
            source.as_posix(),
            files.release,
            HubTokenizer(files.folder),
            load_settings(config),
            QUICK_RUNS if quick else RUNS,
            seed,
            watch,
        )


def _read(path: Path) -> "list[Prompt]":
    """Raises UsageError."""
    from protocol.structure import Structure
    from subnet.lab.watched import Prompt

    found, number = [], 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            body = json.loads(line)
            schema = body.get("schema")
            structure = (
                None if schema is None else Structure(kind="json_schema", text=json.dumps(schema))
            )
            found.append(Prompt(str(body["text"]), structure))
    except OSError as error:
        raise UsageError(f"--prompts {path}: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"--prompts {path}, line {number}: {error}") from error
    if len(found) < PROMPTS_MIN:
        raise UsageError(f"--prompts {path}: {len(found)} prompts, at least {PROMPTS_MIN} needed")
    return found


def _table(title: str, sights: "Sequence[Sight]") -> Table:
    grid = Table(title=f"{title}: users against the rest, held out", title_justify="left")
    for place, title in enumerate(("what is seen", "AUC", "95 %", "classifier", "requests")):
        grid.add_column(title, justify="left" if place in (0, 3) else "right")
    for one in sights:
        grid.add_row(
            one.name,
            f"{one.auc:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            one.classifier,
            f"{one.organic} + {one.benchmark}",
        )
    return grid
