"""names, module paths -> STRATEGIES -> simulation: who takes part in a run."""

import importlib
from collections.abc import Callable, Sequence

from subnet.sim.adversaries import ADVERSARIES, CONTROLS, LeakedFriend
from subnet.sim.options import SimOptions
from subnet.sim.strategy import Strategy
from subnet.sim.validators import DISHONEST, ValidatorStrategy

Maker = Callable[[], Strategy]


class StrategyError(Exception):
    """A strategy is not there, or does not fit; the message says which."""


def known_miners() -> dict[str, Maker]:
    """The shipped strategies of miners by name."""
    makers: list[Maker] = [*ADVERSARIES, *CONTROLS, LeakedFriend]
    return {made().name: made for made in makers}


def known_validators() -> dict[str, type[ValidatorStrategy]]:
    """The shipped dishonest validators by name."""
    return {one.name: one for one in DISHONEST}


def chosen(
    names: Sequence[str], paths: Sequence[str]
) -> tuple[list[Maker], list[ValidatorStrategy]]:
    """Miners' and validators' strategies; all shipped miners' if nothing is named.

    Raises StrategyError.
    """
    miners, validators = known_miners(), known_validators()
    for name in names:
        if name not in miners and name not in validators:
            known = ", ".join([*miners, *validators])
            raise StrategyError(f"no strategy {name}; known: {known}")
    makers: list[Maker] = [miners[name] for name in names if name in miners]
    if not names and not paths:
        makers = [*ADVERSARIES, *CONTROLS]
    makers += [_loaded(path) for path in paths]
    return makers, [validators[name]() for name in names if name in validators]


def entrants(makers: Sequence[Maker], operators: int | None, options: SimOptions) -> list[Strategy]:
    """So many operators of each strategy; without a number two, or one where two are too many.

    Raises StrategyError if half of the hotkeys would not be honest.
    """
    hotkeys = sum(made().hotkeys for made in makers)
    count = operators or (2 if 4 * hotkeys <= options.miners else 1)
    if 2 * count * hotkeys > options.miners:
        raise StrategyError(
            f"{count} operators of each strategy have {count * hotkeys} hotkeys; at most half of "
            f"{options.miners} miners may be dishonest: raise --miners, or name a --strategy"
        )
    return [made() for _ in range(count) for made in makers]


def _loaded(path: str) -> Maker:
    module, _, name = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
        if not isinstance(made(), Strategy):
            raise StrategyError(f"--adversary {path}: it is no subnet.sim.strategy.Strategy")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise StrategyError(f"--adversary {path}: {error}; give module:Class") from error
    maker: Maker = made
    return maker
