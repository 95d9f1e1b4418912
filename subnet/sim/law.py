"""outcomes -> LAW: what must hold of the incentives, each with its figure and its bound.

Every statement is tried on several seeds; its figure is the one-sided 95 % bound over them, by
Student's t. What lies below the noise floor is printed, as no bound can be promised.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from subnet.config import ConfigError
from subnet.sim.adversaries import (
    ADVERSARIES,
    CONTROLS,
    LeakedFriend,
    PartTimer,
    SharedEngine,
    SlowButAdequate,
)
from subnet.sim.profiles import HONEST
from subnet.sim.result import upper95
from subnet.sim.strategy import Strategy
from subnet.sim.trials import (
    COMPANY_TRIAL,
    DAY_TRIAL,
    GOOD_PEER_TRIAL,
    HONEST_TRIAL,
    LEAK_TRIAL,
    MONTH_TRIAL,
    SLOW_PEER_TRIAL,
    USERS_TRIAL,
    WIDE_TRIAL,
    Outcome,
)
from subnet.sim.validators import HONEST_VALIDATOR

CV_MAX: Final = 0.05
INCOME_MAX: Final = 1.0
STARVED_BELOW: Final = 0.9
SLOW_STARVED_BELOW: Final = 0.75
"""Per token a second: late tokens are worth less."""
PEER_CHANGE_MAX: Final = 0.01
EARNING: Final = (DAY_TRIAL, MONTH_TRIAL, USERS_TRIAL, LEAK_TRIAL, WIDE_TRIAL)
"""Trials whose strategies are judged by what they earn for what they cost."""


class Statement(BaseModel):
    """One sentence of the law."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    figure: float
    relation: Literal["below", "at most", "at least", "printed"]
    bound: float | None
    trial: str
    seeds: int

    @property
    def is_held(self) -> bool:
        """Whether the figure keeps to its bound; what is only printed always does."""
        bound = self.bound
        if self.relation == "printed" or bound is None:
            return True
        if self.relation == "below":
            return self.figure < bound
        return self.figure <= bound if self.relation == "at most" else self.figure >= bound


@dataclass
class _Series:
    """Figures over the seeds by (trial, what)."""

    incomes: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    speeds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    dividends: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    cvs: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    quarantined: int = 0


def judged(outcomes: Sequence[Outcome]) -> list[Statement]:
    """The law over all outcomes; each trial has the same seeds, in the same order.

    Raises ConfigError where honest miners earned nothing.
    """
    series = _Series()
    for outcome in outcomes:
        result = outcome.result
        for one in result.strategies:
            if one.name != HONEST:
                series.incomes[outcome.trial, one.name].append(
                    _earned(one.income_per_cost_over_honest, outcome)
                )
                series.speeds[outcome.trial, one.name].append(
                    _earned(one.income_per_speed_over_honest, outcome)
                )
        for found in result.validators:
            ratio = found.dividends_per_stake_over_honest
            if ratio is not None and found.name != HONEST_VALIDATOR:
                series.dividends[outcome.trial, found.name].append(ratio)
        if outcome.trial == HONEST_TRIAL:
            series.cvs.append(_earned(result.honest_cv, outcome))
        series.peers[outcome.trial].append(outcome.peer_score)
        series.quarantined += result.quarantined_honest
    return [
        *_of_miners(series.incomes),
        *_of_company(series.speeds),
        *_of_validators(series.dividends),
        *_of_the_honest(series),
    ]


def _earned(figure: float | None, outcome: Outcome) -> float:
    """A figure that is there only if honest miners earned something. Raises ConfigError."""
    if figure is None:
        raise ConfigError(
            f"under these rules honest miners earned nothing in trial {outcome.trial}, seed "
            f"{outcome.result.seed}: there is nothing to compare with"
        )
    return figure


