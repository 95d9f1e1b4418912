"""What vLLM reads from its environment follows from the engine's arguments; the operator's wins."""

import gc
import os

import pytest

from subnet.config import ConfigError
from subnet.edge import vllm_runtime
from subnet.edge.vllm_runtime import set_engine_environment

EAGER = {"enforce_eager": True}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A CPU machine with a compiler and an empty environment."""
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(vllm_runtime, "is_cpu_build", lambda: True)
    monkeypatch.setattr(vllm_runtime.shutil, "which", lambda _: "/usr/bin/g++")


def test_no_compiler_runs_for_an_eager_model():
    set_engine_environment(EAGER)
    assert os.environ["TORCHDYNAMO_DISABLE"] == "1"


def test_nothing_hinders_the_compiler_of_a_compiled_model():
    set_engine_environment({})
    assert "TORCHDYNAMO_DISABLE" not in os.environ
    assert "VLLM_CPU_CI_ENV" not in os.environ


def test_a_missing_compiler_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr(vllm_runtime.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="enforce_eager=true"):
        set_engine_environment({})
    set_engine_environment(EAGER)


def test_a_gpu_needs_no_compiler_of_ours(monkeypatch):
    monkeypatch.setattr(vllm_runtime, "is_cpu_build", lambda: False)
    monkeypatch.setattr(vllm_runtime.shutil, "which", lambda _: None)
    set_engine_environment({})
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_operator_wins_but_for_what_our_sampler_needs():
    os.environ |= {"OMP_NUM_THREADS": "7", "VLLM_USE_V2_MODEL_RUNNER": "1"}
    set_engine_environment(EAGER)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "0"


@pytest.mark.parametrize(("is_cpu", "asked", "runner"), [(True, "1", "0"), (False, "1", "1")])
def test_vllms_own_seeds_are_for_gpus_whose_operator_asks(monkeypatch, is_cpu, asked, runner):
    monkeypatch.setattr(vllm_runtime, "is_cpu_build", lambda: is_cpu)
    assert not vllm_runtime.uses_native_seeds()
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = asked
    set_engine_environment(EAGER)
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == runner
    assert vllm_runtime.uses_native_seeds() == (runner == "1")


def test_the_collector_rests_while_an_engine_loads_and_not_when_that_failed():
    with pytest.raises(ConfigError), vllm_runtime._collector_at_rest():
        assert not gc.isenabled()
        raise ConfigError("no such engine argument")
    assert gc.isenabled()
