import pytest

from subnet.cli import lab
from subnet.cli.exits import UsageError
from subnet.config import ConfigError, MinerSettings
from subnet.edge.release_files import ReleaseFiles
from subnet.lab.behaviours import BEHAVIOURS
from subnet.lab.engines import ClaimedReleaseEngine, ForeignSeedEngine, ReplayEngine
from tests.miner_support import RELEASE, ScriptedEngine


def test_an_unknown_behaviour_is_one_clear_line():
    with pytest.raises(UsageError, match="known are honest"):
        lab.miner(behaviour="polite")


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [("honest", ScriptedEngine), ("foreign-seed", ForeignSeedEngine), ("replay", ReplayEngine)],
)
def test_a_behaviour_is_a_wrapper_around_the_honest_engine(behaviour, kind, monkeypatch, tmp_path):
    monkeypatch.setattr("subnet.cli.miner.VllmEngine", lambda *_: ScriptedEngine())
    files = ReleaseFiles(RELEASE, tmp_path)
    engine = lab.make_cheat(behaviour, None, files, MinerSettings(), {})
    assert type(engine) is kind
    assert engine.release == RELEASE


def test_the_weaker_miner_promises_the_strong_release(monkeypatch, tmp_path):
    weak = RELEASE.model_copy(update={"model": "weak"})
    monkeypatch.setattr(
        "subnet.edge.release_files.load_release_files",
        lambda folder, *_, **__: ReleaseFiles(
            weak.model_copy(update={"revision": folder}), tmp_path
        ),
    )
    served = []
    monkeypatch.setattr(
        "subnet.edge.vllm_engine.VllmEngine",
        lambda release, *_: served.append(release) or ScriptedEngine(release=release),
    )
    files = ReleaseFiles(RELEASE, tmp_path / "tiny")
    engine = lab.make_cheat("weaker", None, files, MinerSettings(), {})
    assert type(engine) is ClaimedReleaseEngine
    assert engine.release == RELEASE
    assert served[0].revision == str(tmp_path / "tiny-weak")


def test_a_missing_weaker_checkpoint_is_one_clear_line(tmp_path):
    files = ReleaseFiles(RELEASE, tmp_path / "tiny")
    with pytest.raises(ConfigError, match="tiny-weak"):
        lab.make_cheat("weaker", None, files, MinerSettings(), {})


def test_every_behaviour_says_what_it_does():
    assert set(BEHAVIOURS) == {"honest", "weaker", "foreign-seed", "replay"}
    assert all(BEHAVIOURS.values())
