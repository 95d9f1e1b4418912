"""settings, release -> ENGINES: the validator's referee, and the one that must confirm alarms."""

from typing import Final

from subnet.config import Settings
from subnet.core.benchmark import generate_task, is_executed
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim
from subnet.edge.referees import RefereeKind, RefereePlan, load_referee
from subnet.edge.release_files import ReleaseFiles
from subnet.edge.second_engine import ChildSecondEngine
from subnet.ports import Grammars, SamplingReferee, Sandbox, SecondEngine, Tokenizer

CANARY_ANSWERS: Final = 4


def referee_plan(
    settings: Settings, files: ReleaseFiles, table: CalibrationTable, kind: RefereeKind
) -> RefereePlan:
    """How the engine `kind` is loaded on this machine."""
    chosen = settings.validator
    return RefereePlan(
        kind=kind,
        release=files.release.model_dump_json(),
        folder=str(files.folder),
        slack_logits=table.slack_logits,
        batch_tokens_max=chosen.referee_batch_tokens_max,
        threads=chosen.referee_threads,
        device=chosen.referee_device,
        vllm=chosen.vllm,
    )


def make_referee(
    settings: Settings, files: ReleaseFiles, table: CalibrationTable
) -> SamplingReferee:
    """The referee with the release's weights loaded. Raises ConfigError."""
    return load_referee(referee_plan(settings, files, table, settings.validator.referee))


def load_grammars(files: ReleaseFiles) -> Grammars | None:
    """What judges structured answers. Raises ConfigError."""
    from subnet.edge.grammar import release_grammars

    return release_grammars(files.release, files.folder)


def load_sandbox(settings: Settings) -> Sandbox | None:
    """What executes answers, where [draws] asks for code. Raises ConfigError if it does not work.

    Nothing is ever executed without it.
    """
    draws = settings.draws
    if not any(is_executed(family, draws.tier) for family in draws.families):
        return None
    from subnet.edge.sandbox import BubblewrapSandbox

    return BubblewrapSandbox()


def canary_questions(tokenizer: Tokenizer) -> list[Claim]:
    """Claims without answers yet, for a referee to answer honestly."""
    return [
        Claim(
            prompt_token_ids=tokenizer.render(generate_task("open", bytes([number])).prompt),
            output_token_ids=(),
            temperature_milli=1000,
            top_p_milli=950,
            top_k=50,
            seed=number,
            logprobs=None,
            finish_reason="length",
        )
        for number in range(CANARY_ANSWERS)
    ]


def make_second_engine(
    settings: Settings, files: ReleaseFiles, table: CalibrationTable, tokenizer: Tokenizer
) -> SecondEngine | None:
    """What must confirm alarms; None if the operator wants none. Loads nothing."""
    chosen = settings.validator
    if chosen.second_opinion == "none":
        return None
    plan = referee_plan(settings, files, table, chosen.second_opinion)
    return ChildSecondEngine(plan, canary_questions(tokenizer), chosen.second_opinion_seconds_max)
