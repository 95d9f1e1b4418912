"""Composition of a validator: settings -> wallet, release, chain, referee, memory -> one process.

What can fail fast does so first: a wrong wallet must not cost a minute of loading weights, nor
the seconds that importing torch takes.
"""

import asyncio
import logging
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import bittensor as bt
import uvloop
from pydantic import ValidationError

from protocol.inference import Environment
from protocol.release import Release
from protocol.structure import Structure
from subnet.cli.engines import (
    canary_questions,
    load_grammars,
    load_sandbox,
    make_referee,
    make_second_engine,
)
from subnet.cli.exits import UsageError
from subnet.config import ConfigError, Settings, first_problem
from subnet.core.benchmark import generate_task
from subnet.core.bundle import EvidenceRules
from subnet.core.canary import CANARY_TOKENS, canary_of
from subnet.core.verification.admission import refused
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.environments import is_alike
from subnet.edge.bittensor_chain import BittensorChain
from subnet.edge.btauth import HotkeySigner
from subnet.edge.http_server import bind_socket
from subnet.edge.kept_rows import KeptLimits
from subnet.edge.miner_client import HttpMinerClient
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.state_reader import InUse
from subnet.edge.system import SystemClock, random_bytes, run_until_stopped
from subnet.edge.telemetry import set_up_logging
from subnet.edge.validator_server import ValidatorPages, serve_validator
from subnet.edge.validator_store import SqliteValidatorStore
from subnet.edge.wallets import load_wallet
from subnet.ports import Chain, ChainError, SamplingReferee, Sandbox, Tokenizer
from subnet.roles.auditor import Auditor, RefereeUnsoundError
from subnet.roles.supervisor import Supervisor
from subnet.roles.validator import Validator, World

CALIBRATION_FILE: Final = "calibration.json"
TASKS_SAMPLED: Final = 32
"""Of each family, to learn how long its prompts get."""

_log = logging.getLogger(__name__)


def run_validator(
    settings: Settings,
    prompts: Sequence[str] = (),
    *,
    has_consent: bool = False,
    schema: Path | None = None,
) -> None:
    """Measure, score and set weights until SIGINT or SIGTERM, or `validator.epochs_max`.

    `prompts` are users' own, each for one of the good miners; `has_consent` lets evidence bundles
    show them and their answers, and other miners be asked them again. `schema` is a file that their
    answers must obey. Raises
    ConfigError, UsageError or ChainError for what the operator can mend; anything else is our own
    defect.
    """
    set_up_logging(settings.validator.log_level)
    sandbox = load_sandbox(settings)
    structure = None if schema is None else load_schema(schema)
    chosen = settings.release
    wallet = load_wallet(
        settings.chain.wallet_path, settings.chain.wallet_name, settings.chain.wallet_hotkey
    )
    files = load_release_files(
        chosen.model, chosen.revision, chosen.dtype, chosen.runtime, grammar=chosen.grammar
    )
    table = load_calibration(settings, files)
    tokenizer = load_tokenizer(files)
    assert_judgeable(settings, files.release, table, tokenizer, prompts)
    if structure is not None and files.release.grammar is None:
        raise UsageError(f"--schema: release {files.release.model} names no grammar backend")
    bound = bind_socket(settings.validator.host, settings.validator.port)
    signer = HotkeySigner(wallet.hotkey)
    identity = {
        "hotkey": signer.hotkey,
        "subnet": f"{settings.chain.netuid} of {settings.chain.network}",
    }
    store = SqliteValidatorStore(settings.validator.state_path, identity, random_bytes(32))
    try:
        in_use = InUse(rules=settings.rules, release_digest=files.release.digest())
        store.begin(SystemClock().now_ns() // 1000, in_use)
        store.save_evidence_rules(
            EvidenceRules(
                release=files.release,
                table=table,
                evidence=settings.evidence,
                audit=settings.audit,
            ),
            KeptLimits(
                settings.validator.evidence_answers_max, settings.validator.evidence_tokens_max
            ),
        )
        store.add_prompts(prompts, has_consent=has_consent, structure=structure)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, wallet, files, table, tokenizer, store, bound, sandbox))
    finally:
        store.close()


