"""Families of other packages: found by their entry points, tried, registered, or refused."""

import sys
from importlib.metadata import EntryPoint

import pytest

from subnet.config import ConfigError, load_settings
from subnet.core.benchmark import FAMILIES, generate_task, grade, unregister, versions
from subnet.core.draws import DrawParams, draw_task
from subnet.core.rules import RuleParams
from subnet.edge.family_plugins import GROUP, load_families
from tests.documented_family import Roman

HERE = "tests.documented_family"


def point(name="roman", value=f"{HERE}:Roman"):
    return EntryPoint(name, value, GROUP)


@pytest.fixture(autouse=True)
def as_before():
    before = set(FAMILIES)
    yield
    for name in set(FAMILIES) - before:
        unregister(name)


def test_a_plug_in_is_asked_and_graded_like_our_own():
    assert load_families([point()]) == ("roman",)
    task = generate_task("roman", b"nonce")
    assert grade(task, task.reference) == 1.0 and grade(task, "no") == 0.0
    settings = load_settings(overrides={"draws.families": ["roman"]}, environ={})
    assert draw_task(bytes(32), 0, settings.draws).family == "roman"
    assert versions(("roman", "open")) == (("roman", "2026.1"), ("open", "1"))


def test_another_version_of_a_drawn_family_is_another_set_of_rules(monkeypatch):
    load_families([point()])
    asked = RuleParams(draws=DrawParams(families=("roman",)))
    before, ours = asked.digest(), RuleParams().digest()
    monkeypatch.setattr(type(FAMILIES["roman"]), "version", "2026.2")
    assert asked.digest() != before
    assert RuleParams().digest() == ours


def test_without_its_package_a_plug_ins_name_is_unknown():
    with pytest.raises(ConfigError, match="unknown family roman"):
        load_settings(overrides={"draws.families": ["roman"]}, environ={})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (point(value="no.such.module:Roman"), "cannot be loaded: ModuleNotFoundError"),
        (point(value=f"{HERE}:Missing"), "cannot be loaded: AttributeError"),
        (point(value=f"{HERE}:RAISES"), "cannot be loaded: TypeError"),
        (point(value=f"{HERE}:Broken"), "cannot be loaded: ZeroDivisionError"),
        (point(value="builtins:object"), "cannot be loaded: AttributeError"),
        (point("other"), "cannot be used: it calls itself roman"),
        (point("arithmetic", f"{HERE}:Impostor"), "there is a family arithmetic already"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_one_clear_line(made, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_families([made])
    assert made.name in str(caught.value) and "uninstall" in str(caught.value)
    assert "roman" not in FAMILIES


def test_the_same_name_twice_is_refused():
    with pytest.raises(ConfigError, match="there is a family roman already"):
        load_families([point(), point()])


def test_a_process_knows_installed_plug_ins_before_it_reads_settings(tmp_path, monkeypatch):
    package = tmp_path / "roman_family-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: roman-family\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[{GROUP}]\nroman = {HERE}:Roman\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    from subnet.cli.exits import run_process

    seen = []
    run_process(lambda: seen.extend(FAMILIES))
    assert "roman" in seen
    run_process(lambda: None)  # As a command does that is a process of its own: no duplicate.


class Lawless(Roman):
    """A family with one law broken, by name."""

    def __init__(self, **broken):
        vars(self).update(broken)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"name": "Roman Numerals"}, "its name"),
        ({"version": ""}, "its version"),
        ({"tiers": ()}, "its tiers"),
        ({"tiers": (2, 1)}, "its tiers"),
        ({"tiers": (0, 1)}, "its tiers"),
        ({"grade": lambda task, answer: 0.5}, "the reference does not score 1"),
        ({"grade": lambda task, answer: 1.0}, "off-topic answer does not score 0"),
    ],
)
def test_the_laws_name_what_is_broken(broken, says):
    from subnet.core.benchmark.laws import broken_law

    assert says in broken_law(Lawless(**broken))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_shipped_families_keep_the_laws(name):
    from subnet.core.benchmark.laws import broken_law

    assert broken_law(FAMILIES[name]) is None
