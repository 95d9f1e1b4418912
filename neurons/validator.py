"""Launcher: flags -> settings -> `subnet.cli.validator.run_validator`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))

from subnet.cli.exits import run_process
from subnet.cli.help_text import help_of
from subnet.cli.miner_options import (
    ConfigOption,
    HotkeyOption,
    ModelOption,
    NetuidOption,
    NetworkOption,
    RevisionOption,
    RuntimeOption,
    VllmOption,
    WalletOption,
    WalletPathOption,
)
from subnet.config import load_settings

StateOption = Annotated[
    Path | None,
    typer.Option(help="State file: all that is remembered of miners. Default: validator.sqlite."),
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(help="A prompt of your own, for one of the good miners; may be repeated."),
]
SchemaOption = Annotated[
    Path | None,
    typer.Option(help="A JSON schema in a file, which the answers to your prompts must obey."),
]
ShareOption = Annotated[
    bool,
    typer.Option(
        "--share-prompts",
        help="Your prompts and their answers may be shown to others as evidence, and your prompts "
        "asked again of a few more miners, later; not otherwise.",
    ),
]
RefereeOption = Annotated[
    str | None,
    typer.Option(
        metavar="torch|vllm",
        help="The engine that recomputes answers. vllm: for whoever runs it anyway; needs memory "
        "for an engine of its own. Default: torch.",
    ),
]
SecondOpinionOption = Annotated[
    str | None,
    typer.Option(
        metavar="torch-wide|torch|vllm|none",
        help="The engine that an alarm must convince too before it closes a gate; it is loaded "
        "when there is an alarm, and freed after it. torch-wide: the referee's code in the next "
        "wider type. vllm: another code base. none: an alarm closes the gate by itself. Default: "
        "torch-wide.",
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option(min=0, help="End after this many weight submissions; 0: never.")
]


def main(
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = None,
    wallet_path: WalletPathOption = None,
    state: StateOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    runtime: RuntimeOption = None,
    referee: RefereeOption = None,
    second_opinion: SecondOpinionOption = None,
    vllm: VllmOption = None,
    prompt: PromptOption = None,
    schema: SchemaOption = None,
    share_prompts: ShareOption = False,
    epochs: EpochsOption = None,
    config: ConfigOption = None,
) -> None:
    """Validate: ask miners, recompute a sample of their answers, score, set weights.

    Needs a registered hotkey with enough stake for a validator permit, and the model's own
    weights on this machine. Every other knob is in subnet.toml; flags win over ASSAY_* variables,
    which win over the file.

    Example: neurons/validator.py --network finney --netuid 42 --wallet mine --hotkey val1
    --model Qwen/Qwen3-0.6B --runtime vllm-0.32.0-cuda --state /var/lib/assay/validator.sqlite
    """
    settings = load_settings(
        config,
        {
            "chain.network": network,
            "chain.netuid": netuid,
            "chain.wallet_name": wallet,
            "chain.wallet_hotkey": hotkey,
            "chain.wallet_path": wallet_path,
            "release.model": model,
            "release.revision": revision,
            "release.runtime": runtime,
            "validator.state_path": state,
            "validator.referee": referee,
            "validator.second_opinion": second_opinion,
            "validator.vllm": vllm,
            "validator.epochs_max": epochs,
        },
    )
    from subnet.cli.validator import run_validator

    run_validator(settings, prompt or (), has_consent=share_prompts, schema=schema)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=help_of(main))(main)
    run_process(app)
