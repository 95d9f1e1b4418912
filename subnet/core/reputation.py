"""graded answers over time -> REPUTATION -> routing: how good a node is for a class of tasks.

Three things are kept apart: quality is this decayed Beta at its lower bound, integrity is the
detector's business (`verification.evidence`), and exposure caps what may be lost to a node that
turns. Unlike the sums in `standing`, which pay for service and fade by observation, reputation
fades by time: who has not been seen for weeks is known less well.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import betaincinv

from protocol.units import RAO_PER_TAO
from subnet.core.audit import PPM

DAY_US: Final = 24 * 3600 * 1_000_000
Share = Annotated[float, Field(ge=0, le=1)]


class Source(StrEnum):
    """Who says how good an answer was."""

    AUDIT = "AUDIT"
    """A verified answer to a benchmark, a canary, or a user's task that a grader judged."""
    CHECK = "CHECK"
    """An automatic check of form or grounding."""
    FEEDBACK = "FEEDBACK"
    """A user's word."""


class ReputationParams(BaseModel):
    """How evidence counts, and what a node may be trusted with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_days: Annotated[float, Field(gt=0, le=3650)] = 7.0
    prior_mass: Annotated[float, Field(gt=0, le=1000)] = 8.0
    """Answers that the prior counts for; it lies at the class's lower quartile."""
    prior_quantile: Share = 0.25
    prior_mean: Share = 0.5
    """Of a class in which nobody is known."""
    lower_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Nodes are ranked by what they are at least, but for this share of chances."""
    check_weight: Share = 0.25
    feedback_weight: Share = 0.05
    requestor_share_max: Share = 0.05
    """Of a node's mass that one requestor's feedback can make up."""
    owner_share_max: Share = 0.10
    """Of a node's mass that the feedback of one owner's requestors can make up together."""
    exposure_tasks_start: Annotated[float, Field(ge=0, le=1e9)] = 4.0
    """Users' tasks at one time for a node that came today and has no bond."""
    exposure_tasks_per_tao: Annotated[float, Field(ge=0, le=1e9)] = 8.0
    exposure_tenure_days: Annotated[float, Field(gt=0, le=3650)] = 30.0
    """Days after which a node is trusted with twice what it was at first, and so on."""


class Mass(BaseModel):
    """Decayed evidence on one node in one class of tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    good: float = 0.0
    bad: float = 0.0
    at_us: int = 0
    """When it was last added to."""

    def at(self, now_us: int, params: ReputationParams) -> "Mass":
        """What is left of it; time never runs backwards for it."""
        days = max(0, now_us - self.at_us) / DAY_US
        keep = 0.5 ** (days / params.half_life_days)
        return Mass(good=self.good * keep, bad=self.bad * keep, at_us=max(now_us, self.at_us))

    @property
    def total(self) -> float:
        """Answers that it counts for."""
        return self.good + self.bad


def weight_of(source: Source, params: ReputationParams) -> float:
    """What one observation counts for."""
    return {
        Source.AUDIT: 1.0,
        Source.CHECK: params.check_weight,
        Source.FEEDBACK: params.feedback_weight,
    }[source]


def observed(
    mass: Mass, grade: float, source: Source, now_us: int, params: ReputationParams
) -> Mass:
    """The mass after one more observation, graded in [0, 1]."""
    assert 0 <= grade <= 1, grade

    now, weight = mass.at(now_us, params), weight_of(source, params)
    return now.model_copy(
        update={"good": now.good + weight * grade, "bad": now.bad + weight * (1 - grade)}
    )


def with_feedback(
    own: Mass, feedback: Mapping[tuple[str, str], Mass], params: ReputationParams
) -> Mass:
    """Own evidence, and users' words by (owner, requestor), none of which can drown it.

    Shares are of the whole mass, what is added included: a share s of the whole is s / (1 - s) of
    the rest. Words alone make no reputation.
    """
    by_owner: dict[str, list[Mass]] = {}
    for (owner, _), mass in feedback.items():
        by_owner.setdefault(owner, []).append(_capped(mass, own, params.requestor_share_max))
    together = [_capped(_sum(masses), own, params.owner_share_max) for masses in by_owner.values()]
    return _sum([own, *together])


def prior_mean(class_masses: Iterable[Mass], params: ReputationParams) -> float:
    """The lower quartile of what the class's known nodes achieve; the default where none is.

    A node counts as known from `prior_mass` answers on: a newcomer must not set the bar.
    """
    means = [mass.good / mass.total for mass in class_masses if mass.total >= params.prior_mass]
    if not means:
        return params.prior_mean
    return float(np.quantile(np.array(means), params.prior_quantile))


def quality_mean_ppm(mass: Mass, prior: float, params: ReputationParams) -> int:
    """The posterior's mean, parts per million."""
    total = mass.total + params.prior_mass
    return round(PPM * (mass.good + prior * params.prior_mass) / total)


def quality_lower_ppm(mass: Mass, prior: float, params: ReputationParams) -> int:
    """The posterior Beta's lower bound, parts per million: what routing goes by."""
    good = mass.good + prior * params.prior_mass
    bad = mass.bad + (1 - prior) * params.prior_mass
    if good <= 0:
        return 0
    if bad <= 0:
        return PPM
    return round(PPM * float(betaincinv(good, bad, params.lower_quantile)))


def exposure_tasks(bond_rao: int, tenure_us: int, params: ReputationParams) -> int:
    """Users' tasks that a node may hold at one time.

    Linear in bond and tenure: nothing is gained by splitting a bond over hotkeys, and one that
    registers again starts over.
    """
    assert bond_rao >= 0
    assert tenure_us >= 0

    tenure = 1.0 + tenure_us / DAY_US / params.exposure_tenure_days
    bonded = params.exposure_tasks_per_tao * bond_rao / RAO_PER_TAO
    return int(params.exposure_tasks_start * tenure + bonded)


def _capped(mass: Mass, own: Mass, share_max: float) -> Mass:
    most = own.total * share_max / (1 - share_max) if share_max < 1 else mass.total
    if mass.total <= most:
        return mass
    keep = most / mass.total
    return mass.model_copy(update={"good": mass.good * keep, "bad": mass.bad * keep})


def _sum(masses: Iterable[Mass]) -> Mass:
    all_of_them = list(masses)
    return Mass(
        good=sum(mass.good for mass in all_of_them),
        bad=sum(mass.bad for mass in all_of_them),
        at_us=max((mass.at_us for mass in all_of_them), default=0),
    )
