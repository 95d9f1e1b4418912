"""Miner, validator and lab miner name their release by the same flags."""

import pytest
import typer
from typer.testing import CliRunner

import neurons.miner
import neurons.validator
import subnet.cli.lab


@pytest.mark.parametrize(
    ("main", "runs"),
    [
        (neurons.miner.main, "subnet.cli.miner.run_miner"),
        (subnet.cli.lab.miner, "subnet.cli.miner.run_miner"),
        (neurons.validator.main, "subnet.cli.validator.run_validator"),
    ],
)
def test_the_release_is_what_the_flags_say(main, runs, monkeypatch):
    started = []
    monkeypatch.setattr(runs, lambda settings, *_, **__: started.append(settings.release))
    app = typer.Typer()
    app.command()(main)
    flags = ["--model", "m/n", "--revision", "v1", "--runtime", "vllm-0.32.0-cuda"]
    result = CliRunner().invoke(app, flags)
    assert result.exit_code == 0, result.output
    release = started[0]
    assert (release.model, release.revision, release.runtime) == ("m/n", "v1", flags[-1])
