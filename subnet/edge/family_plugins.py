"""installed packages -> BENCHMARK FAMILIES of others, by the entry-point group `assay.families`.

Called once, at the top of a process, before any settings are read.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from subnet.config import ConfigError
from subnet.core.benchmark import FAMILIES, DuplicateFamilyError, Family, register
from subnet.core.benchmark.laws import broken_law

GROUP: Final = "assay.families"

_loaded: dict[str, EntryPoint] = {}


def load_families(found: Iterable[EntryPoint] | None = None) -> tuple[str, ...]:
    """Register every installed family, in the order of their names; their names.

    `found` replaces what is installed. Raises ConfigError for the first that cannot be used: a
    validator that silently asked for less would not be replayable.
    """
    points = sorted(entry_points(group=GROUP) if found is None else found, key=lambda p: p.name)
    before = {name: point for name, point in _loaded.items() if name in FAMILIES}
    for point in points:
        if point.name in before and before[point.name] == point:
            continue  # A command that is a process of its own, run by another of ours.
        _load(point)
    return tuple(point.name for point in points)


def _load(point: EntryPoint) -> None:
    where = f"benchmark family {point.name} ({_origin(point)})"
    how = "mend or uninstall that package"
    try:
        family: Family = point.load()()
        broken = broken_law(family)
    except Exception as error:  # Foreign code may raise anything at all.
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{where} cannot be loaded: {reason}; {how}") from error
    if broken is None and family.name != point.name:
        broken = f"it calls itself {family.name}"
    if broken is not None:
        raise ConfigError(f"{where} cannot be used: {broken}; {how}")
    try:
        register(family)
    except DuplicateFamilyError as error:
        raise ConfigError(f"{where} cannot be used: {error}; {how}") from error
    _loaded[point.name] = point


def _origin(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.value} of {point.dist.name}"
