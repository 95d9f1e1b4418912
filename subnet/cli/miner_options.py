"""The flags of everything that mines; light to import, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from subnet.config import Settings, load_settings

NetworkOption = Annotated[
    str | None,
    typer.Option(help="finney, test, or a websocket URL. Default: the embedded devnet."),
]
NetuidOption = Annotated[int | None, typer.Option(help="Number of the subnet on that network.")]
WalletOption = Annotated[str | None, typer.Option(help="Name of the wallet, as btcli knows it.")]
HotkeyOption = Annotated[str | None, typer.Option(help="Name of the hotkey inside the wallet.")]
WalletPathOption = Annotated[
    Path | None, typer.Option(help="Folder of wallets. Default: ~/.bittensor/wallets.")
]
HostOption = Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]
ExternalHostOption = Annotated[
    str | None, typer.Option(help="IP address that validators reach; goes on the chain.")
]
ExternalPortOption = Annotated[
    int | None, typer.Option(help="Port that validators reach, if it differs from --port.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Hub name such as Qwen/Qwen3-0.6B, or a model's folder.")
]
RevisionOption = Annotated[str | None, typer.Option(help="The model's revision on the hub.")]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        help="Engine build that the release pins: vllm-0.32.0-cpu (default) or vllm-0.32.0-cuda. "
        "Miner and validator must name the same one, as well as the same model and revision."
    ),
]
VllmOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Any vLLM engine argument, such as tensor_parallel_size=2; may be repeated. "
        "Arguments that change what the release promises are refused.",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option(help="Settings file. Default: subnet.toml, if it is here.")
]


def miner_settings(
    network: str | None,
    netuid: int | None,
    wallet: str | None,
    hotkey: str | None,
    wallet_path: Path | None,
    host: str | None,
    port: int | None,
    external_host: str | None,
    external_port: int | None,
    model: str | None,
    revision: str | None,
    runtime: str | None,
    config: Path | None,
) -> Settings:
    """Settings with these flags on top; None was not given. Raises ConfigError."""
    return load_settings(
        config,
        {
            "chain.network": network,
            "chain.netuid": netuid,
            "chain.wallet_name": wallet,
            "chain.wallet_hotkey": hotkey,
            "chain.wallet_path": wallet_path,
            "miner.host": host,
            "miner.port": port,
            "miner.external_host": external_host,
            "miner.external_port": external_port,
            "release.model": model,
            "release.revision": revision,
            "release.runtime": runtime,
        },
    )
