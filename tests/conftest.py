"""What holds for every test: no wall-clock verdicts, and no network but this machine."""

import gc
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "assay",
    deadline=None,  # A busy machine is no defect: speed is measured by `make bench-*`.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("assay")

FAST, SLOW = "not engine and not e2e", "(engine or e2e)"
MARK = re.compile(r"mark\.(?:engine|e2e)\b")
WHOLE_FILE = re.compile(r"^pytestmark = (?:\[[^]]*?)?pytest\.mark\.(?:engine|e2e)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file all of whose tests the part would deselect: vLLM alone takes seconds."""
    part = config.option.markexpr
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    source = collection_path.read_text()
    is_left_out = (part.startswith(FAST) and WHOLE_FILE.search(source)) or (
        part.startswith(SLOW) and not MARK.search(source)
    )
    return True if is_left_out else None


def pytest_configure() -> None:
    """What imports make is no garbage: looking through it took a quarter of the collection."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark that comes from elsewhere would hide its test from the slow part."""
    marked = {
        item.path for item in items if {"engine", "e2e"} & {m.name for m in item.iter_markers()}
    }
    for path in marked:
        if not MARK.search(path.read_text()):
            raise pytest.UsageError(f"{path}: write its mark as pytest.mark.engine or .e2e")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
