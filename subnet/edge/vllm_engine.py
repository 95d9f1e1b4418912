"""request -> VLLM -> tokens: `ports.Engine` over one in-process vLLM engine.

One thread owns the engine from birth to death (CUDA contexts belong to threads) and steps it; all
tokens of a step reach the event loop in one call. Core outputs are read directly: vLLM's own
output processor would build Python objects a token that nobody here needs.

vLLM is imported at start, after its environment is set: it reads much of it on import.
"""

import asyncio
import gc
import importlib.metadata
import os
import queue
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from protocol.inference import Environment, FinishReason
from protocol.release import Release
from subnet.config import ConfigError
from subnet.edge.engine_args import check_known
from subnet.ports import EngineDelta, EngineError, EngineRequest

SAMPLER: Final = "subnet.edge.seeded_sampler:SeededSampler"
_FIXED_ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}
"""In-process, and the model runner that takes our sampler."""
_QUIET_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_CPU_ENVIRONMENT: Final = {
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Ready in 10 s instead of 47: no compiler, no core pinning, a small cache."""
_CPU_ARGUMENTS: Final = {"enforce_eager": True, "enable_prefix_caching": False}
_FINISH: Final[dict[int, FinishReason]] = {0: "stop", 1: "length"}
"""vllm.v1.engine.FinishReason; every other value is the engine's own trouble."""

_Batch = list[tuple["_Stream", list[int], list[float], int | None]]


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the CPU build."""
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def runtime_name() -> str:
    """What a release's `runtime` must be for this installation, such as `vllm-0.32.0-cpu`."""
    name = "vllm-cpu" if is_cpu_build() else "vllm"
    try:
        version = importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("vLLM is not installed; run `make setup` (LOCK=cpu or gpu)") from error
    return f"vllm-{version}-{'cpu' if is_cpu_build() else 'cuda'}"


class VllmEngine:
    """One engine, one release."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        concurrent_requests_max: int,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model; blocks for seconds to minutes.

        `arguments` are vLLM engine arguments (`engine_args.parse_engine_arguments`).
        Raises ConfigError for impossible arguments, EngineError when vLLM does not start.
        """
        if release.runtime != runtime_name():
            raise ConfigError(
                f"the release pins runtime {release.runtime}, this machine has {runtime_name()}; "
                "choose with --runtime or install the other lock"
            )
        self._release = release
        self._concurrent_requests_max = concurrent_requests_max
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._death: EngineError | None = None
        self._watchers: list[asyncio.Future[None]] = []
        self._streams: dict[str, _Stream] = {}
        self._engine: Any = None
        started: Future[Environment] = Future()
        self._thread = threading.Thread(
            target=self._run,
            args=(folder, dict(arguments or {}), started),
            name="engine",
            daemon=True,
        )
        self._thread.start()
        self._environment = started.result()

    @property
    def release(self) -> Release:
        """What this engine serves."""
        return self._release

    @property
    def environment(self) -> Environment:
        """The numerics' fingerprint."""
        return self._environment

    @property
    def concurrent_requests_max(self) -> int:
        """Requests that run at the same time; more would queue inside the engine."""
        return self._concurrent_requests_max

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """Stream one answer; tokens that wait for the reader arrive as one delta.

        Closing the iterator aborts the request. Raises EngineError.
        """
        if self._death is not None:
            raise self._death
        self._loop = asyncio.get_running_loop()
        core_request = self._prepare(request)
        stream = _Stream(core_request.request_id, self._loop)
        self._inbox.put((core_request, stream))
        try:
            while True:
                delta = await stream.take()
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            if not stream.is_finished:
                self._inbox.put(core_request.request_id)

    async def failed(self) -> None:
        """Return only by raising EngineError, when the engine has died."""
        self._loop = asyncio.get_running_loop()
        if self._death is not None:
            raise self._death
        watcher: asyncio.Future[None] = self._loop.create_future()
        self._watchers.append(watcher)
        try:
            await watcher
        finally:
            self._watchers.remove(watcher)

    def close(self) -> None:
        """Stop the engine and wait for its thread; running requests end in EngineError."""
        self._inbox.put(None)
        self._thread.join(timeout=30.0)

    def _prepare(self, request: EngineRequest) -> Any:
        from vllm.exceptions import VLLMError

        from subnet.edge.seeded_sampler import seeded_params

        room = self._release.context_tokens_max - len(request.prompt_token_ids)
        params = seeded_params(
            temperature_milli=request.temperature_milli,
            top_p_milli=request.top_p_milli,
            top_k=request.top_k,
            seed=request.seed,
            tokens_max=min(request.tokens_max, room),
            stop_token_ids=self._release.stop_token_ids,
        )
        prompt = {"type": "token", "prompt_token_ids": list(request.prompt_token_ids)}
        try:
            core_request = self._engine.input_processor.process_inputs(
                request.request_id, prompt, params, supported_tasks=("generate",)
            )
        except (ValueError, VLLMError) as error:
            raise EngineError(f"the engine refused the request: {error}") from error
        self._engine.input_processor.assign_request_id(core_request)
        return core_request

    def _run(self, folder: Path, arguments: dict[str, Any], started: "Future[Environment]") -> None:
        """The engine's thread. Whatever vLLM raises here is the engine's death, hence BLE001."""
        try:
            set_engine_environment()
            self._engine = _start_engine(
                self._release, folder, self._concurrent_requests_max, arguments
            )
            environment = _environment(self._release)
        except ConfigError as error:
            started.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001
            started.set_exception(EngineError(f"vLLM did not start: {_first_line(error)}"))
            return
        gc.collect()
        gc.freeze()
        started.set_result(environment)
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001
            self._tell(self._die, EngineError(f"the engine died: {_first_line(error)}"))
        else:
            self._tell(self._die, EngineError("the engine was stopped"))
        finally:
            self._engine.engine_core.shutdown()

    def _serve(self) -> None:
        core = self._engine.engine_core
        running = self._streams
        while True:
            while not running or not self._inbox.empty():
                message = self._inbox.get()
                if message is None:
                    return
                if isinstance(message, str):
                    if running.pop(message, None) is not None:
                        core.abort_requests([message])
                else:
                    core_request, stream = message
                    running[core_request.request_id] = stream
                    core.add_request(core_request)
            batch: _Batch = []
            for output in core.get_output().outputs:
                stream = running.get(output.request_id)
                if stream is None:
                    continue
                finish = output.finish_reason
                logprobs = output.new_logprobs
                batch.append(
                    (
                        stream,
                        output.new_token_ids,
                        [] if logprobs is None else logprobs.logprobs[:, 0].tolist(),
                        None if finish is None else int(finish),
                    )
                )
                if finish is not None:
                    del running[output.request_id]
            if batch:
                self._tell(_deliver, batch)

    def _tell(self, callback: Any, argument: Any) -> None:
        loop = self._loop
        if loop is None:
            callback(argument)
            return
        try:
            loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:
            assert loop.is_closed(), "the loop refuses calls only once it is closed"

    def _die(self, error: EngineError) -> None:
        self._death = error
        waiting = list(self._streams.values())
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, tuple):
                waiting.append(message[1])
        for stream in waiting:
            stream.fail(error)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_exception(error)


