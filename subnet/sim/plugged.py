"""module:Class -> PLUG-IN -> roster: a stranger's strategy, whose faults are told in one line."""

import importlib
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from subnet.sim.strategy import Move, Strategy, StrategyError


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _is_move(found: object) -> bool:
    """What cannot be is refused here: deep in a run it would look like our own defect."""
    return (
        isinstance(found, Move)
        and _is_number(found.wait_seconds)
        and _is_number(found.pace)
        and (found.held_seconds == math.inf or _is_number(found.held_seconds))
    )


_FITTING: Final[Mapping[str, Callable[[object], bool]]] = {"move": _is_move, "gpus": _is_number}
_CALLED: Final = tuple(
    name for name, value in vars(Strategy).items() if callable(value) and not name.startswith("_")
)
_NOT_THEIRS: Final = ("<", importlib.__file__, __file__)


def load_plugin(path: str) -> Callable[[], Strategy]:
    """What makes one operator's strategy; whatever raises in it becomes a StrategyError.

    Raises StrategyError if there is none at `module:Class`.
    """
    module, _, name = path.partition(":")
    where = f"--adversary {path}"
    with _blamed(where):
        found = importlib.import_module(module) if module and name else None
    made = getattr(found, name, None)
    if not callable(made):
        raise StrategyError(f"{where}: there is no such thing; give module:Class")

    def maker() -> Strategy:
        with _blamed(where):
            strategy = made()
        if not isinstance(strategy, Strategy):
            raise StrategyError(f"{where}: it is no subnet.sim.strategy.Strategy")
        for method in _CALLED:
            setattr(strategy, method, _guarded(strategy, method))
        return strategy

    return maker


def _guarded(strategy: Strategy, name: str) -> Callable[..., Any]:
    method = getattr(strategy, name)

    @wraps(method)
    def call(*arguments: Any) -> Any:
        who = f"strategy {strategy.name}, {name}()"
        with _blamed(who):
            found = method(*arguments)
        is_fitting = _FITTING.get(name)
        if is_fitting is not None and not is_fitting(found):
            raise StrategyError(f"{who}: it returned {found!r}, which is none")
        return found

    return call


@contextmanager
def _blamed(who: str) -> Iterator[None]:
    try:
        yield
    except StrategyError:
        raise
    except Exception as error:  # Foreign code may raise anything at all.
        reason = f"{type(error).__name__}: {error}"
        raise StrategyError(f"{who}: {reason}{_line_of(error)}") from error


def _line_of(error: Exception) -> str:
    """Where it was raised, unless that was in what loads modules."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [one for one in frames if not one.filename.startswith(_NOT_THEIRS)]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
