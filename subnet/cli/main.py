"""The `assay` command: every verb that is not a neuron.

Engines are imported by the verb that needs them, so that `--help` does not wait for torch.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from subnet.cli import (
    calibrate,
    devnet,
    evidence,
    explain,
    gaming,
    lab,
    law,
    replay,
    simulate,
    status,
)
from subnet.cli.exits import run_process
from subnet.cli.help_text import help_of
from subnet.cli.processes import rest_while_waiting

ROOT = Path(__file__).parents[2]

app = typer.Typer(
    name="assay",
    help="An inference subnet in which every answer can be tested. Start with: assay demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(lab.app, name="lab")


@app.command()
def demo(
    prompt: Annotated[
        str | None, typer.Option(help="Ask the subnet this; a sample prompt otherwise.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Deals the behaviours to the hotkeys; same seed, same deal.")
    ] = 7,
    deal: Annotated[
        str,
        typer.Option(
            help="Behaviours, comma-separated: honest, weaker (another checkpoint under the strong "
            "release's name), foreign-seed (another sampling)."
        ),
    ] = "honest,honest,weaker,foreign-seed",
    epochs: Annotated[
        int, typer.Option(min=1, max=100, help="Epochs to run after the first accepted weights.")
    ] = 3,
    folder: Annotated[
        Path, typer.Option(help="Wallets, logs, state and report.json; emptied at the start.")
    ] = Path(".demo"),
    model: Annotated[
        Path, typer.Option(help="The release; a weaker checkpoint lies beside it in <model>-weak.")
    ] = ROOT / "assets" / "tiny",
    verifier: Annotated[
        bool,
        typer.Option(help="--no-verifier switches the margin check off: watch the cheats earn."),
    ] = True,
    capacity: Annotated[
        bool,
        typer.Option(
            "--capacity",
            help="Prove capacity by bursts too. All miners share this machine's cores, so what "
            "they prove is how the cores were dealt out.",
        ),
    ] = False,
) -> None:
    """Run chain, miners (some cheat) and a validator on this machine, until the cheats are caught.

    No GPU, wallet or public chain needed. Takes about two minutes. Stop it with Ctrl-C.
    """
    from subnet.cli.demo import DemoOptions, run_demo

    run_demo(
        DemoOptions(
            prompt=prompt,
            seed=seed,
            behaviours=tuple(deal.split(",")),
            epochs=epochs,
            folder=folder,
            model=model,
            is_margin_checked=verifier,
            is_capacity_measured=capacity,
        )
    )


VERBS: Final[Mapping[str, Callable[..., None]]] = {
    "calibrate": calibrate.calibrate,
    "devnet": devnet.devnet,
    "evidence": evidence.evidence,
    "explain": explain.explain,
    "records": replay.records,
    "replay": replay.replay_command,
    "reverify": evidence.reverify_command,
    "gaming": gaming.gaming,
    "simulate": simulate.simulate,
    "law": law.law,
    "status": status.status,
}
for name, verb in VERBS.items():
    app.command(name, help=help_of(verb))(verb)


def main() -> None:
    """Entry point of the command."""
    rest_while_waiting()
    run_process(app)


if __name__ == "__main__":
    main()
