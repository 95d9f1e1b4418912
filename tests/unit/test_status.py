"""The status page's arithmetic and looks; what it reads is tested with the roles."""

import io
import json

from rich.console import Console

from subnet.cli.status import (
    AnsweredPrompt,
    MinerStatus,
    StatusReport,
    read_status,
    status_table,
)
from subnet.core.history import EpochIncome, EpochRecord
from subnet.edge.epoch_history import EpochTotals, total_of
from subnet.sim.loop import run_virtual
from tests.validator_support import FakeChain, FakeMiner, miner_hotkey

MINER = MinerStatus(
    hotkey="5Miner",
    uid=3,
    requests=40,
    audited=39,
    verified=38,
    state="paid",
    quality_ppm=910_000,
    capacity_tps_milli=61_700,
    latency_ppm=1_000_000,
    availability_ppm=990_000,
    integrity_ppm=1_000_000,
    score_ppm=900_900,
    weight=0.5,
    incentive=0.498,
    emission_rao=1_234_500_000,
    why="earns 90.1 % of a full score",
)
REPORT = StatusReport(77, 3, 4, (MINER,), (AnsweredPrompt("q", "a", "5Miner", 3),), 0)


def income(rao):
    return (EpochIncome("miner", 0.5, rao),)


def test_epochs_and_emission_count_from_the_first_accepted_weights():
    epochs = [
        EpochRecord(20, income(5)),
        EpochRecord(40, income(7), submitted_block=41, weights={1: 1}),
        EpochRecord(60, income(11), submitted_block=61, weights={1: 1}, is_settled=True),
        EpochRecord(80, income(13)),
    ]
    totals = total_of(epochs)
    assert (totals.submissions, totals.epochs, totals.settled_epochs) == (2, 2, 1)
    assert totals.emission_rao == {"miner": 24}
    assert total_of(epochs[:1]) == EpochTotals()
    assert total_of(epochs[:2]).settled_epochs == 0
    for cut in range(5):
        assert total_of(epochs[cut:], total_of(epochs[:cut])) == totals


def test_the_table_shows_every_figure_that_pays():
    console = Console(file=io.StringIO(), width=200)
    console.print(status_table(REPORT, {"5Miner": "miner-1"}))
    console.print(status_table(REPORT))
    text = console.file.getvalue()
    for figure in ("miner-1", "40", "39", "0.910", "0.901", "0.500", "0.498", "1.2345", "61.7"):
        assert figure in text, text


def test_the_report_is_json_for_machines():
    assert json.loads(REPORT.to_json())["miners"][0]["score_ppm"] == 900_900


def test_before_the_first_start_there_are_no_figures(tmp_path):
    chain = FakeChain([FakeMiner(miner_hotkey(1))])
    report = run_virtual(read_status(tmp_path / "none.sqlite", chain))
    assert (report.miners, report.epochs, report.answers) == ((), 0, ())
