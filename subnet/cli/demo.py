"""`assay demo`: the whole subnet on one machine, from an empty chain to caught cheats.

Order matters: permits exist only after an epoch, so the validator stakes before the engines
start, and the epoch passes while they load.
"""

import asyncio
import fcntl
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from subnet.cli.demo_chain import DemoSubnet, set_up_subnet
from subnet.cli.demo_report import NamedMiner, build_report
from subnet.cli.demo_view import DemoView
from subnet.cli.exits import UsageError
from subnet.cli.processes import ChildFailedError, Children
from subnet.cli.status import StatusReport, read_status
from subnet.config import ChainSettings
from subnet.edge.bittensor_chain import BittensorChain
from subnet.lab.behaviours import BEHAVIOURS

BLOCK_SECONDS: Final = 0.25
TEMPO_BLOCKS: Final = 20
AUDITED_ANSWERS_MIN: Final = 20
"""The demo runs on until every miner has this many, so that its sentences rest on evidence."""
DEMO_ENGINE: Final = ("enforce_eager=true", "num_gpu_blocks_override=256")
"""Ready in a third of the time, in half the memory: a cache for dozens of answers is enough."""
DEMO_BURSTS: Final = {
    "ASSAY_CAPACITY__BURSTS_PER_DAY": "5400",
    "ASSAY_CAPACITY__DURATION_SECONDS_MIN": "6.0",
    "ASSAY_CAPACITY__DURATION_SECONDS_MAX": "7.0",
    "ASSAY_CAPACITY__CONCURRENCY_MAX": "2",
}
"""One in sixteen seconds. Off by default: the miners of a demo share one machine, so that a burst
measures how its scheduler deals out cores (two honest miners came out at .60 and .40)."""
NO_BURSTS: Final = {"ASSAY_CAPACITY__IS_MEASURED": "false"}
READY_SECONDS_MAX: Final = 180.0
RUN_SECONDS_MAX: Final = 420.0
DEFAULT_PROMPT: Final = (
    "Summarise the proposal as lines Setting, New value, Outcome, Note.\n"
    "Proposal 12 changes the burn rate from 10 to 25. It has passed."
)
MARKER: Final = ".assay-demo"
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class DemoOptions:
    """What `assay demo` was asked for."""

    prompt: str | None
    seed: int
    behaviours: tuple[str, ...]
    epochs: int
    folder: Path
    model: Path
    is_margin_checked: bool
    is_capacity_measured: bool = False


@dataclass(frozen=True)
class MinerPlan:
    """One miner to start."""

    name: str
    behaviour: str
    port: int


def run_demo(options: DemoOptions) -> None:
    """Run it; Ctrl-C ends it early and cleanly. Raises UsageError for what the user can mend."""
    _assert_usable(options)
    view = DemoView()
    # The event loop turns Ctrl-C, and that alone, into a cancellation that cleans up.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with _take_folder(options.folder):
            asyncio.run(_run(options, view))
    except KeyboardInterrupt:
        view.say("stopped; every process of the demo has ended")
    except ChildFailedError as error:
        raise UsageError(str(error)) from error


def _assert_usable(options: DemoOptions) -> None:
    unknown = sorted(set(options.behaviours) - set(BEHAVIOURS))
    if unknown:
        raise UsageError(
            f"--deal: unknown behaviour {', '.join(unknown)}; known: {', '.join(BEHAVIOURS)}"
        )
    needed = [options.model]
    if "weaker" in options.behaviours:
        needed.append(options.model.with_name(f"{options.model.name}-weak"))
    for folder in needed:
        if not (folder / "config.json").is_file():
            raise UsageError(f"--model: no model in {folder}; `make demo` uses the shipped one")


def deal_behaviours(behaviours: tuple[str, ...], seed: int) -> list[str]:
    """Who does what: a shuffle that the seed alone decides."""
    dealt = list(behaviours)
    random.Random(seed).shuffle(dealt)  # noqa: S311 - a deal, not a secret
    return dealt


async def _run(options: DemoOptions, view: DemoView) -> None:
    prompt = options.prompt or DEFAULT_PROMPT
    chain_port = _free_port()
    plans = [
        MinerPlan(f"miner-{number}", behaviour, _free_port())
        for number, behaviour in enumerate(deal_behaviours(options.behaviours, options.seed), 1)
    ]
    with Children(options.folder / "logs") as children:
        url = f"ws://127.0.0.1:{chain_port}"
        view.say(f"starting the embedded chain at {url}, a block every {BLOCK_SECONDS} s")
        _start_devnet(children, options.folder, chain_port)
        await _wait_for_port(chain_port, children)
        wallets = options.folder / "wallets"
        subnet = await set_up_subnet(url, wallets, [plan.name for plan in plans], view.say)
        view.say(f"starting {len(plans)} miners, each with a vLLM engine of its own")
        for plan in plans:
            _start_miner(children, plan, options.model, url, subnet, wallets)
        with view.waiting("engines are loading", len(plans)) as advance:
            for plan in plans:
                await _wait_for_port(plan.port, children)
                advance()
        view.say("starting the validator")
        state_path = options.folder / "validator.sqlite"
        _start_validator(children, options, url, subnet, wallets, state_path, prompt)
        names = dict(zip(subnet.miner_hotkeys, (plan.name for plan in plans), strict=True))
        status = await _watch(url, subnet.netuid, state_path, children, options, view, names)
    miners = [
        NamedMiner(plan.name, plan.behaviour, hotkey)
        for plan, hotkey in zip(plans, subnet.miner_hotkeys, strict=True)
    ]
    report = build_report(status, options.seed, miners, prompt)
    report.save(options.folder / "report.json")
    view.show_final(status, report, names)
    view.say(f"report: {options.folder / 'report.json'}; logs: {options.folder / 'logs'}")


