"""`assay lab profiles`: the measured answers that the simulator draws from."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from subnet.cli.calibration_file import calibration_of
from subnet.cli.exits import UsageError
from subnet.cli.outputs import place_of_file

if TYPE_CHECKING:
    from subnet.lab.adversary import Adversary
    from subnet.lab.detection import Power
    from subnet.sim.profiles import Profiles

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
        Path | None, typer.Option(help="Whose \\[draws] are asked. Default: subnet.toml.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: attack-profiles.json in the release's folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Measure what honest and dishonest answers look like: margins, gaps, lengths, grades.

    The simulator's miners draw from this file (`assay simulate`), so that no oracle tells it who
    cheats. Prints how soon the real detector does. Run it again when the release, its calibration
    or the benchmark changes. Takes some minutes.
    """
    from subnet.cli.calibrate import progress_bars
    from subnet.config import load_settings
    from subnet.edge.release_files import load_release_files
    from subnet.edge.vllm_runtime import set_engine_environment

    files = load_release_files(str(release))
    where = place_of_file(output or release / NAME)
    table = calibration_of(release)
    settings = load_settings(config)
    draws = settings.draws
    set_engine_environment({})
    from subnet.edge.tokenizer import HubTokenizer
    from subnet.lab.drawn import most_drawn
    from subnet.lab.profiles import drawn_power, measured_profiles

    chosen = _chosen(attack or [])
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
    found.write(where)
    caught = drawn_power(
        found,
        table.for_draws(draws.families, draws.tier),
        most_drawn(draws).top_k,
        settings.evidence,
        seed,
    )
    if as_json:
        print(json.dumps(_summary(found, caught)))
    else:
        console.print(_grid(caught))
    console.print(f"wrote {where}")


def _chosen(names: "Sequence[str]") -> "list[Adversary]":
    from subnet.lab.play import chosen_attacks

    try:
        return chosen_attacks(names)
    except KeyError as error:
        known = ", ".join(one.name for one in chosen_attacks([]))
        raise UsageError(f"--attack {error.args[0]}: known are {known}") from error


def _summary(found: "Profiles", caught: "Mapping[str, Power]") -> dict[str, object]:
    behaviours = {
        name: {"answers": len(pool), **dataclasses.asdict(caught[name])}
        for name, pool in found.pools.items()
    }
    return {"release": found.release_digest, "seed": found.seed, "behaviours": behaviours}


def _grid(caught: "Mapping[str, Power]") -> Table:
    grid = Table(title="answers until the alarm, of what validators draw themselves")
    grid.add_column("behaviour")
    for title in ("caught", "median", "p95", "channel"):
        grid.add_column(title, justify="right")
    for name, one in caught.items():
        figures = (one.median_responses, one.p95_responses, one.channel)
        cells = ("-" if figure is None else str(figure) for figure in figures)
        grid.add_row(name, f"{one.detected:.0%}", *cells)
    return grid
