"""What several files of tests here look at, lived once: half the time of each went into it."""

import pytest

from subnet.sim.loop import run_virtual
from tests.validator_support import FakeMiner, Subnet, make_settings, miner_hotkey

CAPACITY = {
    "is_measured": True,
    "bursts_per_day": 86_400 // 25,
    "duration_seconds_min": 8.0,
    "duration_seconds_max": 9.0,
    "answer_seconds_max": 5.0,
    "group_size": 4,
}
WORDS = ("honest", "honest", "full", "slow", "honest", "foreign seed", "honest")


@pytest.fixture(scope="session")
def burst_files(tmp_path_factory):
    """Epochs with bursts of two blocks at a time, over two processes of one validator."""
    path, made = tmp_path_factory.mktemp("bursts") / "validator.sqlite", {}
    for run in range(2):
        settings = make_settings(
            validator={"epochs_max": 7, "request_timeout_seconds": CAPACITY["answer_seconds_max"]},
            audit={"organic_ppm": 0},
            capacity=CAPACITY,
        )
        miners = [FakeMiner(miner_hotkey(n), word) for n, word in enumerate(WORDS)]
        subnet = Subnet(path, miners, settings, first_block=1000 * run)
        subnet.store.add_prompts([f"prompt {run} {n}" for n in range(20)])
        run_virtual(subnet.run())
        for block in subnet.store.closed_epochs():
            made[block] = subnet.store.epoch_file(block)
        subnet.store.close()
    return list(made.values())
