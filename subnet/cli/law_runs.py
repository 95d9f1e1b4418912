"""trials, seeds -> RUNS -> outcomes: some at once, the longest first, each kept as soon as it ends.

A kept run counts only for the same key: trial, seed, settings, measured answers, the sources of all
that a simulation computes with, and the versions of what its chance rests on. Whatever else
changed, such as the statements that are made of the outcomes, no run need be done again for it.
"""

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from subnet.cli import simulate_options as flags
from subnet.cli.exits import UsageError
from subnet.cli.simulate import read_laboratory
from subnet.config import Settings
from subnet.sim.result import SimResult
from subnet.sim.trials import Outcome, Trial, tried

FILE: Final = "runs.jsonl"
SOURCES: Final = ("protocol", "subnet/core", "subnet/roles", "subnet/sim", "subnet/*.py")
"""All that a simulation imports of this repository."""
NOT_RUN: Final = ("subnet/sim/law.py", "subnet/sim/spread.py", "subnet/sim/report.py")
"""Among them: what only reads finished runs."""
DATA: Final = (flags.PROFILES, flags.CALIBRATION, flags.PRICES)
LIBRARIES: Final = ("numpy", "pydantic", "rfc8785")
"""Whose numbers or bytes a run's draws and sums go through."""

Advance = Callable[[int], None]


class KeptRun(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    trial: str
    seed: int
    cpu_seconds: float
    peer_score: float
    result: SimResult

    @property
    def outcome(self) -> Outcome:
        """What the law is judged by."""
        return Outcome(self.trial, self.result, self.peer_score)


@dataclass(frozen=True)
class Job:
    """One run that is to be done."""

    trial: Trial
    seed: int
    key: str


def jobs_of(trials: Sequence[Trial], seeds: int, settings: Settings) -> list[Job]:
    """Every trial with every seed, in the order of the trials."""
    common = f"{settings.model_dump_json()}\n{code_digest()}"
    return [
        Job(trial, seed, _key(trial, seed, common)) for trial in trials for seed in range(seeds)
    ]


def _key(trial: Trial, seed: int, common: str) -> str:
    fields = {one.name: _named(getattr(trial, one.name)) for one in dataclasses.fields(trial)}
    return hashlib.sha256(f"{sorted(fields.items())}\n{seed}\n{common}".encode()).hexdigest()


def _named(value: object) -> object:
    """Classes by where they are written: their address differs from process to process."""
    if isinstance(value, tuple):
        return [_named(one) for one in value]
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value


@cache
def code_digest(root: Path = flags.ROOT) -> str:
    """Over the sources, the measured answers and the versions that a run's bytes follow from."""
    names = sorted(
        file.relative_to(root).as_posix()
        for pattern in SOURCES
        for file in root.glob(pattern if pattern.endswith(".py") else f"{pattern}/**/*.py")
    )
    digest = hashlib.sha256(platform.python_version().encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    for file in [root / name for name in names if name not in NOT_RUN] + list(DATA):
        body = file.read_bytes()
        digest.update(f"{file.name} {len(body)}\n".encode() + body)
    return digest.hexdigest()


def kept_runs(folder: Path) -> dict[str, KeptRun]:
    """What is there, by key. A line that is no whole run, as a killed process leaves, is no run;
    it is ended here, so that the next one gets a line of its own. Raises UsageError."""
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        lines = file.read_bytes()
        if lines and not lines.endswith(b"\n"):
            file.write_bytes(lines + b"\n")
    except OSError as error:
        raise UsageError(f"--keep: {error}") from error
    found = {}
    for line in lines.splitlines():
        try:
            run = KeptRun.model_validate_json(line)
        except ValidationError:
            continue
        found[run.key] = run
    return found


def keep(folder: Path, run: KeptRun) -> None:
    """Append a run."""
    with (folder / FILE).open("ab") as lines:
        lines.write(run.model_dump_json().encode() + b"\n")


def all_runs(
    jobs: Sequence[Job], folder: Path, settings: Settings, processes: int, advance: Advance
) -> list[KeptRun]:
    """Every job's run, in their order; what is kept is not run again. `advance` is told of the
    requests of each that ends."""
    found = kept_runs(folder)
    for job in jobs:
        if job.key in found:
            advance(job.trial.requests)
    for job, run in _done([one for one in jobs if one.key not in found], settings, processes):
        keep(folder, run)
        found[job.key] = run
        advance(job.trial.requests)
    return [found[job.key] for job in jobs]


def longest_first(jobs: Sequence[Job]) -> list[Job]:
    """So that no core waits long for another's last one."""
    return sorted(jobs, key=lambda one: -one.trial.requests)


def _done(jobs: Sequence[Job], settings: Settings, processes: int) -> Iterator[tuple[Job, KeptRun]]:
    """Run them, each in a process of its own; as they end."""
    settings_json = settings.model_dump_json()
    with ProcessPoolExecutor(processes) as pool:
        running = {pool.submit(_run, job, settings_json): job for job in longest_first(jobs)}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _run(job: Job, settings_json: str) -> KeptRun:
    """One run, in a process of its own."""
    lab = read_laboratory(flags.PROFILES, flags.CALIBRATION, flags.PRICES)
    before = time.process_time()
    outcome = tried(job.trial, job.seed, lab, Settings.model_validate_json(settings_json))
    return KeptRun(
        key=job.key,
        trial=job.trial.name,
        seed=job.seed,
        cpu_seconds=round(time.process_time() - before, 2),
        peer_score=outcome.peer_score,
        result=outcome.result,
    )


def cpu_seconds_of(runs: Sequence[KeptRun]) -> dict[str, float]:
    """By trial: what its runs took together."""
    seconds: dict[str, float] = {}
    for run in runs:
        seconds[run.trial] = round(seconds.get(run.trial, 0.0) + run.cpu_seconds, 2)
    return seconds
