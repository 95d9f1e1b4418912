"""Every knob in one tree: flag > environment > subnet.toml > default.

Parameters of rules are defined beside the functions that they tune and only gathered here; what a
process needs to run at all (chain, addresses, loops) is defined here. A misspelt key or an
impossible value is a `ConfigError` of one line, never a traceback.
"""

import os
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from subnet.core.admission import AdmissionParams
from subnet.core.audit import AuditParams
from subnet.core.capacity import CapacityParams
from subnet.core.draws import DrawParams
from subnet.core.faults import FaultParams
from subnet.core.reputation import ReputationParams
from subnet.core.rules import RULE_SECTIONS, RuleParams
from subnet.core.scoring import ScoringParams
from subnet.core.standing import StandingParams
from subnet.core.verification.evidence import EvidenceParams

ENV_PREFIX: Final = "ASSAY_"
ENV_NOT_SETTINGS: Final = frozenset({"ASSAY_CHAIN"})
"""Variables with our prefix that are not settings: ASSAY_CHAIN points the contract tests."""


class ConfigError(Exception):
    """The configuration cannot be used; the message says which key, why, and how to mend it."""


def first_problem(error: ValidationError) -> str:
    """A model's first complaint as one line, led by its key."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


class Section(BaseModel):
    """A group of knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class ChainSettings(Section):
    """Which chain, which subnet, whose key."""

    network: str = "ws://127.0.0.1:9944"
    """`finney`, `test`, or a websocket URL; the default is the embedded devnet."""
    netuid: Annotated[int, Field(ge=0, le=65_535)] = 1
    wallet_name: str = "default"
    wallet_hotkey: str = "default"
    wallet_path: Path = Path("~/.bittensor/wallets")
    timeout_seconds: Seconds = 60.0
    """Longest wait for one chain call; a chain that is slower counts as unreachable."""


class ReleaseSettings(Section):
    """Which model is served and verified."""

    model: str = "assets/tiny"
    """A hub name such as `Qwen/Qwen3-0.6B`, or a folder."""
    revision: str = "main"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """`auto` is the checkpoint's own."""
    runtime: str = "vllm-0.32.0-cpu"
    """The engine build that the release pins: miners refuse to serve it with another."""
    grammar: Literal["auto", "xgrammar-0.2.8", "none"] = "auto"
    """What masks structured output; `auto` is xgrammar for models with a `tokenizer.json`."""
    calibration: Path | None = None
    """The verifier's table for this release; default: `calibration.json` in the model's folder."""


