"""make bench-miner: our miner against a default `vllm serve` and against the bare engine.

Three servers stay up and take turns, so that a busy machine is equally unfair to all. The load is
closed-loop: a fixed number of streams, each followed at once by the next. The client is a process
of its own. The bare engine is vLLM's `LLMEngine.step()` with the same sampler, arguments and
threads, and no network. Every contender compiles the model, as is the default of both servers.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from bittensor.keyfiles import Keypair

from protocol.inference import InferenceRequest, Sampling
from scripts.benchmarks_page import write_benchmark
from subnet.config import Settings
from subnet.edge.btauth import HotkeySigner
from subnet.edge.engine_args import parse_engine_arguments
from subnet.edge.miner_client import HttpMinerClient
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.system import SystemClock
from subnet.edge.vllm_runtime import set_engine_environment, start_vllm
from subnet.ports import Endpoint, Metagraph, Neuron

ROOT = Path(__file__).parents[1]
MINER = HotkeySigner(Keypair.create_from_uri("//Bob"))
CALLER = HotkeySigner(Keypair.create_from_uri("//Alice"))
TEMPERATURE, TOP_P, TOP_K = 1.0, 0.95, 50
START_SECONDS_MAX = 150.0
UNUSED_TOKEN = 1
"""Padding: in no training text, so never sampled."""


class Load:
    """What every contender is asked in one round."""

    def __init__(self, streams: int, requests: int, prompt_tokens: int, answer_tokens: int) -> None:
        self.streams = streams
        self.requests = requests
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens

    def prompt(self, number: int) -> list[int]:
        """Different prompts, the same for every contender."""
        return [3 + (number * 31 + place * 17) % 500 for place in range(self.prompt_tokens)]


class StaticChain:
    """A chain on which the caller holds the only permit; nothing is ever sent."""

    async def metagraph(self) -> Metagraph:
        """Two neurons."""
        rows = [
            Neuron(uid, hotkey, hotkey, None, 10**12, uid == 0, 0.0, 0.0, 0, 0, 0)
            for uid, hotkey in enumerate((CALLER.hotkey, MINER.hotkey))
        ]
        return Metagraph(1, 1, 360, CALLER.hotkey, tuple(rows))

    async def publish_endpoint(self, host: str, port: int) -> bool:
        """Nothing to do."""
        return False


# --- contenders, each a process --------------------------------------------------------------


def serve_ours(model: str, streams: int, engine_arguments: Sequence[str]) -> None:
    """The miner's own composition, but for the chain."""
    import uvloop

    from subnet.cli.miner import make_vllm_engine, serve_miner
    from subnet.edge.http_server import bind_socket

    files = load_release_files(model)
    settings = Settings.model_validate(
        {
            "miner": {"concurrent_requests_max": streams},
            "admission": {"tokens_per_tempo": 10**12},
        }
    )
    engine = make_vllm_engine(files, settings.miner, parse_engine_arguments(engine_arguments))
    bound = bind_socket("127.0.0.1", 0)
    bound.listen()
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    chain: Any = StaticChain()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_miner(settings, chain, MINER, engine, bound, "127.0.0.1"))
    engine.close()


def serve_bare(model: str, streams: int) -> None:
    """The engine alone: each line on stdin is a load, each line on stdout its figures.

    Started by the miner's own code, so that it has the same arguments and thread count.
    """
    set_engine_environment({})
    files = load_release_files(model)
    engine = start_vllm(files.release, files.folder, streams, {})
    gc.collect()
    gc.freeze()

    from vllm.sampling_params import RequestOutputKind

    from subnet.edge.seeded_sampler import seeded_params

    print(json.dumps({"port": 0}), flush=True)
    for line in sys.stdin:
        load = Load(**json.loads(line))
        tokens, left, running = 0, list(range(load.requests)), 0
        started = time.perf_counter()
        while left or running:
            while left and running < load.streams:
                number = left.pop()
                params = seeded_params(
                    temperature_milli=int(TEMPERATURE * 1000),
                    top_p_milli=int(TOP_P * 1000),
                    top_k=TOP_K,
                    seed=number,
                    tokens_max=load.answer_tokens,
                    stop_token_ids=files.release.stop_token_ids,
                    output_kind=RequestOutputKind.DELTA,
                )
                prompt = {"type": "token", "prompt_token_ids": load.prompt(number)}
                engine.add_request(secrets.token_hex(16), prompt, params)
                running += 1
            for output in engine.step():
                tokens += len(output.outputs[0].token_ids)
                running -= output.finished
        print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - started}), flush=True)


