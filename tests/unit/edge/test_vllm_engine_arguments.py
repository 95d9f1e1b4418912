import dataclasses

import pytest

from subnet.config import ConfigError
from subnet.edge.engine_args import RELEASE_ARGUMENTS, check_known, parse_engine_arguments


@dataclasses.dataclass
class Known:
    tensor_parallel_size: int = 1
    max_num_seqs: int = 1


def test_values_take_the_type_that_they_look_like():
    pairs = [
        "tensor-parallel-size=2",
        "gpu_memory_utilization=0.5",
        "enforce_eager=true",
        "distributed_executor_backend=ray",
        'compilation_config={"level": 3}',
        "block_size=null",
    ]
    assert parse_engine_arguments(pairs) == {
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "distributed_executor_backend": "ray",
        "compilation_config": {"level": 3},
        "block_size": None,
    }


@pytest.mark.parametrize(
    "key",
    [
        "quantization",
        "kv_cache_dtype",
        "kv-cache-dtype",
        "--quantization",
        "speculative_config",
        "hf_overrides",
        "dtype",
        "model",
        "load_format",
        "logits_processors",
        "data_parallel_size",
    ],
)
def test_arguments_that_change_the_release_are_refused(key):
    with pytest.raises(ConfigError, match="refused"):
        parse_engine_arguments([f"{key}=1"])


@pytest.mark.parametrize("pair", ["tensor_parallel_size", "=2", ""])
def test_a_pair_without_key_or_value_is_refused(pair):
    with pytest.raises(ConfigError, match="key=value"):
        parse_engine_arguments([pair])


def test_an_unknown_key_is_named_with_its_neighbours():
    with pytest.raises(ConfigError, match=r"max_num_seq.*did you mean max_num_seqs"):
        check_known({"max_num_seq": 3}, Known)
    check_known({"max_num_seqs": 3}, Known)


@pytest.mark.engine  # Importing vLLM takes seconds.
def test_every_refused_argument_exists_in_this_vllm():
    arg_utils = pytest.importorskip("vllm.engine.arg_utils")
    fields = {field.name for field in dataclasses.fields(arg_utils.EngineArgs)}
    assert fields >= RELEASE_ARGUMENTS