async def _watch(
    url: str,
    netuid: int,
    state_path: Path,
    children: Children,
    options: DemoOptions,
    view: DemoView,
    names: Mapping[str, str],
) -> StatusReport:
    """Show the live table until enough epochs have passed since the first accepted weights."""
    deadline = time.monotonic() + RUN_SECONDS_MAX
    chain = await BittensorChain.connect(ChainSettings(network=url, netuid=netuid))
    try:
        with view.live(names) as show:
            while True:
                children.assert_running()
                status = await read_status(state_path, chain)
                show(status)
                if _is_finished(status, options):
                    return status
                if time.monotonic() > deadline:
                    raise UsageError(_too_slow(status, options))
                await asyncio.sleep(BLOCK_SECONDS)
    finally:
        await chain.close()


def _too_slow(status: StatusReport, options: DemoOptions) -> str:
    audited = ", ".join(str(miner.audited) for miner in status.miners)
    return (
        f"the demo did not finish within {RUN_SECONDS_MAX:.0f} s: {status.epochs} of "
        f"{options.epochs} epochs, audited answers {audited or 'none'}; this machine may be "
        f"overloaded (logs: {options.folder / 'logs'})"
    )


def _is_finished(status: StatusReport, options: DemoOptions) -> bool:
    """Enough epochs and audits, every verdict given, and the user answered; or nobody is left."""
    miners = status.miners
    if len(miners) < len(options.behaviours):
        return False
    if any(miner.audited < AUDITED_ANSWERS_MIN for miner in miners):
        return False
    if any(miner.is_undecided for miner in miners):
        return False
    if all(miner.state == "closed" for miner in miners):
        return all(miner.incentive == 0 for miner in miners)
    return status.epochs >= options.epochs and status.settled_epochs >= 1 and status.answers != ()


def _take_folder(folder: Path) -> TextIO:
    """Empty the demo's folder; the lock on the returned file keeps a second demo out of it.

    Raises UsageError for a folder that is not a demo's, is in use, or cannot be made.
    """
    marker = folder / MARKER
    try:
        if folder.exists() and any(folder.iterdir()) and not marker.exists():
            raise UsageError(f"{folder} holds other files; choose another with --folder")
        folder.mkdir(parents=True, exist_ok=True)
        held = marker.open("a")
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
    except BlockingIOError as error:
        raise UsageError(
            f"another demo runs in {folder}; stop it, or choose another --folder"
        ) from error
    except OSError as error:
        raise UsageError(f"--folder {folder}: {error.strerror}; choose another") from error
    return held


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _wait_for_port(port: int, children: Children) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        children.assert_running()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"nothing listened on port {port} within {READY_SECONDS_MAX:.0f} s"
                ) from None
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


def _start_devnet(children: Children, folder: Path, port: int) -> None:
    children.start(
        "devnet",
        _assay(
            *("devnet", "--port", port, "--state", folder / "chain.sqlite"),
            *("--block-time", BLOCK_SECONDS, "--tempo", TEMPO_BLOCKS),
        ),
    )


def _start_miner(
    children: Children,
    plan: MinerPlan,
    model: Path,
    url: str,
    subnet: DemoSubnet,
    wallets: Path,
) -> None:
    """Honest miners run the production launcher; a cheat runs the lab's over the same code."""
    if plan.behaviour == "honest":
        command = [sys.executable, str(ROOT / "neurons" / "miner.py")]
    else:
        command = _assay("lab", "miner", "--behaviour", plan.behaviour)
    command += _identity(plan.name, url, subnet, wallets)
    command += ["--port", str(plan.port), "--model", str(model)]
    for argument in DEMO_ENGINE:
        command += ["--vllm", argument]
    children.start(plan.name, command, {"OMP_NUM_THREADS": "1"})


def _start_validator(
    children: Children,
    options: DemoOptions,
    url: str,
    subnet: DemoSubnet,
    wallets: Path,
    state_path: Path,
    prompt: str,
) -> None:
    command = [sys.executable, str(ROOT / "neurons" / "validator.py")]
    command += _identity("validator", url, subnet, wallets)
    command += ["--state", str(state_path), "--model", str(options.model)]
    command += ["--prompt", prompt]
    environment = {
        "OMP_NUM_THREADS": "1",
        "ASSAY_VALIDATOR__ALLOW_PRIVATE_ADDRESSES": "true",
        "ASSAY_VALIDATOR__PORT": "0",
        "ASSAY_VALIDATOR__PROBE_INTERVAL_SECONDS": "0.5",
        "ASSAY_VALIDATOR__AUDIT_INTERVAL_SECONDS": "0.25",
        "ASSAY_SCORING__FULL_PAY_ANSWERS": "20",
        **(DEMO_BURSTS if options.is_capacity_measured else NO_BURSTS),
    }
    if not options.is_margin_checked:
        environment["ASSAY_SCORING__INTEGRITY_CHECK"] = "false"
    children.start("validator", command, environment)


def _identity(wallet: str, url: str, subnet: DemoSubnet, wallets: Path) -> list[str]:
    return [
        *("--network", url, "--netuid", str(subnet.netuid)),
        *("--wallet", wallet, "--wallet-path", str(wallets)),
    ]


def _assay(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "subnet.cli.main", *(str(part) for part in arguments)]