class Contender:
    """A server process; `round` gives (tokens, seconds)."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def read_json(self) -> dict[str, Any]:
        """The next line of output that is JSON."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"{self.process.args} ended with code {self.process.wait()}")

    def freeze(self) -> None:
        """Stop it in its tracks: an idle server that polls must not slow down another's round."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process, then whatever is left of its session."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_role(role: str, model: str, streams: int) -> Contender:
    """One of ours, with the miner's own thread count."""
    command = [sys.executable, __file__, "--role", role, "--model", model]
    return Contender([*command, "--streams", str(streams)], dict(os.environ))


def start_default_server(model: str, port: int) -> Contender:
    """`vllm serve` with all its defaults, but for a cache of 1 GiB as ours has: its own default
    wants nearly all memory, which three servers on one machine do not leave it.

    By its server module: the command itself looks for a package named `vllm`, which the CPU build
    is not.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("VLLM_", "OMP_"))
    }
    environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
    return Contender([*command, "--port", str(port)], environment)


# --- rounds ----------------------------------------------------------------------------------

Ask = Callable[[int], Awaitable[int]]


async def closed_loop(load: Load, ask: Ask) -> tuple[int, float]:
    """Tokens and seconds of one round."""
    numbers = iter(range(load.requests))

    async def stream() -> int:
        return sum([await ask(number) for number in numbers])

    started = time.perf_counter()
    tokens = sum(await asyncio.gather(*(stream() for _ in range(load.streams))))
    return tokens, time.perf_counter() - started


async def round_ours(port: int, files: ReleaseFiles, load: Load) -> tuple[int, float]:
    """One round through the signed protocol, every answer authenticated."""
    endpoint = Endpoint(MINER.hotkey, "127.0.0.1", port)
    digest = files.release.digest()
    async with HttpMinerClient(CALLER, SystemClock(), allow_private=True) as client:

        async def ask(number: int) -> int:
            request = InferenceRequest(
                request_id=secrets.token_hex(16),
                release_digest=digest,
                nonce=secrets.token_hex(32),
                prompt_token_ids=tuple(load.prompt(number)),
                sampling=Sampling(
                    temperature_milli=int(TEMPERATURE * 1000),
                    top_p_milli=int(TOP_P * 1000),
                    top_k=TOP_K,
                    tokens_max=load.answer_tokens,
                ),
                timeout_ms=300_000,
            )
            exchange = await client.infer(endpoint, request)
            assert exchange.fault is None, (exchange.fault, exchange.fault_detail)
            return len(exchange.token_ids)

        return await closed_loop(load, ask)


async def round_vllm(port: int, model: str, load: Load) -> tuple[int, float]:
    """One round of streamed completions; chunks are read but not parsed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> int:
            body = {
                "model": model,
                "prompt": load.prompt(number),
                "max_tokens": load.answer_tokens,
                "temperature": TEMPERATURE,
                "top_p": TOP_P,
                "top_k": TOP_K,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            last = b""
            async with session.post(f"http://127.0.0.1:{port}/v1/completions", json=body) as answer:
                assert answer.status == 200, await answer.text()
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        last = line
            tokens: int = json.loads(last[6:])["usage"]["completion_tokens"]
            return tokens

        return await closed_loop(load, ask)


def round_bare(contender: Contender, load: Load) -> tuple[int, float]:
    """One round inside the engine's process."""
    assert contender.process.stdin is not None
    contender.process.stdin.write(json.dumps(vars(load)) + "\n")
    contender.process.stdin.flush()
    figures = contender.read_json()
    return figures["tokens"], figures["seconds"]


async def wait_for_vllm(contender: Contender, port: int) -> None:
    """Until it answers; ends this script if it never does."""
    deadline = time.monotonic() + START_SECONDS_MAX
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and contender.process.poll() is None:
            try:
                async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.5)
    raise SystemExit("vllm serve did not start")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_endless_model(model: Path, folder: Path) -> None:
    """A copy of the tiny model that never stops early, so that all answers are equally long."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "eos_token_id": UNUSED_TOKEN}))


def make_large_model(folder: Path) -> None:
    """A randomly initialised Llama whose step takes 100 ms or more on two cores."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "config.json").exists():
        return
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=512,
        eos_token_id=2,
        tie_word_embeddings=True,
        dtype="float32",
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        model.get_input_embeddings().weight[config.eos_token_id].zero_()  # Never among the best.
    model.save_pretrained(folder)


