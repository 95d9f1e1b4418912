"""`assay lab profiles`: the measured answers that the simulator draws from."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from subnet.cli.exits import UsageError

ROOT = Path(__file__).parents[2]
NAME = "attack-profiles.json"


def profiles(
    release: Annotated[
        Path, typer.Option(help="The promised release; a weaker checkpoint lies in <release>-weak.")
    ] = ROOT / "assets" / "tiny",
    honest: Annotated[int, typer.Option(min=100, help="Honest answers, by vLLM.")] = 6000,
    answers: Annotated[int, typer.Option(min=10, help="Answers of each attack.")] = 400,
    attack: Annotated[
        list[str] | None, typer.Option(help="Only this attack; repeat it for more.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the questions.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="Whose [draws] are asked. Default: subnet.toml.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: attack-profiles.json in the release's folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Measure what honest and dishonest answers look like: margins, gaps, lengths, grades.

    The simulator's miners draw from this file (`assay simulate`), so that no oracle tells it who
    cheats. Run it again when the release, its calibration or the benchmark changes. Takes about ten
    minutes.
    """
    from subnet.cli.calibrate import progress_bars
    from subnet.config import load_settings
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.edge.release_files import load_release_files
    from subnet.edge.vllm_runtime import set_engine_environment

    files = load_release_files(str(release))
    try:
        table = CalibrationTable.model_validate_json((release / "calibration.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    draws = load_settings(config).draws
    set_engine_environment({})
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.play import chosen_attacks
    from subnet.lab.profiles import measured_profiles

    try:
        chosen = chosen_attacks(attack or [])
    except KeyError as error:
        known = ", ".join(one.name for one in chosen_attacks([]))
        raise UsageError(f"--attack {error.args[0]}: known are {known}") from error
    console = Console(stderr=as_json)
    with progress_bars(console) as watch:
        found = measured_profiles(
            files,
            release.with_name(f"{release.name}-weak"),
            HubTokenizer(files.folder),
            table,
            chosen,
            draws,
            honest,
            answers,
            seed,
            watch,
        )
    where = output or release / NAME
    found.write(where)
    summary = {name: len(pool) for name, pool in found.pools.items()}
    if as_json:
        print(json.dumps({"release": found.release_digest, "seed": seed, "answers": summary}))
    console.print(f"wrote {where}: {sum(summary.values())} answers of {len(summary)} behaviours")
