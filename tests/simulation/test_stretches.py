"""The bound of a single operator: from stretches of its epochs."""

import numpy as np
import pytest

from subnet.sim.adversaries import WeakerModel
from subnet.sim.profiles import HONEST
from subnet.sim.result import result_of, upper95
from subnet.sim.stretches import ratios_by_stretch
from tests.simulation_support import simulated


@pytest.mark.parametrize(("epochs", "stretches"), [(3, 3), (8, 3), (20, 4), (600, 24)])
def test_the_mean_of_the_stretches_is_the_ratio(epochs, stretches):
    rng = np.random.default_rng(epochs)
    own, honest = rng.gamma(2, size=epochs).tolist(), rng.gamma(9, size=epochs).tolist()
    found = ratios_by_stretch(own, honest)
    assert len(found) == stretches
    assert sum(found) / stretches == pytest.approx(sum(own) / sum(honest))


def test_what_all_miners_feel_alike_is_no_doubt():
    honest = [0.0, 0.0, 5.0, 7.0, 6.0, 1.0]
    found = ratios_by_stretch([value / 2 for value in honest], honest)
    assert found == pytest.approx([0.5, 0.5, 0.5])


def test_the_bound_covers_the_ratio_where_epochs_that_follow_each_other_are_alike():
    """A day of epochs that resemble their neighbours: single epochs would promise too much."""
    rng = np.random.default_rng(1)
    covered = naive = 0
    runs = 2000
    for _ in range(runs):
        noise = np.zeros(40)
        for place in range(1, 40):
            noise[place] = 0.6 * noise[place - 1] + rng.normal()
        own = (5 + noise[20:]).tolist()
        covered += upper95(ratios_by_stretch(own, [10.0] * 20)) >= 0.5
        naive += upper95([value / 10 for value in own]) >= 0.5
    assert covered / runs > 0.9
    assert naive / runs < 0.85


def test_a_single_operator_has_a_bound_above_its_ratio():
    run = simulated(WeakerModel())
    (weaker,) = [one for one in result_of(run).strategies if one.name != HONEST]
    ratio = weaker.income_per_cost_over_honest
    assert weaker.upper95 > ratio
