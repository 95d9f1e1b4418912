"""release -> VLLM: which build is installed, and one in-process `LLMEngine` for one release.

Importing this costs nothing: vLLM is imported at start, after its environment is set, because it
reads much of it on import.
"""

import gc
import importlib.metadata
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from protocol.inference import Environment
from protocol.release import TOP_K_MAX, Release
from subnet.config import ConfigError
from subnet.edge.engine_args import check_known
from subnet.edge.seed_selftest import check_runner, check_seeds

SAMPLER: Final = "subnet.edge.seeded_sampler:SeededSampler"
_RUNNER: Final = "VLLM_USE_V2_MODEL_RUNNER"
_FIXED_ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
}
"""In-process, and a referee's one token of extra room."""
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
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""A small cache, and no core pinning: an operator with cores to pin sets both."""
_EAGER_CPU_ENVIRONMENT: Final = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_CI_ENV": "1"}
"""No compiler at all: with `enforce_eager` alone vLLM still compiles its sampler's helpers."""
_CPU_ARGUMENTS: Final = {"enable_prefix_caching": False}
_SERVING_ARGUMENTS: Final = {"logits_processors": [SAMPLER], "max_logprobs": 1}
_NATIVE_ARGUMENTS: Final = {"max_logprobs": TOP_K_MAX}
"""Room for the self-test's log-probabilities."""


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the CPU build."""
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def uses_native_seeds() -> bool:
    """Whether vLLM itself draws our noise: its runner V2, which the operator asks for on a GPU.

    Written, unproved: no GPU has run it yet, so that our own sampler under V1 is the default.
    """
    return not is_cpu_build() and os.environ.get(_RUNNER) == "1"


def runtime_name() -> str:
    """What a release's `runtime` must be for this installation, such as `vllm-0.32.0-cpu`."""
    name = "vllm-cpu" if is_cpu_build() else "vllm"
    try:
        version = importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("vLLM is not installed; run `make setup` (LOCK=cpu or gpu)") from error
    return f"vllm-{version}-{'cpu' if is_cpu_build() else 'cuda'}"


def set_engine_environment(arguments: Mapping[str, Any], threads: int | None = None) -> None:
    """Set what vLLM, torch and their libraries read from the environment; the operator's wins.

    Only what is imported afterwards sees it: torch takes its thread count when loaded.
    `arguments` as in `start_vllm`; `threads` of a CPU, all but one unless said. Raises
    ConfigError if the model is to be compiled without a compiler.
    """
    os.environ.update(_FIXED_ENVIRONMENT)
    os.environ[_RUNNER] = "1" if uses_native_seeds() else "0"
    defaults = dict(_QUIET_ENVIRONMENT)
    if is_cpu_build():
        defaults |= _CPU_ENVIRONMENT
        defaults["OMP_NUM_THREADS"] = str(threads or max(1, (os.cpu_count() or 1) - 1))
        if arguments.get("enforce_eager"):
            defaults |= _EAGER_CPU_ENVIRONMENT
        elif shutil.which(os.environ.get("CXX", "g++")) is None:
            raise ConfigError(
                "vLLM compiles the model for this CPU and finds no C++ compiler; install g++, or "
                "do without and be slower: --vllm enforce_eager=true"
            )
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


def start_vllm(
    release: Release,
    folder: Path,
    concurrent_requests_max: int,
    arguments: Mapping[str, Any],
    purpose: Mapping[str, Any] | None = None,
) -> Any:
    """An `LLMEngine` in this process, after `set_engine_environment`; seconds to minutes.

    `arguments` are vLLM engine arguments (`engine_args.parse_engine_arguments`), `purpose` those
    that it needs for what it is used for, which is serving unless said otherwise. Raises
    ConfigError for impossible ones; whatever else vLLM raises is its own.
    """
    with _collector_at_rest():
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
        "logprobs_mode": "raw_logprobs",
        "generation_config": "vllm",
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "seed": 0,
        **(purpose or (_NATIVE_ARGUMENTS if uses_native_seeds() else _SERVING_ARGUMENTS)),
    }
    try:
        with _collector_at_rest():
            return LLMEngine.from_engine_args(EngineArgs(**{**defaults, **arguments, **fixed}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"vLLM refuses its arguments: {first_line(error)}") from error


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Half of an engine's start went into looking for garbage in what it had just imported.

    vLLM collects by itself several times while it loads, so what is there by then is set aside.
    """
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def check_native_seeds(engine: Any, release: Release) -> None:
    """Raise EngineError unless a serving engine that draws its own noise draws ours."""
    from subnet.edge.native_seeds import EngineProbe

    check_runner(engine)
    check_seeds(EngineProbe(engine, release.vocab_size), release.vocab_size)


def measured_environment(release: Release) -> Environment:
    """The numerics' fingerprint of this process, once torch is loaded."""
    import torch

    from subnet.edge.torch_device import device_name

    return Environment(
        engine=release.runtime,
        torch=torch.__version__,
        device=device_name(on_gpu=torch.cuda.is_available()),
        dtype=release.dtype,
    )


def first_line(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
