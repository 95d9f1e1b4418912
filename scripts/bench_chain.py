"""make bench-chain: the devnet's process under 16 clients, with a full subnet of 256 neurons.

The subnet is written by the chain's own rules into a state file; then the real process serves it.
Clients are processes of their own, as they are in use; what they submit was signed beforehand.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain as joined
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bittensor.sp_core import Keypair
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from websockets.asyncio.client import connect

from scripts.benchmarks_page import write_benchmark
from subnet.devnet.chain import Chain
from subnet.devnet.context import Context
from subnet.devnet.epoch import run_due_epochs
from subnet.devnet.params import DevnetParams
from subnet.devnet.registration import append_neuron
from subnet.devnet.signing import sign_extrinsic
from subnet.devnet.staking import credit
from subnet.edge.sdk_client import connected, sdk_client

ROOT = Path(__file__).parents[1]
CLIENTS, NEURONS, VALIDATORS, TARGETS_PER_VALIDATOR = 16, 256, 64, 128
NETUID, TEMPO_BLOCKS = 1, 360
BLOCK_SECONDS = 0.25
READ_PERIOD_SECONDS = 2.0
CONNECT_SECONDS = 6.0
PER_CLIENT_WINDOW = 32
_TAO = 10**9


def account(name: str) -> Keypair:
    """A key that anyone can derive."""
    return Keypair.create_from_uri(f"//bench//{name}")


def address(name: str) -> str:
    """Its address."""
    return str(account(name).ss58_address)


# --- a full subnet ---------------------------------------------------------------------------


def fill_subnet(chain: Chain) -> None:
    """A subnet of 256 neurons; 64 hold stake and permits and have set weights on 128 others."""
    context = Context(chain.state, chain.params, chain.head.number + 1)
    state = chain.state
    owner = str(Keypair.create_from_uri("//Alice").ss58_address)
    call = chain.metadata.codec.compose_call(
        "SubtensorModule", "register_network", {"hotkey": address("hot0")}
    )
    _submit(chain, Keypair.create_from_uri("//Alice"), bytes(call))
    for uid in range(1, NEURONS):
        hotkey = address(f"hot{uid}")
        context.put("Owner", hotkey, owner if uid < 2 else address(f"cold{uid}"))
        append_neuron(context, NETUID, hotkey)
        state.put("SubtensorModule.Axons", NETUID, hotkey, _axon(uid))
    for uid in range(VALIDATORS):
        hotkey = address(f"hot{uid}")
        credit(state, hotkey, context.get("Owner", hotkey), NETUID, (1000 + uid) * _TAO)
    context.put("ValidatorPermit", NETUID, [uid < VALIDATORS for uid in range(NEURONS)])
    context.put("MaxAllowedValidators", NETUID, VALIDATORS)
    chain.produce(chain.head.timestamp_ms + 1)
    # Weights count only when they are newer than the registration of whom they are on.
    later = chain.head.number + 1
    for uid in range(VALIDATORS):
        targets = [(uid + 1 + step) % NEURONS for step in range(TARGETS_PER_VALIDATOR)]
        row = [[target, 1 + (uid * 31 + target * 17) % 65_535] for target in sorted(targets)]
        context.put("Weights", NETUID, uid, row)
    context.put("LastUpdate", NETUID, [later] * NEURONS)
    chain.produce(chain.head.timestamp_ms + 1)


def _axon(uid: int) -> dict[str, int]:
    names = ("protocol", "placeholder1", "placeholder2")
    known = {"block": 1, "version": 1, "ip": (10 << 24) + uid, "port": 8000 + uid, "ip_type": 4}
    return known | dict.fromkeys(names, 0)


def _submit(chain: Chain, keypair: Keypair, call: bytes) -> None:
    nonce = chain.next_nonce(str(keypair.ss58_address))
    chain.submit(sign_extrinsic(chain.metadata, chain.genesis_hash, keypair, call, nonce=nonce))
    chain.produce(chain.head.timestamp_ms + 1)


def measure_epochs(chain: Chain, rounds: int) -> Iterator[float]:
    """Milliseconds of each of several epochs, state changes included; none is kept."""
    chain.state.put("SubtensorModule.LastEpochBlock", NETUID, 0)
    for _ in range(rounds):
        mark = chain.state.savepoint()
        context = Context(chain.state, chain.params, TEMPO_BLOCKS + chain.head.number)
        started = time.perf_counter()
        run_due_epochs(context)
        elapsed = time.perf_counter() - started
        assert any(name == "EpochRan" for _, name, _ in context.events)
        assert sum(map(bool, chain.state.get("SubtensorModule.Dividends", NETUID))) == VALIDATORS
        chain.state.rollback(mark)
        yield 1000 * elapsed
    chain.state.rollback(0)


def fund_senders(chain: Chain) -> None:
    """Money for the accounts that the clients send from."""
    alice = Keypair.create_from_uri("//Alice")
    for number in range(CLIENTS):
        call = chain.metadata.codec.compose_call(
            "Balances",
            "transfer_keep_alive",
            {"dest": address(f"sender{number}"), "value": 1000 * _TAO},
        )
        _submit(chain, alice, bytes(call))


# --- clients, each a process -----------------------------------------------------------------


def sign_all(number: int, count: int, genesis_hash: str, block_time_ms: int) -> list[str]:
    """One client's transfers, ready to be sent."""
    from subnet.devnet.metadata import build_metadata

    metadata = build_metadata(block_time_ms)
    keypair = account(f"sender{number}")
    call = metadata.codec.compose_call(
        "Balances", "transfer_keep_alive", {"dest": address("sink"), "value": 1000}
    )
    return [
        "0x" + sign_extrinsic(metadata, genesis_hash, keypair, bytes(call), nonce=nonce).hex()
        for nonce in range(count)
    ]


