"""model folder or hub name -> RELEASE: what decides which tokens come out, hashed.

Miner and validator compute the release each from their own files. The model's name and revision
are part of it, so both sides must give the same ones; of a folder, the name is its last part and
the revision what was asked for. A hub snapshot names itself: its repository, and the commit that
a branch such as `main` stood for when it was downloaded.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from protocol.release import GRAMMAR_BACKEND, Release
from subnet.config import ConfigError, first_problem

DEFAULT_RUNTIME: Final = "vllm-0.32.0-cpu"
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
_HUB_PATTERNS: Final = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    *TOKENIZER_FILES,
)
_SNAPSHOT: Final = re.compile(r"models--(?P<repository>.+)/snapshots/(?P<commit>[0-9a-f]{40})")
"""How the hub's cache lays out a download: slashes of the repository's name become two dashes."""
_DTYPES: Final = frozenset({"bfloat16", "float16", "float32"})


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """A release with the folder that holds it."""

    release: Release
    folder: Path


def find_folder(model: str, revision: str) -> Path:
    """The local folder of a model; a hub name is downloaded if it is not cached.

    Raises ConfigError.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.startswith((".", "~", "assets/")):
        raise ConfigError(f"no model folder {model}; give a folder or a hub name with --model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_HUB_PATTERNS)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"cannot get model {model} at revision {revision}: {first_line}; "
            "check the name, the revision and the network, or give a folder"
        ) from error


def load_release(
    model: str,
    revision: str = "main",
    dtype: str = "auto",
    runtime: str = DEFAULT_RUNTIME,
    name: str | None = None,
    grammar: str = "auto",
) -> Release:
    """The release that `model` (a folder or a hub name) is. Hashes every weight file.

    `dtype` "auto" is the checkpoint's own. `name` is what the release is called; default: the hub
    name, or the folder's last part. For a snapshot of the hub's cache the release's revision is the
    snapshot's commit, whatever branch or tag `revision` is. `grammar` "auto" verifies
    structured output if the folder holds a tokenizer.json, "none" never. Raises ConfigError.
    """
    return load_release_files(model, revision, dtype, runtime, name, grammar).release


def load_release_files(
    model: str,
    revision: str = "main",
    dtype: str = "auto",
    runtime: str = DEFAULT_RUNTIME,
    name: str | None = None,
    grammar: str = "auto",
) -> ReleaseFiles:
    """As `load_release`, with the folder."""
    folder = find_folder(model, revision)
    config = _read_json(folder / "config.json")
    text_config = config.get("text_config", config)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"{folder} holds no *.safetensors weights")
    quantization = config.get("quantization_config") or {}
    own_name, own_revision = _name_and_revision(model, revision, folder)
    try:
        release = Release(
            model=name or own_name,
            revision=own_revision,
            weights_digest=_files_digest(weights),
            tokenizer_digest=_files_digest(
                file for file in map(folder.joinpath, TOKENIZER_FILES) if file.is_file()
            ),
            quantization=str(quantization.get("quant_method", "none")),
            dtype=_dtype(dtype, text_config, config, folder),
            runtime=runtime,
            vocab_size=text_config["vocab_size"],
            context_tokens_max=text_config["max_position_embeddings"],
            stop_token_ids=_stop_token_ids(folder, text_config),
            grammar=_grammar(grammar, folder),
        )
    except KeyError as error:
        raise ConfigError(f"{folder / 'config.json'} lacks {error}") from error
    except ValidationError as error:
        raise ConfigError(
            f"{folder} is not a release that can be verified: {first_problem(error)}"
        ) from error
    return ReleaseFiles(release, folder)


def _name_and_revision(model: str, revision: str, folder: Path) -> tuple[str, str]:
    """What a release of this folder is called, in a hub snapshot however it was asked for."""
    snapshot = _SNAPSHOT.fullmatch("/".join(folder.absolute().parts[-3:]))
    if snapshot:
        return snapshot["repository"].replace("--", "/"), snapshot["commit"]
    return (folder.name if Path(model).expanduser().is_dir() else model), revision


def _dtype(wanted: str, text_config: dict[str, Any], config: dict[str, Any], folder: Path) -> Any:
    names = (
        source.get(key) for source in (text_config, config) for key in ("dtype", "torch_dtype")
    )
    own = next((name for name in names if name), None)
    dtype = own if wanted == "auto" else wanted
    if dtype not in _DTYPES:
        raise ConfigError(
            f"dtype {dtype} of {folder} cannot be verified; known: {', '.join(sorted(_DTYPES))}"
        )
    return dtype


def _grammar(name: str, folder: Path) -> Literal["xgrammar-0.2.8"] | None:
    if name not in ("auto", GRAMMAR_BACKEND, "none"):
        raise ConfigError(f"grammar {name} is not known; known: auto, {GRAMMAR_BACKEND}, none")
    is_wanted = (folder / "tokenizer.json").is_file() if name == "auto" else name != "none"
    return GRAMMAR_BACKEND if is_wanted else None


def _stop_token_ids(folder: Path, config: dict[str, Any]) -> tuple[int, ...]:
    """Stop tokens: those of generation_config.json, else config.json's; sorted."""
    stop = None
    if (folder / "generation_config.json").is_file():
        stop = _read_json(folder / "generation_config.json").get("eos_token_id")
    if stop is None:
        stop = config.get("eos_token_id")
    if stop is None:
        raise ConfigError(f"{folder} names no eos_token_id, so answers could not end")
    return tuple(sorted(set(stop))) if isinstance(stop, list) else (stop,)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} is not a JSON object")
    return content


def _files_digest(files: Iterable[Path]) -> str:
    """SHA-256 over lines "file name, space, SHA-256 of the file", sorted by name."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.name):
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        total.update(f"{file.name} {digest}\n".encode())
    return total.hexdigest()