def _of_miners(incomes: Mapping[tuple[str, str], Sequence[float]]) -> list[Statement]:
    known: tuple[type[Strategy], ...] = (*ADVERSARIES, LeakedFriend)
    hidden = {made.name for made in known if not made.is_visible}
    controls = {made.name for made in CONTROLS}
    statements = []
    for (trial, name), values in incomes.items():
        if trial not in EARNING or name in controls:
            continue
        if name in hidden:
            statements.append(
                _statement(f"{name}: largest gain below the noise floor", values, "printed", trial)
            )
        elif name == SharedEngine.name:
            text = f"{name}: income per cost, net of registration"
            statements.append(_statement(text, values, "at most", trial, INCOME_MAX))
        else:
            text = f"{name}: income per cost over honest"
            statements.append(_statement(text, values, "below", trial, INCOME_MAX))
    return statements


def _of_company(speeds: Mapping[tuple[str, str], Sequence[float]]) -> list[Statement]:
    """What hotkeys add to the honest one beside them, their registrations taken off: without them
    the operator would be one of the honest, whose engine is the same."""
    return [
        _statement(
            f"{name}: income over the same operator's without them",
            values,
            "below",
            trial,
            INCOME_MAX,
        )
        for (trial, name), values in speeds.items()
        if trial == COMPANY_TRIAL
    ]


def _of_validators(dividends: Mapping[tuple[str, str], Sequence[float]]) -> list[Statement]:
    """With commit-reveal on the lower bound decides: whoever does all the work but tells a friend
    earns exactly as much as the honest, and half of the upper bounds of a 1 lie above it."""
    statements = []
    for (trial, name), values in dividends.items():
        text = f"{name}: dividends per stake over honest"
        if trial.endswith("on"):
            lower = _statement(f"{text}, lower bound", [-one for one in values], "at most", trial)
            figure = {"figure": -lower.figure, "bound": INCOME_MAX}
            statements.append(lower.model_copy(update=figure))
        statements.append(_statement(text, values, "printed", trial))
    return statements


def _of_the_honest(series: _Series) -> list[Statement]:
    slow = DAY_TRIAL, SlowButAdequate.name
    part = DAY_TRIAL, PartTimer.name
    per_cost, per_speed = "income per cost over honest", "income per token a second over honest"
    fed = (
        (f"slow but adequate hardware: {per_cost}", series.incomes[slow], STARVED_BELOW),
        (f"slow but adequate hardware: {per_speed}", series.speeds[slow], SLOW_STARVED_BELOW),
        (f"part-timer: {per_cost}", series.incomes[part], STARVED_BELOW),
    )
    changes = [
        beside_slow / beside_good - 1
        for beside_slow, beside_good in zip(
            series.peers[SLOW_PEER_TRIAL], series.peers[GOOD_PEER_TRIAL], strict=True
        )
    ]
    return [
        _statement(
            "identical honest miners: coefficient of variation",
            series.cvs,
            "below",
            HONEST_TRIAL,
            CV_MAX,
        ),
        *(_not_starved(*one) for one in fed),
        _peer_change(changes),
        Statement(
            name="honest miners ever quarantined, in all trials",
            figure=series.quarantined,
            relation="at most",
            bound=0,
            trial="all",
            seeds=len(series.cvs),
        ),
    ]


def _not_starved(name: str, values: Sequence[float], bound: float) -> Statement:
    """By the lower 95 % bound."""
    text = f"{name}, lower bound"
    found = _statement(text, [-one for one in values], "at least", DAY_TRIAL, bound)
    return found.model_copy(update={"figure": -found.figure})


def _peer_change(changes: Sequence[float]) -> Statement:
    """By the end of the mean's interval that lies further from 0."""
    name, bound = "a very slow miner: change of the others' mean score", PEER_CHANGE_MAX
    up = _statement(name, changes, "at most", SLOW_PEER_TRIAL, bound)
    down = _statement(name, [-one for one in changes], "at most", SLOW_PEER_TRIAL, bound)
    return max(up, down, key=lambda one: one.figure)


def _statement(
    name: str,
    values: Sequence[float],
    relation: Literal["below", "at most", "at least", "printed"],
    trial: str,
    bound: float | None = None,
) -> Statement:
    """By the upper 95 % bound of the mean; of one seed alone by its value."""
    figure = upper95(values)
    return Statement(
        name=name,
        figure=round(values[0] if figure is None else figure, 4),
        relation=relation,
        bound=bound,
        trial=trial,
        seeds=len(values),
    )
