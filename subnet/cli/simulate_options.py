"""The flags of `assay simulate`, each with its help."""

from pathlib import Path
from typing import Annotated, Final

import typer

from subnet.sim.options import MINERS_MAX, VALIDATORS_MAX

ROOT: Final = Path(__file__).parents[2]
PROFILES: Final = ROOT / "assets" / "tiny" / "attack-profiles.json"
CALIBRATION: Final = ROOT / "assets" / "tiny" / "calibration.json"
PRICES: Final = ROOT / "assets" / "gpu-prices.toml"

Hours = Annotated[float, typer.Option(min=0.1, help="Virtual hours.")]
Miners = Annotated[int, typer.Option(min=2, max=MINERS_MAX, help="Hotkeys; honest ones fill up.")]
Validators = Annotated[int, typer.Option(min=1, max=VALIDATORS_MAX, help="Honest ones fill up.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Load = Annotated[
    float, typer.Option(min=0.1, help="Requests an hour to each miner, of all validators.")
]
Bursts = Annotated[
    int,
    typer.Option(min=1, help="Joint probes a day of each validator; at most what the rules say."),
]
Prompts = Annotated[float, typer.Option(min=0, help="Users' prompts an hour, at each validator.")]
Tempo = Annotated[int, typer.Option(min=2, help="Blocks of 12 s between two epochs.")]
StrategyNames = Annotated[
    list[str] | None,
    typer.Option(help="Only this one, of miners or validators; repeat it. --list names all."),
]
AdversaryPaths = Annotated[
    list[str] | None,
    typer.Option(help="module:Class of your own miner (docs/simulator.md says how)."),
]
Operators = Annotated[
    int | None, typer.Option(min=1, help="Of each strategy. Default: 2 if there is room.")
]
CommitReveal = Annotated[bool, typer.Option(help="Whether weights show only an epoch later.")]
Config = Annotated[Path | None, typer.Option(help="Whose rules apply. Default: subnet.toml.")]
Compare = Annotated[Path | None, typer.Option(help="Run these rules too, and show what differs.")]
Report = Annotated[
    Path | None, typer.Option(help="Write a self-contained HTML page with plots here.")
]
Profiles = Annotated[Path, typer.Option(help="Measured answers, by assay lab profiles.")]
Calibration = Annotated[Path, typer.Option(help="The release's table.")]
Prices = Annotated[Path, typer.Option(help="What GPUs cost.")]
ListStrategies = Annotated[
    bool, typer.Option("--list", help="Say which strategies there are, and end.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
