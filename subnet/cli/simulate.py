"""`assay simulate`: a whole subnet on virtual time, with miners and validators that cheat."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError
from rich.console import Console

from subnet.cli import simulate_options as flags
from subnet.cli import simulate_view as view
from subnet.cli.exits import UsageError
from subnet.cli.outputs import place_of_file

if TYPE_CHECKING:
    from subnet.config import Settings
    from subnet.sim.options import SimOptions
    from subnet.sim.report import ReportedRun
    from subnet.sim.simulation import Laboratory
    from subnet.sim.strategy import Strategy
    from subnet.sim.validators import ValidatorStrategy

NOT_SIMULATED: Final = {"chain", "release", "miner", "admission"}
"""Sections of subnet.toml whose part strategies, prices and options take."""


def simulate(
    hours: flags.Hours = 24.0,
    miners: flags.Miners = 256,
    validators: flags.Validators = 4,
    seed: flags.Seed = 0,
    load: flags.Load = 8.0,
    bursts: flags.Bursts = 44,
    prompts: flags.Prompts = 0.0,
    tempo: flags.Tempo = 360,
    strategy: flags.StrategyNames = None,
    adversary: flags.AdversaryPaths = None,
    operators: flags.Operators = None,
    commit_reveal: flags.CommitReveal = True,
    config: flags.Config = None,
    compare: flags.Compare = None,
    report: flags.Report = None,
    profiles: flags.Profiles = flags.PROFILES,
    calibration: flags.Calibration = flags.CALIBRATION,
    prices: flags.Prices = flags.PRICES,
    list_strategies: flags.ListStrategies = False,
    as_json: flags.AsJson = False,
) -> None:
    """Run the real roles and rules on virtual time, and see which cheat would pay.

    Miners draw their answers from what the attack bench measured, and the real detector decides.
    Income is emission less registrations, cost is GPU seconds by the price table; both are compared
    with honest operators. With --compare, an owner sees what a change of rules does to every
    strategy before it goes live:

    assay simulate --config my.toml --compare subnet.toml --report change.html

    A default run takes a minute or two of CPU time, a comparison twice that; a few seconds:

    assay simulate --strategy "weaker model" --miners 12 --hours 4 --load 20

    What is simulated, what is not, and how to write a strategy: docs/simulator.md.
    """
    if list_strategies:
        _list(as_json=as_json)
        return
    plans = _plans([config] if compare is None else [config, compare])
    lab = read_laboratory(profiles, calibration, prices)
    if report is not None:
        place_of_file(report, "--report")
    options = _options(
        hours=hours,
        miners=miners,
        validators=validators,
        seed=seed,
        load=load,
        bursts_per_day=bursts,
        prompts_per_hour=prompts,
        chain={"commit_reveal": commit_reveal, "tempo_blocks": tempo},
    )
    _check_compared(plans, options)
    cast = _cast(strategy or [], adversary or [], operators, options, lab)
    console = Console(stderr=as_json)
    runs = [_reported(title, settings, lab, options, cast, console) for title, settings in plans]
    if as_json:
        print(view.as_json(runs))
    else:
        view.show(runs, console)
    if report is not None:
        _write_report(report, runs, options)
        console.print(f"wrote {report}")


@dataclass(frozen=True)
class _Cast:
    """Who takes part besides the honest."""

    miners: "Callable[[], list[Strategy]]"
    """New ones for each run."""
    validators: "Sequence[ValidatorStrategy]"
    has_validators_run: bool


def _plans(files: Sequence[Path | None]) -> "list[tuple[str, Settings]]":
    """Each file's name and rules. Raises ConfigError, UsageError."""
    from subnet.config import load_settings

    shipped = Path("subnet.toml")
    paths = [shipped if file is None and shipped.exists() else file for file in files]
    plans = [(str(path or "defaults"), load_settings(path)) for path in paths]
    if len({title for title, _ in plans}) < len(plans):
        raise UsageError(
            f"--compare: both rules are those of {plans[0][0]}; name others by --config"
        )
    return plans


def _options(**values: object) -> "SimOptions":
    """Raises UsageError."""
    from subnet.config import first_problem
    from subnet.sim.options import SimOptions

    try:
        return SimOptions.model_validate(values)
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error


