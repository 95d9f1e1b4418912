"""names, module paths -> STRATEGIES -> simulation: who takes part in a run."""

import difflib
from collections.abc import Callable, Sequence
from typing import Final

from subnet.sim.adversaries import ADVERSARIES, CONTROLS, LeakedFriend
from subnet.sim.options import SimOptions
from subnet.sim.plugged import load_plugin
from subnet.sim.prices import Prices, PricesError
from subnet.sim.profiles import HONEST
from subnet.sim.strategy import Strategy, StrategyError
from subnet.sim.validators import DISHONEST, HONEST_VALIDATOR, ValidatorStrategy

Maker = Callable[[], Strategy]
FACTOR_MAX: Final = 64
"""Of an engine's size, and of what is declared over it."""


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
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in miners and name not in validators:
            near = difflib.get_close_matches(name, [*miners, *validators], 1)
            meant = f'; did you mean "{near[0]}"?' if near else ""
            raise StrategyError(f'no strategy "{name}"{meant}; --list names all')
    makers: list[Maker] = [miners[name] for name in names if name in miners]
    if not names and not paths:
        makers = [*ADVERSARIES, *CONTROLS]
    taken = {HONEST, HONEST_VALIDATOR, *miners, *validators}
    for path in paths:
        made = load_plugin(path)
        name = made().name
        if not isinstance(name, str) or not name or name in taken:
            raise StrategyError(
                f"--adversary {path}: its name {name!r} is taken; give it one of its own"
            )
        taken.add(name)
        makers.append(made)
    return makers, [validators[name]() for name in names if name in validators]


def entrants(
    makers: Sequence[Maker], operators: int | None, options: SimOptions, prices: Prices
) -> list[Strategy]:
    """So many operators of each strategy; without a number two, or one where two are too many.

    Raises StrategyError for a strategy that cannot take part, and if half of the hotkeys would not
    be honest.
    """
    hotkeys = sum(_fitting(made(), prices).hotkeys for made in makers)
    count = operators or (2 if 4 * hotkeys <= options.miners else 1)
    if 2 * count * hotkeys > options.miners:
        raise StrategyError(
            f"{count} of each strategy take {count * hotkeys} hotkeys; at most half of "
            f"{options.miners} miners may be dishonest: --miners {2 * count * hotkeys} has room "
            "for them, or name a --strategy"
        )
    return [made() for _ in range(count) for made in makers]


def _fitting(strategy: Strategy, prices: Prices) -> Strategy:
    """Raises StrategyError for what its attributes cannot be."""
    hotkeys = strategy.hotkeys
    if not isinstance(hotkeys, int) or hotkeys < 1:
        raise StrategyError(f"strategy {strategy.name}: hotkeys = {hotkeys!r} is no number from 1")
    for key in ("engine_share", "declared_factor"):
        value = getattr(strategy, key)
        if not isinstance(value, (int, float)) or not 0 < value <= FACTOR_MAX:
            raise StrategyError(
                f"strategy {strategy.name}: {key} = {value!r} is not above 0, up to {FACTOR_MAX}"
            )
    try:
        prices.named(strategy.gpu)
    except PricesError as error:
        known = ", ".join(one.name for one in prices.gpu)
        raise StrategyError(f"strategy {strategy.name}: {error}; known: {known}") from error
    return strategy
