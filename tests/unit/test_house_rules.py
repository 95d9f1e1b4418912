"""The rules of the house that no linter knows: module size, docstrings, stray configuration."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for layer in ("protocol", "subnet", "neurons") for path in (ROOT / layer).rglob("*.py")
)
READS_ENVIRONMENT = {
    "subnet/config.py",
    "subnet/edge/vllm_runtime.py",
    "subnet/cli/processes.py",
    "subnet/edge/sandbox.py",  # Its self-test does, inside, where there must be none.
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_is_one_concept_of_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_says_where_it_sits(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{name(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 70, f"{name(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_configuration_and_the_starts_of_processes_read_the_environment(path: Path) -> None:
    if name(path) not in READS_ENVIRONMENT:
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(one, ast.Attribute) and one.attr == "environ" for one in nodes)
