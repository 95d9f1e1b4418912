"""Composition of a miner: settings -> wallet, release, port, chain, engine -> one process.

What can fail fast does so first: a wrong wallet must not cost a minute of loading weights.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import bittensor as bt
import uvloop

from subnet.cli.exits import UsageError
from subnet.config import MinerSettings, ReleaseSettings, Settings
from subnet.edge.answer_log import AnswerLog
from subnet.edge.bittensor_chain import BittensorChain
from subnet.edge.btauth import HotkeySigner
from subnet.edge.engine_args import parse_engine_arguments
from subnet.edge.http_server import bind_socket
from subnet.edge.miner_server import MinerApp, serve_app
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.system import SystemClock, run_until_stopped
from subnet.edge.telemetry import set_up_logging
from subnet.edge.vllm_engine import VllmEngine
from subnet.edge.wallets import load_wallet
from subnet.ports import Chain, ChainError, ClosableEngine, Engine
from subnet.roles.miner import Miner

_log = logging.getLogger(__name__)


MakeEngine = Callable[[ReleaseFiles, MinerSettings, Mapping[str, Any]], ClosableEngine]
"""(release, settings, vLLM engine arguments) -> engine; blocks while weights load."""


def make_vllm_engine(
    files: ReleaseFiles, settings: MinerSettings, arguments: Mapping[str, Any]
) -> ClosableEngine:
    """The honest engine."""
    return VllmEngine(files.release, files.folder, settings.concurrent_requests_max, arguments)


def run_miner(
    settings: Settings,
    engine_arguments: Sequence[str] = (),
    make_engine: MakeEngine = make_vllm_engine,
) -> None:
    """Serve until SIGINT or SIGTERM.

    `engine_arguments` are `key=value` pairs for vLLM. Raises ConfigError, ChainError or
    EngineError for what the operator can mend.
    """
    set_up_logging(settings.miner.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    arguments = parse_engine_arguments(engine_arguments)
    host = external_host(settings.miner)
    wallet = load_wallet(
        settings.chain.wallet_path, settings.chain.wallet_name, settings.chain.wallet_hotkey
    )
    files = read_release(settings.release)
    bound = bind_socket(settings.miner.host, settings.miner.port)
    asyncio.run(_check_registration(settings, wallet))
    _log.info("loading %s", files.folder)
    engine = make_engine(files, settings.miner, arguments)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, wallet, engine, bound, host))
    finally:
        engine.close()


def read_release(settings: ReleaseSettings) -> ReleaseFiles:
    """The release that the settings name. Raises ConfigError."""
    return load_release_files(
        settings.model,
        settings.revision,
        settings.dtype,
        settings.runtime,
        grammar=settings.grammar,
    )


def external_host(settings: MinerSettings) -> str:
    """The IP address to publish. Raises UsageError."""
    host = settings.external_host or settings.host
    try:
        address = ip_address(host)
    except ValueError as error:
        raise UsageError(
            f"the chain publishes IP addresses, not {host!r}; give one with --external-host"
        ) from error
    if address.is_unspecified:
        raise UsageError(
            f"{host} listens everywhere but is nobody's address; give the one that validators "
            "can reach with --external-host"
        )
    return str(address)


async def _check_registration(settings: Settings, wallet: bt.Wallet) -> None:
    chain = await BittensorChain.connect(settings.chain, wallet)
    try:
        hotkey = wallet.hotkey.ss58_address
        if (await chain.metagraph()).neuron(hotkey) is None:
            raise ChainError(
                f"hotkey {hotkey} is not registered on subnet {settings.chain.netuid} of "
                f"{settings.chain.network}; register it with `btcli subnets register "
                f"--netuid {settings.chain.netuid}`"
            )
    finally:
        await chain.close()


async def _serve(
    settings: Settings,
    wallet: bt.Wallet,
    engine: ClosableEngine,
    bound: socket.socket,
    host: str,
) -> None:
    chain = await BittensorChain.connect(settings.chain, wallet)
    try:
        await serve_miner(settings, chain, HotkeySigner(wallet.hotkey), engine, bound, host)
    finally:
        await chain.close()


async def serve_miner(
    settings: Settings,
    chain: Chain,
    signer: HotkeySigner,
    engine: Engine,
    bound: socket.socket,
    host: str,
) -> None:
    """Serve on `bound` and publish `host`, until a signal comes or a part fails."""
    clock = SystemClock()
    miner = Miner(
        chain=chain,
        engine=engine,
        signer=signer,
        clock=clock,
        settings=settings.miner,
        admission=settings.admission,
    )
    await miner.refresh()
    chosen = settings.miner
    log = AnswerLog(chosen.answer_log, chosen.answer_log_bytes_max) if chosen.answer_log else None
    app = MinerApp(miner, clock, chosen, settings.admission, log)
    port = bound.getsockname()[1]
    _log.info("ready: %s serves %s on port %d", signer.hotkey, engine.release.model, port)
    await run_until_stopped(
        serve_app(app, bound, settings.miner),
        miner.run(host, settings.miner.external_port or port),
    )
