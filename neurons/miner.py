"""Launcher: flags -> settings -> `subnet.cli.miner.run_miner`."""

import sys
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))

from subnet.cli.exits import run_process
from subnet.cli.help_text import help_of
from subnet.cli.miner_options import (
    ConfigOption,
    ExternalHostOption,
    ExternalPortOption,
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


def main(
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    wallet: WalletOption = None,
    hotkey: HotkeyOption = None,
    wallet_path: WalletPathOption = None,
    host: HostOption = None,
    port: PortOption = None,
    external_host: ExternalHostOption = None,
    external_port: ExternalPortOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    runtime: RuntimeOption = None,
    vllm: VllmOption = None,
    config: ConfigOption = None,
) -> None:
    """Mine: serve one model by vLLM to the subnet's validators, every answer signed.

    Needs a registered hotkey (btcli subnets register) and a port that validators reach. Every
    other knob is in subnet.toml; flags win over ASSAY_* variables, which win over the file.

    Example: neurons/miner.py --network finney --netuid 42 --wallet mine --hotkey gpu1
    --host 0.0.0.0 --external-host 203.0.113.7 --model Qwen/Qwen3-0.6B
    --runtime vllm-0.32.0-cuda
    """
    from subnet.cli.miner import run_miner

    settings = miner_settings(
        network,
        netuid,
        wallet,
        hotkey,
        wallet_path,
        host,
        port,
        external_host,
        external_port,
        model,
        revision,
        runtime,
        config,
    )
    run_miner(settings, vllm or ())


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=help_of(main))(main)
    run_process(app)
