"""The law's runs: kept as they end, never mixed with those of other rules or code."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from subnet.cli import law_runs
from subnet.cli.law_runs import FILE, KeptRun, all_runs, code_digest, jobs_of, longest_first
from subnet.config import load_settings
from subnet.core.audit import AuditParams
from subnet.sim.result import SimResult, StrategyResult
from subnet.sim.spread import spreads
from subnet.sim.trials import Outcome, quick, whole
from tests.simulation_support import ROOT

SETTINGS = load_settings(ROOT / "subnet.toml")
TRIALS = quick()[:2]
SEEDS = 3


def result(seed, ratio=1.0):
    strategy = StrategyResult(
        name="honest",
        hotkeys=1,
        income_rao=1,
        cost=1.0,
        income_per_cost_over_honest=ratio,
        upper95=None,
        income_per_speed_over_honest=ratio,
    )
    return SimResult(
        seed=seed,
        hours=1.0,
        strategies=(strategy,),
        honest_cv=0.1 + seed / 3,
        quarantined_honest=0,
        validators=(),
        requests=1,
        unmeasured_families=(),
        digest="",
    )


@pytest.fixture
def ran(monkeypatch):
    """The jobs that were run, and not taken from the folder."""
    names = []

    def done(jobs, settings, processes):
        for job in jobs:
            names.append((job.trial.name, job.seed))
            yield (
                job,
                KeptRun(
                    key=job.key,
                    trial=job.trial.name,
                    seed=job.seed,
                    cpu_seconds=1.0,
                    peer_score=0.1 + 0.2,
                    result=result(job.seed),
                ),
            )

    monkeypatch.setattr(law_runs, "_done", done)
    return names


def run_all(folder, trials=TRIALS, seeds=SEEDS, settings=SETTINGS, advance=lambda _: None):
    return all_runs(jobs_of(trials, seeds, settings), folder, settings, 1, advance)


def test_a_stopped_law_goes_on_where_it_was(tmp_path, ran):
    def stop_after_two(_):
        if len(ran) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path, advance=stop_after_two)
    told = []
    runs = run_all(tmp_path, advance=told.append)
    assert len(ran) == len(set(ran)) == len(TRIALS) * SEEDS
    assert [(run.trial, run.seed) for run in runs] == [
        (trial.name, seed) for trial in TRIALS for seed in range(SEEDS)
    ]
    assert sum(told) == SEEDS * sum(trial.requests for trial in TRIALS)
    assert run_all(tmp_path) == runs, "as it was, to the last bit"
    assert len(ran) == len(TRIALS) * SEEDS


def test_a_broken_last_line_costs_one_run(tmp_path, ran):
    runs = run_all(tmp_path)
    lines = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(lines[:-40])
    ran.clear()
    assert run_all(tmp_path) == runs
    assert ran == [(TRIALS[-1].name, SEEDS - 1)]
    ran.clear()
    assert run_all(tmp_path) == runs
    assert ran == [], "the run after the broken line has a line of its own"


@pytest.mark.parametrize(
    "change",
    [
        {"settings": SETTINGS.model_copy(update={"audit": AuditParams(organic_ppm=60_000)})},
        {"trials": [replace(one, load=one.load + 1) for one in TRIALS]},
        {"trials": [replace(one, entrants=()) for one in TRIALS]},
        {"trials": [replace(one, tempo_blocks=26) for one in TRIALS]},
    ],
    ids=["settings", "load", "entrants", "tempo"],
)
def test_a_run_of_another_kind_is_not_taken(tmp_path, ran, change):
    run_all(tmp_path)
    ran.clear()
    run_all(tmp_path, **change)
    assert len(ran) == len(TRIALS) * SEEDS


def test_a_run_of_other_code_is_not_taken(tmp_path, ran, monkeypatch):
    run_all(tmp_path)
    ran.clear()
    monkeypatch.setattr(law_runs, "code_digest", lambda: "another")
    run_all(tmp_path)
    assert len(ran) == len(TRIALS) * SEEDS


def test_more_seeds_take_what_is_there(tmp_path, ran):
    run_all(tmp_path, seeds=2)
    ran.clear()
    run_all(tmp_path, seeds=3)
    assert ran == [(trial.name, 2) for trial in TRIALS]


def tree(root, files):
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body)
    return code_digest(root)


def test_the_code_digest_is_of_what_runs(tmp_path):
    files = {
        "protocol/message.py": "1",
        "subnet/config.py": "1",
        "subnet/core/yuma/epoch.py": "1",
        "subnet/roles/prober.py": "1",
        "subnet/sim/adversaries.py": "1",
    }
    found = tree(tmp_path / "a", files)
    for number, name in enumerate(files):
        assert tree(tmp_path / f"other{number}", {**files, name: "2"}) != found
    beside = {"subnet/sim/law.py": "2", "subnet/cli/law.py": "2", "subnet/edge/x.py": "2"}
    assert tree(tmp_path / "b", {**files, **beside}) == found


def test_a_simulation_imports_nothing_that_the_digest_leaves_out():
    code = "import sys, subnet.sim.trials; print(*(m.__file__ for m in [*sys.modules.values()] "
    code += "if m.__name__.split('.')[0] in ('subnet', 'protocol') and m.__file__))"
    files = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {Path(file).relative_to(ROOT) for file in files}
    assert Path("subnet/core/yuma/epoch.py") in ours
    taken = {file for pattern in law_runs.SOURCES for file in matching(pattern)}
    assert ours <= taken - {Path(name) for name in law_runs.NOT_RUN}


def matching(pattern):
    """As the digest takes a pattern: files, or all that lies in a folder."""
    whole = pattern if pattern.endswith(".py") else f"{pattern}/**/*.py"
    return {file.relative_to(ROOT) for file in ROOT.glob(whole)}


def test_the_longest_run_begins_first():
    order = [job.trial.requests for job in longest_first(jobs_of(whole(), 2, SETTINGS))]
    assert order == sorted(order, reverse=True)
    assert order[0] > order[-1]


def test_the_spread_says_what_each_seed_gave():
    (found,) = spreads(
        [Outcome("day", result(seed, ratio), 0.0) for seed, ratio in [(0, 1), (1, 3)]]
    )
    assert (found.trial, found.strategy, found.by_seed) == ("day", "honest", (1.0, 3.0))
    assert found.mean == 2.0
    assert found.deviation == pytest.approx(2**0.5, abs=1e-4)
