"""Small simulated subnets for tests: seconds each."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from subnet.config import Settings, load_settings
from subnet.core.verification.calibration import CalibrationTable
from subnet.sim.options import ChainParams, SimOptions
from subnet.sim.prices import read_prices
from subnet.sim.profiles import read_profiles
from subnet.sim.result import SimResult, result_of
from subnet.sim.simulation import Laboratory, Simulation
from subnet.sim.strategy import Strategy

ROOT = Path(__file__).parents[1]
TINY = ROOT / "assets" / "tiny"


@lru_cache
def laboratory() -> Laboratory:
    """The shipped one."""
    return Laboratory(
        read_profiles(TINY / "attack-profiles.json"),
        CalibrationTable.model_validate_json((TINY / "calibration.json").read_text()),
        read_prices(ROOT / "assets" / "gpu-prices.toml"),
    )


def settings(**sections: Any) -> Settings:
    """The shipped rules without joint probes, which are most of a short run, and with full pay
    after 20 answers, or luck in being asked would be most of it; with sections merged over them."""
    shipped = load_settings(ROOT / "subnet.toml", environ={})
    tree = shipped.model_dump()
    tree["capacity"]["is_measured"] = False
    tree["scoring"]["full_pay_answers"] = 20
    for name, changes in sections.items():
        tree[name] |= changes
    return Settings.model_validate(tree)


def options(**changes: Any) -> SimOptions:
    """Nine short epochs of a small and busy subnet."""
    chain = {"tempo_blocks": 50, **changes.pop("chain", {})}
    values = {"hours": 1.5, "miners": 8, "validators": 2, "load": 80.0, **changes}
    return SimOptions(**values, chain=ChainParams(**chain))


def simulated(*entrants: Strategy, rules: Settings | None = None, **changes: Any) -> Simulation:
    """A finished run."""
    validators = changes.pop("dishonest", ())
    lab = changes.pop("lab", None) or laboratory()
    run = Simulation(lab, options(**changes), rules or settings(), entrants, validators)
    return run.run()


def ratios(result: SimResult) -> dict[str, float]:
    """Income per cost over honest by strategy."""
    return {one.name: one.income_per_cost_over_honest for one in result.strategies}


def run_of(*entrants: Strategy, **changes: Any) -> SimResult:
    """The result of a run."""
    return result_of(simulated(*entrants, **changes))
