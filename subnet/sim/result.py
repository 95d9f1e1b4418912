"""finished simulation -> RESULT: what each strategy earned for what it cost, in one JSON object."""

import hashlib
import math
from collections.abc import Sequence
from typing import Final

import rfc8785
from pydantic import BaseModel, ConfigDict

from subnet.sim.fleet import Operator
from subnet.sim.profiles import HONEST
from subnet.sim.simulation import Simulation
from subnet.sim.stretches import ratios_by_stretch
from subnet.sim.validators import HONEST_VALIDATOR

_T95: Final = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
    *(1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697),
)
"""One-sided 95 % quantiles of Student's t by degrees of freedom from 1."""
_Z95: Final = 1.645


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StrategyResult(_Frozen):
    """One strategy's operators together."""

    name: str
    hotkeys: int
    """That they ever registered."""
    income_rao: int
    """Emission, less registrations."""
    cost: float
    """US dollars."""
    income_per_cost_over_honest: float | None
    """1 is what honest operators get for a dollar; the mean over the strategy's operators. None
    where honest operators earned nothing: there is nothing to compare with."""
    upper95: float | None
    """Upper 95 % bound of that mean; over its epochs for a single operator."""
    income_per_speed_over_honest: float | None
    """The same for a token a second that the engine gives at most, whatever it costs; of hotkeys
    that share an honest operator's engine, what they earn over that operator without them."""


class ValidatorResult(_Frozen):
    """One kind of validator."""

    name: str
    validators: int
    dividends_rao: int
    dividends_per_stake_over_honest: float | None
    """None where all are honest or none is."""


class SimResult(_Frozen):
    """One run."""

    seed: int
    hours: float
    strategies: tuple[StrategyResult, ...]
    honest_cv: float | None
    """Coefficient of variation of the incomes of identical honest operators; None if they earned
    nothing."""
    quarantined_honest: int
    """Hotkeys of honest operators and controls whose pay was ever held or whose gate ever closed,
    at any honest validator."""
    validators: tuple[ValidatorResult, ...]
    requests: int
    unmeasured_families: tuple[str, ...]
    """Asked by this configuration, but not in the profiles: answered from the whole pool."""
    digest: str
    """SHA-256 over all of the above, every hotkey's income and every epoch's dividends."""


def result_of(done: Simulation) -> SimResult:
    """The figures of a finished run."""
    incomes = _incomes(done)
    honest = list(done.fleet.named(HONEST))
    earned = sum(_income(one, incomes, done) for one in honest)
    rates = earned / sum(o.cost_usd() for o in honest), earned / sum(_speed(o) for o in honest)
    names = sorted({one.name for one in done.fleet.operators}, key=lambda n: (n != HONEST, n))
    strategies = tuple(_strategy(name, done, incomes, *rates) for name in names)
    honest_incomes = [_income(one, incomes, done) for one in honest]
    control = {
        hotkey
        for one in done.fleet.operators
        if one.name == HONEST or one.strategy.is_control
        for hotkey in one.hotkeys
    }
    accused = {
        hotkey
        for one in done.validators
        if one.strategy.is_working
        for hotkey in one.store.accused & control
    }
    asked = set(done.settings.draws.families)
    body = {
        "seed": done.options.seed,
        "hours": done.options.hours,
        "strategies": strategies,
        "honest_cv": _cv(honest_incomes),
        "quarantined_honest": len(accused),
        "validators": _validators(done),
        "requests": sum(one.store.requests.total() for one in done.validators),
        "unmeasured_families": tuple(sorted(asked - done.lab.profiles.families)),
    }
    found = SimResult(**body, digest="")
    return found.model_copy(update={"digest": _digest(found, done)})


def income_by_epoch(done: Simulation) -> dict[str, list[float]]:
    """Mean emission of each strategy's operators in rao, epoch by epoch."""
    names = sorted({one.name for one in done.fleet.operators}, key=lambda n: (n != HONEST, n))
    series = {}
    for name in names:
        operators = list(done.fleet.named(name))
        series[name] = [
            sum(outcome.incomes_rao.get(key, 0) for one in operators for key in one.hotkeys)
            / len(operators)
            for outcome in done.chain.outcomes
        ]
    return series


def upper95(values: Sequence[float]) -> float | None:
    """Upper bound of the mean by Student's t, one-sided 95 %; None for fewer than two values."""
    count = len(values)
    if count < 2:
        return None
    mean = sum(values) / count
    spread = math.sqrt(sum((one - mean) ** 2 for one in values) / (count - 1))
    quantile = _T95[count - 2] if count - 2 < len(_T95) else _Z95
    return mean + quantile * spread / math.sqrt(count)