def read_metagraphs(
    endpoint: str, clients: range, count: int, start: float, spread: bool
) -> list[float]:
    """Milliseconds of each read by the SDK: each client at its own time of the period, or all at
    the same.
    """

    async def one(number: int) -> list[float]:
        times: list[float] = []
        async with connected(sdk_client(endpoint)) as client:
            await client.subnets.metagraph(NETUID)
            for turn in range(count):
                due = start + READ_PERIOD_SECONDS * (turn + spread * number / CLIENTS)
                await asyncio.sleep(max(due - time.monotonic(), 0))
                started = time.perf_counter()
                graph = await client.subnets.metagraph(NETUID)
                times.append(1000 * (time.perf_counter() - started))
                assert len(graph.hotkeys) == NEURONS
        return times

    async def all_of_them() -> list[float]:
        return list(joined.from_iterable(await asyncio.gather(*map(one, clients))))

    return asyncio.run(all_of_them())


def send_all(endpoint: str, signed: list[list[str]], start: float) -> tuple[int, float, float]:
    """Submit what was signed, some at a time; how many were finalised, and from when to when."""

    async def one(transfers: list[str]) -> int:
        finalized = 0
        waiting = iter(transfers)
        async with connect(endpoint, max_size=None, compression=None) as connection:

            async def submit_next() -> None:
                raw = next(waiting, None)
                if raw is not None:
                    request = {"id": 1, "method": "author_submitAndWatchExtrinsic", "params": [raw]}
                    await connection.send(json.dumps(request))

            await asyncio.sleep(max(start - time.monotonic(), 0))
            for _ in range(PER_CLIENT_WINDOW):
                await submit_next()
            while finalized < len(transfers):
                message = json.loads(await connection.recv())
                assert "error" not in message, message
                status = message.get("params", {}).get("result")
                if isinstance(status, dict) and "finalized" in status:
                    finalized += 1
                    await submit_next()
        return finalized

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*map(one, signed)))

    finalized = asyncio.run(all_of_them())
    return finalized, start, time.monotonic()


# --- the bench -------------------------------------------------------------------------------