def _check_compared(plans: "Sequence[tuple[str, Settings]]", options: "SimOptions") -> None:
    """Two runs of the same are no comparison. Raises UsageError."""
    from subnet.sim.options import paced

    if len(plans) == 1:
        return
    (title, mine), (other, theirs) = plans
    if _used(paced(mine, options)) != _used(paced(theirs, options)):
        return
    changed = sorted(_leaves(mine.model_dump()) ^ _leaves(theirs.model_dump()))
    names = ", ".join(dict.fromkeys(name for name, _ in changed))
    unused = f" but {names}, which a run does not use (docs/simulator.md)" if names else ""
    raise UsageError(f"--compare: {title} and {other} differ in nothing{unused}")


def _used(settings: "Settings") -> dict[str, object]:
    """What a run reads of them."""
    return settings.model_dump(exclude=NOT_SIMULATED)


def _leaves(tree: Mapping[str, object], path: str = "") -> set[tuple[str, str]]:
    """Each knob's full name and its value."""
    found: set[tuple[str, str]] = set()
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{path}{name}.")
        else:
            found.add((path + name, repr(value)))
    return found


def _cast(
    names: Sequence[str],
    paths: Sequence[str],
    operators: int | None,
    options: "SimOptions",
    lab: "Laboratory",
) -> _Cast:
    """Raises UsageError."""
    from subnet.sim.roster import chosen, entrants
    from subnet.sim.strategy import StrategyError

    sys.path.append(str(Path.cwd()))
    try:
        makers, dishonest = chosen(names, paths)
        entrants(makers, operators, options, lab.prices)
    except StrategyError as error:
        raise UsageError(str(error)) from error
    if len(dishonest) >= options.validators:
        raise UsageError("--validators: at least one has to be honest")
    return _Cast(
        lambda: entrants(makers, operators, options, lab.prices),
        dishonest,
        has_validators_run=not names and not paths,
    )


def read_laboratory(profiles: Path, calibration: Path, prices: Path) -> "Laboratory":
    """What every run rests on. Raises UsageError."""
    from subnet.config import first_problem
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.sim.prices import PricesError, read_prices
    from subnet.sim.profiles import ProfilesError, read_profiles
    from subnet.sim.simulation import Laboratory

    try:
        found = read_profiles(profiles)
        table = CalibrationTable.model_validate_json(calibration.read_bytes())
        return Laboratory(found, table, read_prices(prices))
    except OSError as error:
        raise UsageError(f"cannot read {calibration}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"{calibration}: {first_problem(error)}") from error
    except (ProfilesError, PricesError) as error:
        raise UsageError(str(error)) from error


def _reported(
    title: str,
    settings: "Settings",
    lab: "Laboratory",
    options: "SimOptions",
    cast: _Cast,
    console: Console,
) -> "ReportedRun":
    """Run it, with a progress bar. Raises UsageError if a plug-in breaks."""
    from subnet.cli.calibrate import progress_bars
    from subnet.sim.report import reported
    from subnet.sim.result import result_of
    from subnet.sim.simulation import Simulation
    from subnet.sim.strategy import StrategyError
    from subnet.sim.validators_run import validators_entrants, validators_options

    own = None
    with progress_bars(console) as watch:
        run = Simulation(lab, options, settings, cast.miners(), cast.validators)
        try:
            run.run(watch(f"epochs, {title}", options.epochs))
        except StrategyError as error:
            raise UsageError(str(error)) from error
        if cast.has_validators_run:
            few = validators_options(options)
            small = Simulation(lab, few, settings, *validators_entrants())
            own = result_of(small.run(watch(f"validators' run, {title}", few.epochs)))
    return reported(title, result_of(run), run, own)


def _write_report(path: Path, runs: "Sequence[ReportedRun]", options: "SimOptions") -> None:
    """Raises UsageError."""
    from subnet.sim.report import html_report

    try:
        path.write_text(html_report(runs, options))
    except OSError as error:
        raise UsageError(f"--report: cannot write {path}: {error.strerror}") from error


def _list(*, as_json: bool) -> None:
    from subnet.sim.roster import known_miners, known_validators

    miners = {name: maker().summary for name, maker in known_miners().items()}
    validators = {name: one.summary for name, one in known_validators().items()}
    if as_json:
        print(json.dumps({"miners": miners, "validators": validators}))
        return
    for name, summary in {**miners, **validators}.items():
        print(f"{name}: {summary}")
