"""`assay evidence`, `assay reverify`: a verdict leaves the validator, and anybody checks it."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import rfc8785
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from subnet.cli.calibrate import progress_bars
from subnet.cli.calibration_file import calibration_of
from subnet.cli.exits import EXIT_FAULT, UsageError
from subnet.cli.miner_options import ConfigOption
from subnet.cli.state_file import state_of
from subnet.config import ConfigError, Settings, first_problem, load_settings
from subnet.core.audit import Traffic
from subnet.core.bundle import (
    EvidenceBundle,
    SealedBundle,
    canonical_bytes,
    canonical_digest,
    may_leave,
    sealed,
)
from subnet.core.reverify import ExpectedRules, Reverification, Scorer, Verdict, reverify
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.edge.kept_rows import KeptWindow
from subnet.edge.state_reader import StateReader
from subnet.edge.system import SystemClock
from subnet.ports import Referee

CLAIMS_AT_ONCE: Final = 16
_EXIT: Final = {Verdict.CONFIRMED: 0, Verdict.REFUTED: EXIT_FAULT, Verdict.INCONCLUSIVE: 3}
_COLOUR: Final = {
    Verdict.CONFIRMED: "green",
    Verdict.REFUTED: "red",
    Verdict.INCONCLUSIVE: "yellow",
}


def evidence(
    hotkey: Annotated[str, typer.Argument(help="The miner's hotkey.")],
    output: Annotated[
        Path | None, typer.Option(help="Default: evidence-<hotkey>-<digest>.json, shortened.")
    ] = None,
    traffic: Annotated[
        Traffic | None,
        typer.Option(
            case_sensitive=False,
            help="Whose detector. Default: the one that alarmed last, or saw most answers.",
        ),
    ] = None,
    undelayed: Annotated[
        bool,
        typer.Option(
            "--undelayed",
            help="Without an alarm, take the last day's answers too. They show how far a miner may "
            "go before it is caught: keep such a bundle to yourself.",
        ),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="The validator's state file. Default: as in subnet.toml.")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Write what the verdict about a miner rests on into one file that anybody can check.

    After an alarm: all that led to it. Without one: what is at least a day old. Users' prompts and
    answers are withheld unless they agreed.
    """
    settings = load_settings(config, {"validator.state_path": state})
    path = settings.validator.state_path
    with state_of(path) as reader:
        now_us = SystemClock().now_ns() // 1000
        bundle = export_bundle(reader, hotkey, traffic, now_us, undelayed=undelayed)
    file = sealed(bundle)
    where = output or Path(f"evidence-{hotkey[:8]}-{file.digest[:8]}.json")
    write_private(where, canonical_bytes(file))
    withheld = sum(answer.transcript is None for answer in bundle.answers)
    summary = {
        "file": str(where),
        "digest": file.digest,
        "traffic": bundle.traffic,
        "has_alarm": bundle.has_alarm,
        "answers": len(bundle.answers),
        "withheld": withheld,
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    verdict = "ALARM" if bundle.has_alarm else "no alarm"
    typer.echo(
        f"wrote {where}: {verdict} on {bundle.traffic.lower()} traffic, {len(bundle.answers)} "
        f"answers, {withheld} without transcript for want of consent\ndigest {file.digest}"
    )


def export_bundle(
    reader: StateReader,
    hotkey: str,
    traffic: Traffic | None,
    now_us: int,
    *,
    undelayed: bool = False,
) -> EvidenceBundle:
    """The bundle of a hotkey's last alarm, or of its open detector. Raises UsageError."""
    window = _chosen(reader.kept_windows(hotkey), traffic, hotkey)
    answers = window.answers
    if not window.led_to_alarm and not undelayed:
        answers = may_leave(answers, now_us)
        if not answers:
            raise UsageError(
                f"{hotkey} raised no alarm and its kept answers are younger than a day: fresh "
                "detector states would tell a cheat how far it may go; wait, or use --undelayed"
            )
    rules = window.rules
    secrets = reader.revealed_secrets({answer.draw.period for answer in answers})
    return EvidenceBundle(
        release_digest=rules.release.digest(),
        calibration_digest=canonical_digest(rules.table),
        rules_digest=rules.digest(),
        rules=rules,
        validator_hotkey=reader.identity("hotkey"),
        miner_hotkey=hotkey,
        traffic=window.traffic,
        start=window.start,
        answers=answers,
        secrets={period: secret.hex() for period, secret in secrets.items()},
        has_alarm=window.led_to_alarm,
    )


def _chosen(windows: Sequence[KeptWindow], traffic: Traffic | None, hotkey: str) -> KeptWindow:
    """Of `windows`, the latest last. Raises UsageError if none fits."""
    fitting = [one for one in windows if traffic in (None, one.traffic)]
    if not fitting:
        kind = "" if traffic is None else f" of {traffic.lower()} traffic"
        raise UsageError(f"no audited answers{kind} of {hotkey} are kept; `assay status` lists all")
    alarmed = [one for one in fitting if one.led_to_alarm]
    return alarmed[-1] if alarmed else max(fitting, key=lambda one: len(one.answers))


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, for its owner's eyes only. Raises UsageError."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def reverify_command(
    bundle: Annotated[Path, typer.Argument(help="A file that `assay evidence` wrote.")],
    model: Annotated[
        Path, typer.Option(help="Folder of the release's weights; they must be the bundle's.")
    ],
    device: Annotated[str, typer.Option(help="Where to recompute: cpu, cuda, cuda:1.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 1,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Take a bundle's verdict again, from the bundle and the model alone.

    Checks signatures, hashes, seeds and draws, recomputes every margin, replays the detector.
    The detector's parameters must be those of subnet.toml here, and the calibration the one in the
    model's folder, if there is one.
    Ends with 0 for CONFIRMED, 1 for REFUTED, 2 for a file that cannot be used, 3 for INCONCLUSIVE.
    """
    file = read_bundle(bundle)
    console = Console(stderr=as_json)
    overrides = {"validator.referee_device": device, "validator.referee_threads": threads}
    settings = load_settings(config, overrides)
    referee = _referee(file.bundle, model, settings)
    expected = ExpectedRules(
        settings.evidence,
        _calibration_digest(model, file.bundle.rules.table),
        referee.environment,
    )
    from subnet.edge.btauth import verify_signature

    outcome = reverify(file.bundle, verify_signature, scorer(referee, console), expected)
    if as_json:
        typer.echo(outcome_json(file, outcome))
    else:
        _show(file, outcome, console)
    raise typer.Exit(_EXIT[outcome.verdict])


def read_bundle(path: Path) -> SealedBundle:
    """The bundle, unharmed. Raises UsageError."""
    try:
        file = SealedBundle.model_validate_json(path.read_bytes())
        is_whole = canonical_digest(file.bundle) == file.digest
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"{path} is no evidence bundle: {first_problem(error)}") from error
    except rfc8785.CanonicalizationError as error:
        raise UsageError(f"{path} is no evidence bundle: {error}") from error
    if not is_whole:
        raise UsageError(f"{path} was changed or damaged: its content is not what its digest says")
    return file


def scorer(referee: Referee, console: Console) -> Scorer:
    """The referee a few claims at a time, saying how far it is. Raises UsageError."""
    from subnet.edge.grammar import StructureError

    def score(claims: Sequence[Claim]) -> list[ClaimScore]:
        scores: list[ClaimScore] = []
        with progress_bars(console) as watch:
            advance = watch("recomputing answers", len(claims))
            for start in range(0, len(claims), CLAIMS_AT_ONCE):
                part = claims[start : start + CLAIMS_AT_ONCE]
                try:
                    scores += referee.score(part)
                except StructureError as error:
                    raise UsageError(f"the bundle holds a structure of no use: {error}") from error
                advance(len(part))
        return scores

    return score


def _calibration_digest(model: Path, used: CalibrationTable) -> str | None:
    """Of the table beside the weights, if there is one. Raises UsageError.

    A validator that draws other questions `used` it without the bounds of those that were drawn.
    """
    if not (model / "calibration.json").is_file():
        return None
    table = calibration_of(model)
    return canonical_digest(table.without_drawn() if used.drawn is None else table)


def _referee(bundle: EvidenceBundle, model: Path, settings: Settings) -> Referee:
    from subnet.cli.engines import make_referee
    from subnet.edge.release_files import load_release_files

    promised = bundle.rules.release
    if not model.is_dir():
        raise UsageError(f"no model folder {model}; name one with --model")
    files = load_release_files(
        str(model),
        promised.revision,
        promised.dtype,
        promised.runtime,
        promised.model,
        promised.grammar or "none",
    )
    if files.release.digest() != bundle.release_digest:
        names = _differing(bundle, files.release.model_dump())
        raise ConfigError(
            f"the bundle is about release {bundle.release_digest[:12]}, and {model} is "
            f"{files.release.digest()[:12]}: {', '.join(names)} differ"
        )
    return make_referee(settings, files, bundle.rules.table)


def _differing(bundle: EvidenceBundle, found: dict[str, object]) -> Collection[str]:
    promised = bundle.rules.release.model_dump()
    return [name for name in promised if promised[name] != found[name]] or ["digests"]


def outcome_json(file: SealedBundle, outcome: Reverification) -> str:
    """The outcome for programs; evidence as natural logarithms, null for none."""
    answers = [
        {name: None if value == -math.inf else value for name, value in asdict(answer).items()}
        for answer in outcome.answers
    ]
    return json.dumps(
        {
            "verdict": outcome.verdict,
            "reason": outcome.reason,
            "digest": file.digest,
            "miner_hotkey": file.bundle.miner_hotkey,
            "validator_hotkey": file.bundle.validator_hotkey,
            "release_digest": file.bundle.release_digest,
            "answers": answers,
        },
        indent=1,
    )


def _show(file: SealedBundle, outcome: Reverification, console: Console) -> None:
    grid = Table(title=f"{file.bundle.miner_hotkey}, {file.bundle.traffic.lower()} traffic")
    for title in ("answer", "tokens", "max margin", "off", "evidence", "own evidence", "draw"):
        grid.add_column(title, justify="right")
    grid.add_column("finding")
    for answer in outcome.answers:
        grid.add_row(
            answer.response_digest[:12],
            str(answer.tokens),
            "" if answer.own_margin_max is None else f"{answer.own_margin_max:.3f}",
            str(answer.tokens_off) if answer.own_margin_max is not None else "",
            _power(answer.log_evidence),
            "" if answer.own_log_evidence is None else _power(answer.own_log_evidence),
            "derived" if answer.is_draw_checked else "secret",
            answer.problem or ("withheld" if answer.is_withheld else "fits"),
        )
    console.print(grid)
    console.print(f"[{_COLOUR[outcome.verdict]}]{outcome.verdict}[/]: {outcome.reason}.")


def _power(log_evidence: float) -> str:
    return "0" if log_evidence == -math.inf else f"1e{log_evidence / math.log(10):.1f}"