@contextmanager
def running_devnet(state: Path) -> Iterator[str]:
    """The real process on a state file; its endpoint."""
    flags = ["--port", "0", "--state", str(state), "--block-time", str(BLOCK_SECONDS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "subnet.cli.main", "devnet", *flags],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def prepare(state: Path, epochs: int, progress: Progress) -> tuple[str, list[float]]:
    """Write the state file; the genesis hash, and milliseconds of the epochs measured on it."""
    params = DevnetParams(block_time_seconds=BLOCK_SECONDS, tempo_blocks=TEMPO_BLOCKS)
    chain = Chain(state, params, time.time_ns() // 1_000_000)
    fill_subnet(chain)
    fund_senders(chain)
    times = list(progress.track(measure_epochs(chain, epochs), epochs, description="epochs"))
    genesis_hash = chain.genesis_hash
    chain.close()
    return genesis_hash, times


def read_phase(
    pool: Pool, progress: Progress, what: tuple[str, int, bool], shares: list[range]
) -> list[float]:
    """Milliseconds of all clients' reads."""
    endpoint, reads, spread = what
    task = progress.add_task("reads" if spread else "reads at once", total=None)
    start = time.monotonic() + CONNECT_SECONDS
    jobs = [(endpoint, share, reads, start, spread) for share in shares]
    times = list(joined.from_iterable(pool.starmap(read_metagraphs, jobs)))
    progress.update(task, total=1, completed=1)
    return times


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[int(share * len(values))]


def bench(reads: int, transfers: int, epochs: int, processes: int) -> dict[str, Any]:
    """All three measurements."""
    began = time.monotonic()
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns) as progress,
        multiprocessing.get_context("spawn").Pool(processes) as pool,
    ):
        state = Path(folder) / "chain.sqlite"
        genesis_hash, epoch_ms = prepare(state, epochs, progress)
        task = progress.add_task("signing", total=None)
        period_ms = round(1000 * BLOCK_SECONDS)
        jobs = [(number, transfers, genesis_hash, period_ms) for number in range(CLIENTS)]
        signed = pool.starmap(sign_all, jobs)
        progress.update(task, total=1, completed=1)
        shares = [range(first, CLIENTS, processes) for first in range(processes)]
        with running_devnet(state) as endpoint:
            read_ms = {
                spread: read_phase(pool, progress, (endpoint, reads, spread), shares)
                for spread in (True, False)
            }
            task = progress.add_task("transfers", total=None)
            start = time.monotonic() + 1
            sent = pool.starmap(
                send_all, [(endpoint, [signed[n] for n in share], start) for share in shares]
            )
            progress.update(task, total=1, completed=1)
    finalized = sum(count for count, _, _ in sent)
    assert finalized == CLIENTS * transfers
    seconds = max(end for _, _, end in sent) - start
    return {
        "clients": CLIENTS,
        "neurons": NEURONS,
        "validators": VALIDATORS,
        "metagraph_read_median_ms": round(statistics.median(read_ms[True]), 1),
        "metagraph_read_p95_ms": round(percentile(read_ms[True], 0.95), 1),
        "metagraph_read_all_at_one_instant_median_ms": round(statistics.median(read_ms[False]), 1),
        "extrinsics_finalised_per_second": round(finalized / seconds),
        "extrinsics": finalized,
        "epoch_median_ms": round(statistics.median(epoch_ms), 1),
        "epoch_max_ms": round(max(epoch_ms), 1),
        "seconds_taken": round(time.monotonic() - began),
    }


def main() -> None:
    """Measure, and write docs/benchmarks/chain.json and docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=15, help="metagraph reads of each client")
    parser.add_argument("--transfers", type=int, default=200, help="transfers of each client")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2, help="processes that hold the clients")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    figures = bench(options.reads, options.transfers, options.epochs, options.processes)
    print(json.dumps(figures, indent=2))
    if options.dry:
        return
    write_benchmark(
        "chain",
        title="The devnet under 16 clients",
        explanation=(
            f"`assay devnet` with blocks of {BLOCK_SECONDS:g} s and a subnet of {NEURONS} neurons, "
            f"{VALIDATORS} of them validators with weights on {TARGETS_PER_VALIDATOR} others; the "
            f"{CLIENTS} clients run in {options.processes} other processes. Metagraph: the whole "
            "of the SDK's `subnets.metagraph`, decoding included, every client once in "
            f"{READ_PERIOD_SECONDS:g} s at its own time; then all in the same instant, where the "
            "clients mostly wait for each other's decoding. Extrinsics: transfers signed "
            "beforehand, each watched until it is finalised. Epoch: in process."
        ),
        figures=figures,
        targets={
            "metagraph_read_median_ms": "under 50",
            "metagraph_read_p95_ms": "under 50",
            "extrinsics_finalised_per_second": "at least 100",
            "epoch_median_ms": "under 100",
        },
        command="make bench-chain",
        versions={name: version(name) for name in ("bittensor", "websockets", "numpy")}
        | {"python": platform.python_version()},
    )


if __name__ == "__main__":
    main()
