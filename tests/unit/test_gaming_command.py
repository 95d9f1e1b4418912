"""`assay gaming`: what a validator kept, as findings; a subnet's real roles leave what it reads."""

import asyncio
import io
import json

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from subnet.cli.exits import UsageError
from subnet.cli.gaming import build_report, show
from subnet.cli.main import app
from subnet.sim.loop import run_virtual
from tests.gaming_support import answers_of, canned, copies, day, traffic_of
from tests.validator_support import (
    FakeMiner,
    Subnet,
    make_settings,
    miner_hotkey,
)


@pytest.fixture
def state(tmp_path):
    """A validator's file after users were served badly by one miner of five."""
    miners = [FakeMiner(miner_hotkey(n)) for n in range(5)]
    subnet = Subnet(tmp_path / "v.sqlite", miners, make_settings(validator={"epochs_max": 32}))
    prompts = [f"what is lighthouse {n}?" for n in range(400)]
    subnet.store.add_prompts(prompts)
    infer = subnet.client.infer

    async def refuse_users(endpoint, request):
        miner = subnet.client.miners[endpoint.hotkey]
        text = bytes(token - 100 for token in request.prompt_token_ids)
        is_refused = endpoint.hotkey == miner_hotkey(3) and b"lighthouse" in text
        miner.behaviour = "full" if is_refused else "honest"
        return await infer(endpoint, request)

    subnet.client.infer = refuse_users

    async def main():
        async with asyncio.timeout(7200):
            await subnet.run()

    run_virtual(main())
    subnet.store.close()
    return tmp_path / "v.sqlite"


def test_a_miner_that_refuses_users_alone_is_found_in_a_validators_file(state):
    ran = CliRunner().invoke(app, ["gaming", "--state", str(state), "--no-chain", "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.output)
    found = {(gap["miner_hotkey"], gap["measure"]) for gap in report["gaps"] if gap["is_finding"]}
    assert found == {(miner_hotkey(3), "no answer")}
    assert report["organic"] > 100
    assert not [one for one in report["coincidences"] if one["is_finding"]]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_validators_file_it_says_so_as_the_other_readers_do(tmp_path, arguments):
    state = str(tmp_path / "none")
    ran = CliRunner().invoke(app, ["gaming", "--state", state, "--no-chain", *arguments])
    assert isinstance(ran.exception, UsageError)
    assert f"no validator has run with the state file {state}" in str(ran.exception)


def test_the_tables_say_what_was_found_and_how_sure_it_is():
    rng = np.random.default_rng(1)
    stock = canned(np.random.default_rng(9), 12)
    seen = [one for n in range(6) for one in answers_of(rng, f"m{n}")]
    seen += [*copies(rng, stock, "m2", 12), *copies(rng, stock, "m4", 12)]
    seen += [one for n in range(6) for one in traffic_of(rng, f"m{n}", 60)]
    seen += day(rng, together=(1, 4))
    report = build_report(seen, None)
    out = io.StringIO()
    show(report, Console(file=out, width=120))
    text = out.getvalue()
    assert "owners unknown" in text
    assert "m2.. m4.." in text
    assert "m1.. m4.." in text
    assert [one.owners for one in report.likenesses if one.is_finding] == [("m2", "m4")]
