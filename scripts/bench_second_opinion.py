#!/usr/bin/env python
"""Attacks -> FIRST AND SECOND ENGINE -> how often the second one confirms an alarm.

    .venv/bin/python scripts/bench_second_opinion.py            # about 20 minutes on 2 cores

Answers of each attack are made once, scored by both engines, and resampled into runs; a run ends
where the first engine's evidence crosses c. The figures stand in docs/verification.md.
"""

import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import (
    EvidenceParams,
    Readings,
    fresh_state,
    log_evidence,
    update,
)
from subnet.edge.referees import RefereeKind, RefereePlan, load_referee
from subnet.edge.release_files import ReleaseFiles, load_release_files
from subnet.edge.tokenizer import HubTokenizer
from subnet.lab.adversary import Lab
from subnet.lab.attack_bench import (
    Jury,
    answers_judged,
    chosen_attacks,
    questions_of,
    requests_of,
)

ATTACKS = (
    "earlier checkpoint",
    "prompt changed",
    "int4 weights",
    "system prompt changed",
    "temperature -.2",
    "temperature +.2",
    "fp8 weights",
    "loose speculation .05",
)
SHARES_OF_C = (1.0, 0.1, 0.01)
ANSWERS_MAX = 1500
TINY = Path(__file__).parents[1] / "assets" / "tiny"


def jury(files: ReleaseFiles, table: CalibrationTable, kind: RefereeKind) -> Jury:
    """One engine with the release's table."""
    plan = RefereePlan(
        kind=kind,
        release=files.release.model_dump_json(),
        folder=str(files.folder),
        slack_logits=table.slack_logits,
        batch_tokens_max=2048,
        threads=1,
        device="cpu",
        vllm=(),
    )
    return Jury(load_referee(plan), table)  # type: ignore[arg-type]


def run_once(
    pairs: Sequence[tuple[Readings, Readings]], params: EvidenceParams, dice: random.Random
) -> tuple[int, float] | None:
    """(answers to the alarm, the second engine's highest log evidence); None without an alarm."""
    first = second = fresh_state(params)
    peak = 0.0
    for count in range(1, ANSWERS_MAX + 1):
        one, other = dice.choice(pairs)
        first, second = update(first, one, params), update(second, other, params)
        peak = max(peak, log_evidence(second))
        if log_evidence(first) >= math.log(params.alarm_at):
            return count, peak
    return None


def main(
    answers: Annotated[int, typer.Option(min=20, help="Of each attack.")] = 250,
    runs: Annotated[int, typer.Option(min=1, help="Resampled from the answers.")] = 100,
    second: Annotated[str, typer.Option(help="torch-wide or vllm.")] = "torch-wide",
    seed: int = 9,
) -> None:
    """Print a table: attack, median answers to the alarm, share confirmed by threshold."""
    files = load_release_files(str(TINY))
    table = CalibrationTable.model_validate_json((TINY / "calibration.json").read_bytes())
    params = EvidenceParams()
    lab = Lab(files.release, TINY, TINY.with_name("tiny-weak"))
    questions = questions_of(requests_of(lab.release, HubTokenizer(TINY), answers, seed, []))
    kind: RefereeKind = "vllm" if second == "vllm" else "torch-wide"
    juries = (jury(files, table, "torch"), jury(files, table, kind))
    shown = Table("attack", "alarms", "median answers", *(f"{share:g} c" for share in SHARES_OF_C))
    for attack in track(chosen_attacks(ATTACKS), "attacks", console=Console(stderr=True)):
        made = attack.answers(lab, questions)
        judged = [answers_judged(lab, questions, made, each) for each in juries]
        pairs = [
            (one.readings, other.readings)
            for one, other in zip(*judged, strict=True)
            if one.readings and other.readings and one.fault is None
        ]
        dice = random.Random(seed)  # noqa: S311 - resampling
        ended = [end for _ in range(runs) if (end := run_once(pairs, params, dice)) is not None]
        bars = [math.log(share * params.alarm_at) for share in SHARES_OF_C]
        shares = [sum(peak >= bar for _, peak in ended) / max(1, len(ended)) for bar in bars]
        median = sorted(count for count, _ in ended)[len(ended) // 2] if ended else 0
        shown.add_row(
            attack.name, f"{len(ended)} of {runs}", str(median), *map("{:.0%}".format, shares)
        )
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