def load_schema(path: Path) -> Structure:
    """A JSON schema that answers must obey. Raises UsageError."""
    try:
        return Structure(kind="json_schema", text=path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--schema {path}: {error.strerror}") from error
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise UsageError(f"--schema {path}: {problem}") from error


def load_calibration(settings: Settings, files: ReleaseFiles) -> CalibrationTable:
    """The verifier's table of the release. Raises ConfigError."""
    path = settings.release.calibration or files.folder / CALIBRATION_FILE
    how = "measure one with assay calibrate, or name one with release.calibration"
    try:
        table = CalibrationTable.model_validate_json(path.read_text())
    except OSError as error:
        raise ConfigError(f"no calibration at {path} ({error.strerror}); {how}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no calibration: {first_problem(error)}; {how}") from error
    if table.provenance.release_digest != files.release.digest():
        raise ConfigError(
            f"{path} was measured for release {table.provenance.release_digest[:12]}, not for "
            f"{files.release.digest()[:12]} ({files.folder}); {how}"
        )
    for reason in refused(table):
        _log.warning("%s would be refused by assay calibrate: %s", path, reason)
    for choice in settings.draws.sampling:
        if table.bounds(choice.temperature_milli, choice.top_p_milli, 1) is None:
            raise ConfigError(
                f"draws.sampling: temperature_milli {choice.temperature_milli} with top_p_milli "
                f"{choice.top_p_milli} lies outside {path}, so its answers could not be judged"
            )
    suited = table.for_draws(settings.draws.families, settings.draws.tier)
    if suited.drawn is None:
        _log.warning(
            "%s has no bounds of its own for these [draws]: rounded weights show ten times later; "
            "run assay calibrate --draws-only",
            path,
        )
    return suited


def assert_judgeable(
    settings: Settings,
    release: Release,
    table: CalibrationTable,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
) -> None:
    """Refuse to ask what the table does not cover: such answers would be paid for unjudged.

    Benchmarks are judged by a sample of every family. Raises ConfigError for them, UsageError for
    `prompts`, which are users' own.
    """
    tasks = [
        generate_task(family, bytes([number]), settings.draws.tier)
        for family in settings.draws.families
        for number in range(TASKS_SAMPLED)
    ]
    context_max = min(release.context_tokens_max, table.context_tokens_max)
    answer_max = settings.draws.answer_tokens_max
    needed = max(task.max_tokens for task in tasks)
    if needed > answer_max:
        raise ConfigError(
            f"benchmarks of tier {settings.draws.tier} take answers of up to {needed} tokens: "
            f"raise draws.answer_tokens_max from {answer_max}"
        )
    longest = max(len(tokenizer.render(task.prompt)) for task in tasks) + answer_max
    if longest > context_max:
        raise ConfigError(
            f"benchmarks of tier {settings.draws.tier} take {longest} tokens with their answers; "
            f"{release.model} and its calibration cover {context_max}: measure a longer table with "
            "assay calibrate, or lower draws.tier"
        )
    for prompt in prompts:
        tokens = len(tokenizer.render(prompt))
        if tokens > context_max - answer_max:
            raise UsageError(
                f"--prompt is {tokens} tokens long; {release.model} and its calibration cover at "
                f"most {context_max - answer_max} with answers of {answer_max}"
            )


def load_tokenizer(files: ReleaseFiles) -> Tokenizer:
    """The release's tokenizer. Raises ConfigError."""
    from subnet.edge.tokenizer import HubTokenizer

    return HubTokenizer(files.folder)


async def _run(
    settings: Settings,
    wallet: bt.Wallet,
    files: ReleaseFiles,
    table: CalibrationTable,
    tokenizer: Tokenizer,
    store: SqliteValidatorStore,
    bound: socket.socket,
    sandbox: Sandbox | None,
) -> None:
    signer, clock = HotkeySigner(wallet.hotkey), SystemClock()
    chain = await BittensorChain.connect(settings.chain, wallet)
    client = HttpMinerClient(
        signer, clock, allow_private=settings.validator.allow_private_addresses
    )
    try:
        await _assert_registered(chain, signer.hotkey, settings)
        referee = _calibrated_referee(settings, files, table)
        validator = Validator(
            World(
                chain=chain,
                client=client,
                referee=referee,
                second_engine=make_second_engine(settings, files, table, tokenizer),
                grammars=load_grammars(files),
                tokenizer=tokenizer,
                store=store,
                clock=clock,
                signer=signer,
                release=files.release,
                table=table,
                canary=canary_of(referee.continued(canary_questions(tokenizer), CANARY_TOKENS)),
                settings=settings,
                sandbox=sandbox,
            )
        )
        await _assert_sound(validator.auditor)
        supervisor = Supervisor(
            settings.validator.restart_delay_seconds, settings.validator.restart_delay_seconds_max
        )
        _log.info("ready: %s verifies %s", signer.hotkey, files.release.model)
        pages = ValidatorPages(store, signer, clock)
        serving = serve_validator(pages, bound, settings.validator)
        await run_until_stopped(_beside(serving, validator.run(supervisor)))
    finally:
        await client.close()
        await chain.close()


async def _beside(serving: Coroutine[Any, Any, None], running: Coroutine[Any, Any, None]) -> None:
    """Serve as long as the validator runs; if either fails, both end."""
    async with asyncio.TaskGroup() as group:
        server = group.create_task(serving)
        await running
        server.cancel()


def _calibrated_referee(
    settings: Settings, files: ReleaseFiles, table: CalibrationTable
) -> SamplingReferee:
    referee = make_referee(settings, files, table)
    assert_calibrated(referee.environment, table)
    return referee


def assert_calibrated(here: Environment, table: CalibrationTable) -> None:
    """Refuse to audit where every audit would be inconclusive. Raises ConfigError."""
    if not any(is_alike(pair.referee, here) for pair in table.pairs):
        known = {
            f"{one.engine}, torch {one.torch}, {one.device}, {one.dtype}"
            for one in (pair.referee for pair in table.pairs)
        }
        raise ConfigError(
            f"the calibration was measured with a referee on {'; '.join(sorted(known))}, and this "
            f"one is {here.engine}, torch {here.torch}, {here.device}, {here.dtype}: install those "
            "versions, or measure this machine with assay calibrate"
        )


async def _assert_registered(chain: Chain, hotkey: str, settings: Settings) -> None:
    if (await chain.metagraph()).neuron(hotkey) is None:
        raise ChainError(
            f"hotkey {hotkey} is not registered on subnet {settings.chain.netuid} of "
            f"{settings.chain.network}; register it with `btcli subnets register "
            f"--netuid {settings.chain.netuid}`"
        )


async def _assert_sound(auditor: Auditor) -> None:
    try:
        await auditor.test_referee()
    except RefereeUnsoundError as error:
        raise ConfigError(str(error)) from error