def _incomes(done: Simulation) -> dict[str, int]:
    incomes: dict[str, int] = {}
    for outcome in done.chain.outcomes:
        for hotkey, rao in outcome.incomes_rao.items():
            incomes[hotkey] = incomes.get(hotkey, 0) + rao
    return incomes


def _income(operator: Operator, incomes: dict[str, int], done: Simulation) -> int:
    """Emission less registrations."""
    return sum(incomes.get(hotkey, 0) - done.chain.spent_rao[hotkey] for hotkey in operator.hotkeys)


def _speed(operator: Operator) -> float:
    """Tokens a second that its engine gives at most."""
    return operator.engine.gpu.tokens_per_second_max * operator.engine.share


def _strategy(
    name: str, done: Simulation, incomes: dict[str, int], per_dollar: float, per_speed: float
) -> StrategyResult:
    operators = list(done.fleet.named(name))
    income = sum(_income(one, incomes, done) for one in operators)
    cost = sum(one.cost_usd() for one in operators)
    known = {
        "name": name,
        "hotkeys": sum(len(one.hotkeys) for one in operators),
        "income_rao": income,
        "cost": round(cost, 6),
    }
    if per_dollar <= 0 or not all(one.cost_usd() for one in operators):
        return StrategyResult(
            **known,
            income_per_cost_over_honest=None,
            upper95=None,
            income_per_speed_over_honest=None,
        )
    ratios = [_income(one, incomes, done) / one.cost_usd() / per_dollar for one in operators]
    speeds = [_income(one, incomes, done) / _speed(one) / per_speed for one in operators]
    bound = upper95(ratios if len(ratios) > 1 else _over_epochs(operators[0], done))
    assert bound is not None, "a run has epochs enough for a bound"
    return StrategyResult(
        **known,
        income_per_cost_over_honest=round(sum(ratios) / len(ratios), 6),
        upper95=round(bound, 6),
        income_per_speed_over_honest=round(sum(speeds) / len(speeds), 6),
    )


def _over_epochs(operator: Operator, done: Simulation) -> list[float]:
    """A single operator's ratio in several stretches of the run; see `stretches`."""
    honest = list(done.fleet.named(HONEST))
    return ratios_by_stretch(_per_dollar([operator], done), _per_dollar(honest, done))


def _per_dollar(operators: Sequence[Operator], done: Simulation) -> list[float]:
    """Income for a dollar, epoch by epoch; registrations and cost are spread evenly over them."""
    outcomes, hotkeys = done.chain.outcomes, [key for one in operators for key in one.hotkeys]
    spent = sum(done.chain.spent_rao[key] for key in hotkeys) / len(outcomes)
    cost = sum(one.cost_usd() for one in operators)
    return [
        (sum(one.incomes_rao.get(key, 0) for key in hotkeys) - spent) / cost for one in outcomes
    ]


def _validators(done: Simulation) -> tuple[ValidatorResult, ...]:
    dividends: dict[str, int] = {}
    for outcome in done.chain.outcomes:
        for hotkey, rao in outcome.dividends_rao.items():
            dividends[hotkey] = dividends.get(hotkey, 0) + rao
    per_stake: dict[str, float] = {}
    totals: dict[str, tuple[int, int]] = {}
    for name in dict.fromkeys(one.strategy.name for one in done.validators):
        found = [one for one in done.validators if one.strategy.name == name]
        earned = sum(dividends.get(one.hotkey, 0) for one in found)
        totals[name] = len(found), earned
        per_stake[name] = earned / sum(one.stake_rao for one in found)
    honest = per_stake.get(HONEST_VALIDATOR)
    return tuple(
        ValidatorResult(
            name=name,
            validators=count,
            dividends_rao=earned,
            dividends_per_stake_over_honest=round(per_stake[name] / honest, 6)
            if honest and len(totals) > 1
            else None,
        )
        for name, (count, earned) in totals.items()
    )


def _cv(values: Sequence[int]) -> float | None:
    mean = sum(values) / len(values)
    if mean <= 0:
        return None
    if len(values) < 2:
        return 0.0
    spread = math.sqrt(sum((one - mean) ** 2 for one in values) / (len(values) - 1))
    return round(spread / mean, 6)


def _digest(found: SimResult, done: Simulation) -> str:
    digest = hashlib.sha256(b"assay/simulation/1\n")
    digest.update(rfc8785.dumps(found.model_dump(mode="json", exclude={"digest"})))
    for outcome in done.chain.outcomes:
        line = (outcome.block, sorted(outcome.incomes_rao.items()), outcome.dividends_rao)
        digest.update(repr((*line[:2], sorted(line[2].items()))).encode())
    return digest.hexdigest()
