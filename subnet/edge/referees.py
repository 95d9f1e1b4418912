"""plan -> REFEREE: the engines that can recompute a release, each loaded only where it is used."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from protocol.release import Release
from subnet.config import ConfigError
from subnet.edge.engine_args import parse_engine_arguments
from subnet.edge.vllm_runtime import is_cpu_build
from subnet.ports import SamplingReferee

_WIDER: Final = {"bfloat16": "float32", "float16": "float32", "float32": "float64"}


RefereeKind = Literal["torch", "torch-wide", "vllm"]


class RefereePlan(msgspec.Struct, frozen=True):
    """Which engine on which weights, and what it may use of the machine."""

    kind: RefereeKind
    release: str
    """The release as JSON."""
    folder: str
    slack_logits: float
    batch_tokens_max: int
    threads: int
    device: str
    """As torch names it; vLLM takes what its build is for."""
    vllm: tuple[str, ...]
    """Engine arguments as `key=value`."""


def load_referee(plan: RefereePlan) -> SamplingReferee:
    """The engine with the release's weights; seconds to minutes. Raises ConfigError.

    `torch-wide` computes in the next wider type: the same code by other kernels, whose rounding
    errors are far below any margin that counts.
    """
    release = Release.model_validate_json(plan.release)
    if plan.kind == "vllm":
        return _vllm(plan, release)
    from subnet.edge.grammar import release_grammars
    from subnet.edge.torch_referee import TorchReferee, UnsupportedModelError

    try:
        return TorchReferee(
            plan.folder,
            dtype=_WIDER[release.dtype] if plan.kind == "torch-wide" else release.dtype,
            slack_logits=plan.slack_logits,
            batch_tokens_max=plan.batch_tokens_max,
            threads=plan.threads,
            device=plan.device,
            grammars=release_grammars(release, Path(plan.folder)),
        )
    except (OSError, UnsupportedModelError, RuntimeError, AssertionError) as error:
        # The last two are torch's own ways to say that a device does not exist.
        raise ConfigError(f"cannot load {plan.folder} into the referee: {error}") from error


def _vllm(plan: RefereePlan, release: Release) -> SamplingReferee:
    from subnet.edge.vllm_referee import VllmReferee

    arguments = {"enforce_eager": True} if is_cpu_build() else {}
    try:
        return VllmReferee(
            release,
            Path(plan.folder),
            slack_logits=plan.slack_logits,
            batch_tokens_max=plan.batch_tokens_max,
            threads=plan.threads,
            arguments=arguments | parse_engine_arguments(plan.vllm),
        )
    except ImportError as error:
        raise ConfigError(f"vLLM is not installed ({error}); run `make setup`") from error
