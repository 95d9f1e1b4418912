"""`assay lab verify`: the attack bench, its table and its plot."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from subnet.cli.calibration_file import calibration_of
from subnet.cli.exits import UsageError
from subnet.cli.lab_report import NAME, show_results, write_results
from subnet.cli.outputs import place_of_files

if TYPE_CHECKING:
    from subnet.lab.adversary import Adversary
    from subnet.lab.attack_bench import Outcome

ROOT = Path(__file__).parents[2]


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
        typer.Option(help="module:Class of your own attack (see subnet.lab.adversary.Adversary)."),
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
    chosen = _attacks(attack or [], adversary or [])
    console = Console(stderr=as_json)
    is_whole = not (quick or attack or adversary or prompts)
    folder = output or (ROOT / "docs" if is_whole else None)
    if folder:
        place_of_files(folder)
    outcome = _play(release, chosen, prompts, console, seed=seed, quick=quick)
    if folder:
        write_results(folder, outcome, {one.name: one.summary for one in chosen})
        console.print(f"wrote {folder / NAME}.json, .md, .svg")
    if as_json:
        print(outcome.results.model_dump_json(indent=1))
    else:
        show_results(outcome.results, console)


def _play(
    release: Path,
    chosen: "Sequence[Adversary]",
    prompts: Path | None,
    console: Console,
    *,
    seed: int,
    quick: bool,
) -> "Outcome":
    """Run the bench. Raises UsageError for files that do not fit."""
    from subnet.cli.calibrate import progress_bars
    from subnet.core.verification.evidence import EvidenceParams
    from subnet.edge.release_files import load_release_files
    from subnet.edge.vllm_runtime import set_engine_environment

    files = load_release_files(str(release))
    table = calibration_of(release)
    try:
        texts = prompts.read_text(encoding="utf-8").splitlines() if prompts else []
    except OSError as error:
        raise UsageError(f"--prompts {prompts}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--prompts {prompts} is not UTF-8 text: {error}") from error
    if table.provenance.release_digest != files.release.digest():
        raise UsageError(f"{release}: the calibration is of other weights; run assay calibrate")
    set_engine_environment({})
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.attack_bench import QUICK, WHOLE, run_bench

    with progress_bars(console) as watch:
        return run_bench(
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


def _attacks(names: Sequence[str], paths: Sequence[str]) -> "list[Adversary]":
    """The attacks to play. Raises UsageError for one that is not there."""
    from subnet.lab.play import chosen_attacks

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
