"""The promise of the first screen: honest miners share the pay, cheats get none, nothing stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(700)]
ROOT = Path(__file__).parents[2]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo with a state of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "subnet.cli.main", "demo", "--folder", str(folder), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the demo's folder: its miners, validator and chain."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def run(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Report and output of a demo that must end well and leave nothing behind."""
    demo = start(folder, *arguments)
    try:
        output, _ = demo.communicate(timeout=650)
    finally:
        demo.kill()
    assert demo.returncode == 0, output
    assert processes_of(folder) == []
    return json.loads((folder / "report.json").read_text()), output


def test_honest_miners_share_the_incentive_and_cheats_end_with_nothing(tmp_path: Path) -> None:
    prompt = "Write a note about the river."
    report, output = run(tmp_path / "demo", "--seed", "11", "--prompt", prompt)

    assert report["epochs"] >= 3
    assert sorted(miner["behaviour"] for miner in report["miners"]) == [
        "foreign-seed",
        "honest",
        "honest",
        "weaker",
    ]
    for miner in report["miners"]:
        assert miner["audited"] >= 20, miner
        assert miner["why"] in " ".join(output.split()), miner
        if miner["behaviour"] == "honest":
            assert miner["incentive"] >= 0.35 and miner["emission_rao"] > 0, miner
            assert miner["integrity"] == 1 and miner["weight"] > 0, miner
        else:
            assert miner["incentive"] == 0 and miner["weight"] == 0, miner
            assert miner["integrity"] == 0 and miner["score"] == 0, miner
    assert report["prompt"] == prompt and report["answer"]
    answerer = next(one for one in report["miners"] if one["name"] == report["answered_by"])
    assert answerer["behaviour"] == "honest"


def test_with_the_margin_check_off_the_cheats_earn(tmp_path: Path) -> None:
    report, _ = run(
        tmp_path / "demo", "--no-verifier", "--epochs", "1", "--deal", "honest,weaker,foreign-seed"
    )

    for miner in report["miners"]:
        assert miner["incentive"] > 0.2 and miner["emission_rao"] > 0, miner


def test_bursts_prove_what_an_honest_miner_serves_and_pay_no_cheat(tmp_path: Path) -> None:
    report, _ = run(
        tmp_path / "demo", "--capacity", "--deal", "honest,weaker", "--seed", "1", "--epochs", "1"
    )

    miners = {miner["behaviour"]: miner for miner in report["miners"]}
    assert "it proved" in miners["honest"]["why"], miners["honest"]
    assert miners["honest"]["incentive"] == 1 and miners["weaker"]["incentive"] == 0


def test_when_all_are_honest_all_earn_alike(tmp_path: Path) -> None:
    report, _ = run(tmp_path / "demo", "--deal", "honest,honest", "--epochs", "1")

    assert [miner["incentive"] for miner in report["miners"]] == pytest.approx([0.5, 0.5], abs=0.1)


def test_when_all_cheat_nobody_earns_and_nobody_is_trusted_with_the_prompt(tmp_path: Path) -> None:
    report, _ = run(tmp_path / "demo", "--deal", "weaker,foreign-seed", "--epochs", "1")

    for miner in report["miners"]:
        assert miner["incentive"] == 0 and miner["score"] == 0 and miner["integrity"] == 0, miner
    assert report["answer"] is None and report["answered_by"] is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_demo_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    demo = start(folder)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "logs" / "miner-4.log").exists():
            assert demo.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(demo.pid, number)
        demo.communicate(timeout=60)
    finally:
        demo.kill()

    assert demo.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    deadline = time.monotonic() + 20
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(folder) == []


def test_the_deal_is_decided_by_the_seed_alone() -> None:
    from subnet.cli.demo import deal_behaviours

    behaviours = ("honest", "honest", "weaker", "foreign-seed")
    assert deal_behaviours(behaviours, 7) == deal_behaviours(behaviours, 7)
    assert len({tuple(deal_behaviours(behaviours, seed)) for seed in range(50)}) == 12


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--deal", "honest,lazy"], "lazy"),
        (["--epochs", "0"], "--epochs"),
        (["--model", "/no/such/model"], "/no/such/model"),
    ],
)
def test_a_demo_that_cannot_run_says_why_in_one_line(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    demo = start(tmp_path / "demo", *arguments)
    output, _ = demo.communicate(timeout=120)

    assert demo.returncode == 2, output
    assert word in output and "Traceback" not in output


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    demo = start(tmp_path / "file" / inside)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 2 and "--folder" in output and "Traceback" not in output


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    first = start(folder)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "logs").exists():
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        second = start(folder)
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 2 and "another demo runs" in output
        assert first.poll() is None
    finally:
        first.terminate()
        first.communicate(timeout=60)


def test_a_folder_that_holds_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 2 and "choose another" in output
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
