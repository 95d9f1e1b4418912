import json

import pytest

from subnet.config import ConfigError
from subnet.edge.release_files import load_release, load_release_files

CONFIG = {
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
    "dtype": "bfloat16",
}


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "tokenizer.json").write_text("{}")
    return model


def change(folder, **changes):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


def test_a_release_pins_what_the_folder_says(folder):
    release = load_release(str(folder), "abc")
    assert (release.model, release.revision, release.dtype) == ("model", "abc", "bfloat16")
    assert (release.vocab_size, release.context_tokens_max) == (100, 64)
    assert release.stop_token_ids == (2,)
    assert load_release_files(str(folder)).folder == folder


def test_the_generation_config_decides_the_stop_tokens(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [9, 2, 9]}')
    assert load_release(str(folder)).stop_token_ids == (2, 9)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_one_changed_byte_is_another_release(folder, file):
    before = load_release(str(folder)).digest()
    with (folder / file).open("ab") as stream:
        stream.write(b" ")
    assert load_release(str(folder)).digest() != before


def test_dtype_runtime_and_quantization_are_part_of_the_release(folder):
    digests = {
        load_release(str(folder)).digest(),
        load_release(str(folder), dtype="float32").digest(),
        load_release(str(folder), runtime="vllm-0.32.0-cuda").digest(),
    }
    change(folder, quantization_config={"quant_method": "fp8"})
    digests.add(load_release(str(folder)).digest())
    assert len(digests) == 4


def test_a_copy_elsewhere_is_the_same_release(folder, tmp_path):
    copy = tmp_path / "elsewhere" / "model"
    copy.parent.mkdir()
    digest = load_release(str(folder)).digest()
    folder.rename(copy)
    assert load_release(str(copy)).digest() == digest


def test_the_name_and_the_revision_are_part_of_the_release(folder):
    digests = {
        load_release(str(folder)).digest(),
        load_release(str(folder), "v2").digest(),
        load_release(str(folder), name="other").digest(),
    }
    folder = folder.rename(folder.with_name("renamed"))
    digests.add(load_release(str(folder)).digest())
    assert len(digests) == 4


@pytest.mark.parametrize("repository", ["Qwen/Qwen3-0.6B", "gpt2"])
def test_a_hub_snapshot_is_named_by_its_repository_and_commit(
    folder, tmp_path, monkeypatch, repository
):
    cache = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    (cache / "refs" / "v1").write_text(commit)
    snapshot = folder.rename(cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    by_branch = load_release(repository, "main")
    assert (by_branch.model, by_branch.revision) == (repository, commit)
    assert load_release(repository, "v1") == by_branch
    assert load_release(repository, commit) == by_branch
    assert load_release(str(snapshot)) == by_branch


def test_what_is_missing_is_said_in_one_line(folder, tmp_path):
    def problem(model=str(folder)) -> str:
        with pytest.raises(ConfigError) as caught:
            load_release(model)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no model folder" in problem(str(tmp_path / "nothing"))
    assert "no model folder" in problem("assets/nothing")
    change(folder, dtype="int4")
    assert "dtype int4" in problem()
    change(folder, eos_token_id=None)
    assert "eos_token_id" in problem()
    (folder / "config.json").write_text("{")
    assert "not JSON" in problem()
    (folder / "config.json").write_text("{}")
    assert "dtype" in problem()
    change(folder)
    (folder / "model.safetensors").unlink()
    assert "safetensors" in problem()
    (folder / "config.json").unlink()
    assert "cannot read" in problem()
