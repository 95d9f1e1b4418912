"""options -> VALIDATORS' RUN -> result: dishonest validators in a small subnet of their own.

A liar with 30 % of the stake touches every miner's pay: in one run with the other strategies it
would be part of every figure.
"""

from typing import Final

from subnet.sim.adversaries import LeakedFriend, WeakerModel
from subnet.sim.options import SimOptions
from subnet.sim.strategy import Strategy
from subnet.sim.validators import DISHONEST, ValidatorStrategy

EPOCHS: Final = 5
MINERS: Final = 8
LOAD_MIN: Final = 20.0
"""Requests an hour to each miner: each of the validators sends a fifth of them."""
VALIDATORS: Final = len(DISHONEST) + 2
"""Two honest and the leaker, who weighs honestly, hold more than half of the stake."""


def validators_options(options: SimOptions) -> SimOptions:
    """The same world, smaller and shorter; joint bursts, which say nothing here, are few."""
    return options.model_copy(
        update={
            "hours": min(options.hours, EPOCHS * options.epoch_seconds / 3600),
            "miners": MINERS,
            "validators": VALIDATORS,
            "load": max(options.load, LOAD_MIN),
            "bursts_per_day": 1,
        }
    )


def validators_entrants() -> tuple[list[Strategy], list[ValidatorStrategy]]:
    """Friends of the liar and of the leaker, and every shipped dishonest validator."""
    return [WeakerModel(), LeakedFriend()], [made() for made in DISHONEST]
