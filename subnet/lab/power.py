"""table, attacks -> POWER: how soon a new table would catch what is known to cheat."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from subnet.core.audit import Traffic
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.evidence import EvidenceParams
from subnet.core.verification.power import EPOCH_RESPONSES, AttackPower, PowerReport
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.adversary import Lab
from subnet.lab.attacks import ATTACKS
from subnet.lab.detection import power
from subnet.lab.play import JUDGED, Jury, Runs, played, questions_of, requests_of
from subnet.lab.transcripts import Watch
from subnet.ports import Tokenizer

if TYPE_CHECKING:
    from subnet.edge.torch_referee import TorchReferee

QUESTIONS: Final = 128
RUNS: Final = 100


def measured_power(
    files: ReleaseFiles,
    weak_dir: Path,
    tokenizer: Tokenizer,
    table: CalibrationTable,
    referee: "TorchReferee",
    seed: int,
    watch: Watch,
    questions: int = QUESTIONS,
) -> PowerReport:
    """Every shipped attack against both kinds of bounds, with the default bets.

    A release without a weaker checkpoint in `weak_dir` has half of its own layers in its place.
    """
    lab = Lab(files.release, files.folder, weak_dir)
    asked = questions_of(requests_of(files.release, tokenizer, questions, seed, []))
    found = played(
        lab,
        asked,
        ATTACKS,
        Jury(referee, table),
        EvidenceParams(),
        Runs(RUNS, EPOCH_RESPONSES),
        seed,
        watch("attacks", len(ATTACKS)),
    )
    rows = {
        traffic: tuple(
            AttackPower(
                attack=name,
                detected=one.detected,
                median_responses=one.median_responses,
                p95_responses=one.p95_responses,
            )
            for name, one in ((name, power(runs)) for name, runs in found[traffic].items())
        )
        for traffic in JUDGED
    }
    return PowerReport(
        seed=seed,
        questions=questions,
        runs=RUNS,
        responses_max=EPOCH_RESPONSES,
        benchmark=rows[Traffic.BENCHMARK],
        organic=rows[Traffic.ORGANIC],
    )
