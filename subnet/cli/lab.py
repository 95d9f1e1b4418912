"""`assay lab`: miners that cheat, built on the very composition that honest miners run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subnet.cli.exits import UsageError
from subnet.cli.help_text import help_of
from subnet.cli.lab_card import card
from subnet.cli.lab_profiles import profiles
from subnet.cli.lab_tell_apart import tell_apart_command
from subnet.cli.lab_verify import verify
from subnet.cli.miner_options import (
    ConfigOption,
    HostOption,
    HotkeyOption,
    ModelOption,
    NetuidOption,
    NetworkOption,
    PortOption,
    RevisionOption,
    RuntimeOption,
    VllmOption,
    WalletOption,
    WalletPathOption,
    miner_settings,
)
from subnet.config import MinerSettings
from subnet.lab.behaviours import BEHAVIOURS
from subnet.ports import ClosableEngine

if TYPE_CHECKING:
    from subnet.edge.release_files import ReleaseFiles

app = typer.Typer(help="Cheating miners, and what a release can do.", no_args_is_help=True)


@app.callback()
def lab() -> None:
    """Cheating miners to test the verifier with, and what a release can do.

    Never point the miners at a public network.
    """


def miner(
    behaviour: Annotated[
        str, typer.Option(help="; ".join(f"{name}: {what}" for name, what in BEHAVIOURS.items()))
    ] = "honest",
    weaker_model: Annotated[
        Path | None,
        typer.Option(help="Folder of the weaker checkpoint. Default: <model>-weak."),
    ] = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = None,
    wallet_path: WalletPathOption = None,
    host: HostOption = None,
    port: PortOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    runtime: RuntimeOption = None,
    vllm: VllmOption = None,
    config: ConfigOption = None,
) -> None:
    """Run a miner with a behaviour, beside honest ones on a devnet: to see that it is caught.

    Never on a public network. Example: assay lab miner --behaviour weaker --network
    ws://127.0.0.1:9944
    """
    from subnet.cli.miner import run_miner

    if behaviour not in BEHAVIOURS:
        raise UsageError(f"--behaviour {behaviour}: known are {', '.join(BEHAVIOURS)}")
    settings = miner_settings(
        network,
        netuid,
        wallet,
        hotkey,
        wallet_path,
        host,
        port,
        None,
        None,
        model,
        revision,
        runtime,
        config,
    )

    def make_engine(
        files: "ReleaseFiles", miner_settings: MinerSettings, arguments: Mapping[str, Any]
    ) -> ClosableEngine:
        return make_cheat(behaviour, weaker_model, files, miner_settings, arguments)

    run_miner(settings, vllm or (), make_engine)


def make_cheat(
    behaviour: str,
    weaker_model: Path | None,
    files: "ReleaseFiles",
    settings: MinerSettings,
    arguments: Mapping[str, Any],
) -> ClosableEngine:
    """The engine that behaves like `behaviour`. Raises ConfigError without a weaker checkpoint."""
    from subnet.cli.miner import make_vllm_engine
    from subnet.edge.release_files import load_release_files
    from subnet.edge.vllm_engine import VllmEngine
    from subnet.lab.engines import ClaimedReleaseEngine, ForeignSeedEngine, ReplayEngine

    if behaviour == "weaker":
        folder = weaker_model or files.folder.with_name(f"{files.folder.name}-weak")
        promised = files.release
        weak = load_release_files(
            str(folder),
            promised.revision,
            promised.dtype,
            promised.runtime,
            grammar=promised.grammar or "none",
        )
        inner = VllmEngine(weak.release, weak.folder, settings.concurrent_requests_max, arguments)
        return ClaimedReleaseEngine(inner, promised)
    honest = make_vllm_engine(files, settings, arguments)
    if behaviour == "foreign-seed":
        return ForeignSeedEngine(honest)
    if behaviour == "replay":
        return ReplayEngine(honest)
    return honest


for name, verb in (
    ("verify", verify),
    ("card", card),
    ("tell-apart", tell_apart_command),
    ("profiles", profiles),
    ("miner", miner),
):
    app.command(name, help=help_of(verb))(verb)