async def compare(
    model: str, load: Load, rounds: int, *, with_vllm: bool
) -> dict[str, list[tuple[int, float]]]:
    """Interleaved rounds; the first of each contender is a warm-up and not counted."""
    files = load_release_files(model)
    contenders: dict[str, Contender] = {}
    results: dict[str, list[tuple[int, float]]] = {"bare": [], "ours": []}
    vllm_port = free_port()
    try:
        contenders["ours"] = start_role("ours", model, load.streams)
        our_port = contenders["ours"].read_json()["port"]
        contenders["bare"] = start_role("bare", model, load.streams)
        contenders["bare"].read_json()
        if with_vllm:
            contenders["vllm_serve"] = start_default_server(model, vllm_port)
            results["vllm_serve"] = []
            await wait_for_vllm(contenders["vllm_serve"], vllm_port)
        asks = {
            "bare": lambda: asyncio.to_thread(round_bare, contenders["bare"], load),
            "ours": lambda: round_ours(our_port, files, load),
            "vllm_serve": lambda: round_vllm(vllm_port, model, load),
        }
        for contender in contenders.values():
            contender.freeze()
        for number in range(rounds + 1):
            turns = list(contenders.items())
            for name, contender in turns if number % 2 else reversed(turns):
                contender.thaw()
                tokens, seconds = await asks[name]()
                contender.freeze()
                assert tokens == load.requests * load.answer_tokens, (name, tokens)
                print(f"round {number} {name}: {tokens / seconds:.0f} tokens/s", flush=True)
                if number > 0:
                    results[name].append((tokens, seconds))
    finally:
        for contender in contenders.values():
            contender.thaw()
            contender.stop()
    return results


def rates(rounds: list[tuple[int, float]]) -> list[float]:
    """Tokens a second of each round."""
    return [tokens / seconds for tokens, seconds in rounds]


def ratio(results: dict[str, list[tuple[int, float]]], name: str, base: str) -> float:
    """Median over the rounds of how much faster `name` was than `base` in the same round."""
    pairs = zip(rates(results[name]), rates(results[base]), strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def bench(model: str, rounds: int) -> None:
    """Measure, and write docs/benchmarks/miner.json and docs/benchmarks.md."""
    started = time.monotonic()
    small_load = Load(streams=32, requests=128, prompt_tokens=64, answer_tokens=128)
    endless = ROOT / ".bench" / "tiny"
    make_endless_model(Path(model), endless)
    small = asyncio.run(compare(str(endless), small_load, rounds, with_vllm=True))
    large_folder = ROOT / ".bench" / "random-300m"
    make_large_model(large_folder)
    large_load = Load(streams=8, requests=8, prompt_tokens=16, answer_tokens=128)
    large = asyncio.run(compare(str(large_folder), large_load, rounds, with_vllm=False))

    speed = {name: statistics.median(rates(values)) for name, values in small.items()}
    large_speed = {name: statistics.median(rates(values)) for name, values in large.items()}
    overheads = [
        1e6 / ours - 1e6 / bare
        for ours, bare in zip(rates(small["ours"]), rates(small["bare"]), strict=True)
    ]
    figures = {
        "streams": small_load.streams,
        "ours_tokens_per_second": round(speed["ours"]),
        "vllm_serve_tokens_per_second": round(speed["vllm_serve"]),
        "bare_engine_tokens_per_second": round(speed["bare"]),
        "ours_over_vllm_serve": round(ratio(small, "ours", "vllm_serve"), 2),
        "overhead_us_per_token": round(statistics.median(overheads), 1),
        "large_model_streams": large_load.streams,
        "large_model_step_ms": round(1000 * large_load.streams / large_speed["bare"]),
        "large_model_ours_over_bare": round(ratio(large, "ours", "bare"), 3),
        "rounds": rounds,
        "seconds_taken": round(time.monotonic() - started),
    }
    write_benchmark(
        "miner",
        title="Miner against `vllm serve` and the bare engine",
        explanation=(
            "Streaming answers of the tiny release at a closed-loop load, medians over interleaved "
            "rounds, the other contenders frozen; ratios are taken within a round. Ours: the "
            "miner's defaults, signed requests, seeded sampling, a log-probability a token, signed "
            "checkpoints; client in another process. `vllm serve`: its defaults but for a 1 GiB "
            "cache, without log-probabilities. Bare engine: `LLMEngine.step()` with our sampler, "
            "arguments and threads, no network; below 0, the overhead is what we save by reading "
            "the engine core's outputs ourselves. Large model: randomly initialised."
        ),
        figures=figures,
        targets={
            "ours_over_vllm_serve": "at least 1.5",
            "overhead_us_per_token": "at most 60",
            "large_model_ours_over_bare": "at least 0.97",
        },
        command="make bench-miner",
        versions={name: version(name) for name in ("torch", "uvicorn", "aiohttp", "pydantic")}
        | {"vllm": load_release_files(model).release.runtime, "python": platform.python_version()},
    )
    print(json.dumps(figures, indent=2))


def main() -> None:
    """Flags; `--role` is how this script starts its own contenders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["ours", "bare"])
    parser.add_argument("--model", default=str(ROOT / "assets" / "tiny"))
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--vllm", action="append", default=[], help="engine argument of --role")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    if options.role == "ours":
        serve_ours(options.model, options.streams, options.vllm)
    elif options.role == "bare":
        serve_bare(options.model, options.streams)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        bench(options.model, options.rounds)


if __name__ == "__main__":
    main()
