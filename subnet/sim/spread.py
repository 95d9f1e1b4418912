"""outcomes -> SPREAD: what every strategy earned seed by seed, which the law's bounds rest on."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from subnet.sim.trials import Outcome


class Spread(BaseModel):
    """One strategy in one trial, over the seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    strategy: str
    mean: float
    """Of income per cost over honest."""
    deviation: float
    """The standard deviation between seeds; 0 for a single one."""
    by_seed: tuple[float, ...]


def spreads(outcomes: Sequence[Outcome]) -> list[Spread]:
    """Every strategy of every trial, the honest too; each trial's seeds in their order.

    Only of outcomes that `law.judged` took: in all of them the honest earned something.
    """
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for outcome in outcomes:
        for one in outcome.result.strategies:
            ratio = one.income_per_cost_over_honest
            assert ratio is not None, "no law is judged where the honest earn nothing"
            ratios[outcome.trial, one.name].append(ratio)
    return [
        Spread(
            trial=trial,
            strategy=strategy,
            mean=round(statistics.fmean(values), 4),
            deviation=round(statistics.stdev(values), 4) if len(values) > 1 else 0.0,
            by_seed=tuple(values),
        )
        for (trial, strategy), values in ratios.items()
    ]
