"""--vllm key=value -> ENGINE ARGUMENTS: everything vLLM offers, save what would change the release.

One miner may span several GPUs or machines; it may not serve another model under the same name.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from subnet.config import ConfigError

_WEIGHTS: Final = (
    "model model_weights model_class_overrides model_impl model_loader_extra_config revision "
    "code_revision trust_remote_code hf_config_path hf_overrides config_format load_format "
    "ignore_patterns convert runner weight_transfer_config enable_lora default_mm_loras lora_dtype "
    "max_loras max_lora_rank max_cpu_loras lora_target_modules pooler_config diffusion_config"
)
_NUMBERS: Final = (
    "dtype quantization quantization_config allow_deprecated_quantization kv_cache_dtype "
    "kv_cache_dtype_skip_layers mamba_cache_dtype mamba_ssm_cache_dtype mm_encoder_attn_dtype "
    "enable_mamba_cache_stochastic_rounding disable_sliding_window kv_sharing_fast_prefill"
)
_SAMPLING: Final = (
    "seed logits_processors logprobs_mode max_logprobs use_fp64_gumbel generation_config "
    "override_generation_config speculative_config spec_method spec_model spec_tokens "
    "watermark_config reasoning_config enable_trace_replay return_sampling_mask"
)
_TOKENS: Final = (
    "tokenizer tokenizer_mode tokenizer_revision skip_tokenizer_init max_model_len "
    "enable_prompt_embeds"
)
_CODE: Final = "worker_cls worker_extension_cls scheduler_cls io_processor_plugin"
RELEASE_ARGUMENTS: Final = frozenset(
    " ".join((_WEIGHTS, _NUMBERS, _SAMPLING, _TOKENS, _CODE)).split()
)
"""Arguments that decide, or could replace, what the release pins: refused."""

ENGINE_ARGUMENTS: Final = frozenset(
    {"disable_log_stats", "stream_interval", "tokens_only", "shutdown_timeout", "enable_sleep_mode"}
)
"""Arguments that this miner sets itself, as it does all of `data_parallel_*`: run more miners."""


def parse_engine_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Engine arguments from `key=value` pairs.

    A value is JSON where it parses as JSON (numbers, true, null, objects), else a string. Dashes
    in keys count as underscores. Raises ConfigError for refused and malformed ones.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        key = key.strip().lstrip("-").replace("-", "_")
        if not separator or not key:
            raise ConfigError(f"--vllm {pair}: write it as --vllm key=value")
        if key in RELEASE_ARGUMENTS:
            raise ConfigError(
                f"--vllm {key}: refused, because it could change what the release promises; "
                "another model or revision is chosen by --model and --revision"
            )
        if key in ENGINE_ARGUMENTS or key.startswith("data_parallel_"):
            raise ConfigError(f"--vllm {key}: refused, because the miner sets it itself")
        try:
            arguments[key] = json.loads(text)
        except ValueError:
            arguments[key] = text
    return arguments


def check_known(arguments: Mapping[str, Any], engine_args: type[Any]) -> None:
    """Raise ConfigError for a key that this vLLM (its `EngineArgs` dataclass) does not have."""
    known = {field.name for field in dataclasses.fields(engine_args)}
    for key in arguments:
        if key not in known or key.startswith("_"):
            close = [name for name in known if name.startswith(key[:6]) or key in name]
            hint = f"; did you mean {', '.join(sorted(close)[:5])}?" if close else ""
            raise ConfigError(f"--vllm {key}: this vLLM has no such engine argument{hint}")