class _Stream:
    """Tokens between the engine's thread and one reader; touched by the event loop only."""

    __slots__ = ("_error", "_finish", "_logprobs", "_loop", "_token_ids", "_waiter", "request_id")

    def __init__(self, request_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.request_id = request_id
        self._loop = loop
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._finish: FinishReason | None = None
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the engine is done with this request."""
        return self._finish is not None or self._error is not None

    def push(self, token_ids: list[int], logprobs: list[float], finish: int | None) -> None:
        """Append what one step emitted."""
        self._token_ids += token_ids
        self._logprobs += logprobs
        if finish is not None:
            if finish in _FINISH:
                self._finish = _FINISH[finish]
            else:
                self.fail(EngineError("the engine gave up on the request"))
        self._wake()

    def fail(self, error: EngineError) -> None:
        """End the stream by an error, after the tokens that came before."""
        self._error = error
        self._wake()

    async def take(self) -> EngineDelta:
        """All tokens that wait; waits for at least one. Raises EngineError."""
        while not self._token_ids and self._finish is None:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        delta = EngineDelta(tuple(self._token_ids), tuple(self._logprobs), self._finish)
        self._token_ids = []
        self._logprobs = []
        return delta

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _deliver(batch: _Batch) -> None:
    for stream, token_ids, logprobs, finish in batch:
        stream.push(token_ids, logprobs, finish)


def set_engine_environment() -> None:
    """Set what vLLM, torch and their libraries read from the environment; the operator's wins."""
    os.environ.update(_FIXED_ENVIRONMENT)
    defaults = dict(_QUIET_ENVIRONMENT)
    if is_cpu_build():
        defaults |= _CPU_ENVIRONMENT
        defaults["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) - 1))
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


def _start_engine(
    release: Release, folder: Path, concurrent_requests_max: int, arguments: dict[str, Any]
) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    check_known(arguments, EngineArgs)
    defaults: dict[str, Any] = {
        "max_num_seqs": concurrent_requests_max,
        "distributed_executor_backend": "uni",
    }
    if any(
        arguments.get(key, 1) != 1 for key in ("tensor_parallel_size", "pipeline_parallel_size")
    ):
        defaults["distributed_executor_backend"] = None
    if is_cpu_build():
        defaults |= _CPU_ARGUMENTS
    fixed: dict[str, Any] = {
        "model": str(folder),
        "dtype": release.dtype,
        "max_model_len": release.context_tokens_max,
        "logits_processors": [SAMPLER],
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": 1,
        "generation_config": "vllm",
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "seed": 0,
    }
    try:
        return LLMEngine.from_engine_args(EngineArgs(**{**defaults, **arguments, **fixed}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"vLLM refuses its arguments: {_first_line(error)}") from error


def _environment(release: Release) -> Environment:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return Environment(
        engine=release.runtime, torch=torch.__version__, device=device[:100], dtype=release.dtype
    )


def _cpu_name() -> str:
    import torch

    return f"cpu-{torch.backends.cpu.get_cpu_capability()}".lower()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