class MinerSettings(Section):
    """The miner's process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8091
    external_host: str | None = None
    """IP address to publish on the chain; default: `host`."""
    external_port: Port | None = None
    """Port to publish; default: the one that is listened on."""
    concurrent_requests_max: Annotated[int, Field(ge=1, le=4096)] = 32
    connections_max: Annotated[int, Field(ge=1, le=65_536)] = 256
    """When all are taken, the one that waits longest without a request gives way."""
    connections_per_address_max: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Of those, for one remote address (IPv6: one /64); a proxy in front is one address too."""
    metagraph_refresh_seconds: Seconds = 12.0
    """How stale the permits that admission checks may be."""
    read_timeout_seconds: Seconds = 10.0
    """Longest time a caller may take to send one request, headers and body."""
    keep_alive_seconds: Seconds = 30.0
    """How long an idle connection stays open."""
    answer_log: Path | None = None
    """Where to keep what was signed, as proof against a claimed timeout (`assay replay`)."""
    answer_log_bytes_max: Annotated[int, Field(ge=10_000, le=10**12)] = 100_000_000
    """The oldest half goes when it is full; an answer takes about 900 bytes."""
    stop_grace_seconds: Seconds = 5.0
    """When stopped, running answers may still finish within this time."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ValidatorSettings(Section):
    """The validator's process and loops."""

    host: str = "127.0.0.1"
    """Address where miners ask why they earn what they earn; 0.0.0.0 for all."""
    port: Port = 8092
    connections_max: Annotated[int, Field(ge=1, le=65_536)] = 64
    """When all are taken, the one that waits longest without a request gives way."""
    connections_per_address_max: Annotated[int, Field(ge=1, le=65_536)] = 8
    read_timeout_seconds: Seconds = 10.0
    """Longest time a caller may take to send one request."""
    state_path: Path = Path("validator.sqlite")
    """Everything it remembers; holds its secret, so it is readable by its owner only."""
    allow_private_addresses: bool = False
    """Call miners at loopback and private addresses too: for a subnet on one machine or in one lab.
    The chain's URL tells nothing: a public chain is read through a local node as well."""
    probe_interval_seconds: Seconds = 2.0
    """Mean gap between two requests to one miner; the gaps are exponential, as users' are."""
    request_timeout_seconds: Seconds = 30.0
    """How long one answer may take, from the first byte sent to the last received."""
    requests_in_flight_max: Annotated[int, Field(ge=1, le=4096)] = 16
    """Above it a due request waits for a slot, so that we never time our own queue."""
    requests_in_flight_per_miner_max: Annotated[int, Field(ge=1, le=4096)] = 2
    """Of those, for one miner, whatever its card offers: one that stalls holds no more slots."""
    stalls_in_a_row_max: Annotated[int, Field(ge=1, le=1000)] = 3
    """After so many requests in a row without an answer in time a miner rests; see `Roster`."""
    metagraph_refresh_seconds: Seconds = 12.0
    """How stale the list of miners and their addresses may be."""
    handshake_interval_seconds: Seconds = 300.0
    """How often a miner is asked again which release it serves."""
    audit_interval_seconds: Seconds = 1.0
    """Pause between two batches for the referee."""
    audit_batch_answers_max: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Answers in one batch: its results are saved together."""
    pending_audits_max: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Answers that may wait for the referee; at the limit nobody is asked until it has caught up.
    """
    evidence_answers_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Audited answers kept for each detector of a miner, so that its verdict can be proven."""
    evidence_tokens_max: Annotated[int, Field(ge=1000, le=10_000_000_000)] = 2_000_000
    """Tokens of all kept answers together, prompts included: 50 to 100 bytes each on the disk."""
    referee_batch_tokens_max: Annotated[int, Field(ge=64, le=10_000_000)] = 2_048
    """Memory bound of one referee pass. More is slower on a CPU, whose cache it leaves."""
    referee_threads: Annotated[int, Field(ge=1, le=256)] = 1
    referee_device: str = "cpu"
    """Where the referee computes, as torch names it: `cpu`, `cuda`, `cuda:1`."""
    referee: Literal["torch", "vllm"] = "torch"
    """The first engine: transformers' code, or vLLM's for whoever runs that anyway."""
    second_opinion: Literal["torch-wide", "torch", "vllm", "none"] = "torch-wide"
    """The engine that an alarm must convince too; `none` lets an alarm close the gate by itself."""
    second_opinion_seconds_max: Seconds = 900.0
    """From its start to its opinion; then it is stopped and tried again."""
    second_opinion_retry_seconds: Seconds = 30.0
    """First pause after a failure; doubles up to the limit below."""
    second_opinion_retry_seconds_max: Seconds = 3600.0
    vllm: tuple[str, ...] = ()
    """Engine arguments of a vLLM referee, as `key=value`."""
    rules_version: Annotated[int, Field(ge=0, lt=2**32)] = 4
    """Leads the weights' version key: raise it with every change of the rules' parameters."""
    epochs_max: Annotated[int, Field(ge=0)] = 0
    """Stop after this many weight submissions; 0 runs until stopped."""
    restart_delay_seconds: Seconds = 1.0
    """First pause before a loop that the world broke runs again; doubles up to the limit below."""
    restart_delay_seconds_max: Seconds = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _asks_another(self) -> Self:
        if self.second_opinion == self.referee:
            raise ValueError(
                f"second_opinion {self.second_opinion} is the referee itself: choose another engine"
                ", or none"
            )
        return self


class Settings(Section):
    """The whole tree."""

    chain: ChainSettings = ChainSettings()
    release: ReleaseSettings = ReleaseSettings()
    miner: MinerSettings = MinerSettings()
    admission: AdmissionParams = AdmissionParams()
    validator: ValidatorSettings = ValidatorSettings()
    draws: DrawParams = DrawParams()
    audit: AuditParams = AuditParams()
    evidence: EvidenceParams = EvidenceParams()
    standing: StandingParams = StandingParams()
    scoring: ScoringParams = ScoringParams()
    capacity: CapacityParams = CapacityParams()
    faults: FaultParams = FaultParams()
    reputation: ReputationParams = ReputationParams()

    @model_validator(mode="after")
    def _bursts_end_in_their_turn(self) -> Self:
        left, needed = self.capacity.answer_seconds_max, self.validator.request_timeout_seconds
        if self.capacity.is_measured and left < needed:
            raise ValueError(
                f"capacity.answer_seconds_max {left} lies below validator.request_timeout_seconds "
                f"{needed}: a burst's last answers would load miners in another validator's turn; "
                "lower the timeout, or raise what a turn leaves"
            )
        return self

    @cached_property
    def rules(self) -> RuleParams:
        """What scores depend on."""
        return RuleParams(**{name: getattr(self, name) for name in RULE_SECTIONS})


def load_settings(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the tree.

    `overrides` are flags as dotted keys (`chain.netuid`); those that are None were not given.
    Without `file`, `subnet.toml` of the working directory is used if it is there.
    Environment: `ASSAY_<SECTION>__<KEY>`, such as `ASSAY_CHAIN__NETUID=2`.
    Raises ConfigError.
    """
    tree: dict[str, Any] = {}
    path = file if file is not None else Path("subnet.toml")
    if file is not None or path.exists():
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path} is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
    source_of: dict[str, str] = {}
    for name, text in (os.environ if environ is None else environ).items():
        if name.startswith(ENV_PREFIX) and name not in ENV_NOT_SETTINGS:
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            source_of[key] = f"environment variable {name}"
            _put(tree, key, text)
    for key, value in (overrides or {}).items():
        if value is not None:
            source_of[key] = f"flag for {key}"
            _put(tree, key, value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, source_of, path)) from error


def _put(tree: dict[str, Any], dotted_key: str, value: object) -> None:
    *sections, leaf = dotted_key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{dotted_key}: {section} is a value, not a section")
    tree[leaf] = value


def _first_problem(error: ValidationError, source_of: Mapping[str, str], file: Path) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    where = source_of.get(key, str(file))
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; {_known_keys(problem['loc'])}"
    if isinstance(problem["input"], Mapping):
        return f"{where}: {first_problem(error)}"
    return f"{where}: {key} = {problem['input']!r}: {problem['msg']}"


def _known_keys(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            break
        model = field.annotation
    return "known here: " + ", ".join(sorted(model.model_fields))
