"""`assay simulate`: a whole subnet on virtual time, with miners and validators that cheat."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from subnet.cli import simulate_options as flags
from subnet.cli.exits import UsageError

if TYPE_CHECKING:
    from subnet.config import Settings
    from subnet.sim.options import SimOptions
    from subnet.sim.report import ReportedRun
    from subnet.sim.roster import Maker
    from subnet.sim.simulation import Laboratory
    from subnet.sim.validators import ValidatorStrategy


def simulate(
    hours: flags.Hours = 24.0,
    miners: flags.Miners = 256,
    validators: flags.Validators = 4,
    seed: flags.Seed = 0,
    load: flags.Load = 20.0,
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
    """
    from subnet.config import load_settings
    from subnet.sim.options import ChainParams, SimOptions
    from subnet.sim.report import html_report

    if list_strategies:
        _list()
        return
    options = SimOptions(
        hours=hours,
        miners=miners,
        validators=validators,
        seed=seed,
        load=load,
        prompts_per_hour=prompts,
        chain=ChainParams(commit_reveal=commit_reveal, tempo_blocks=tempo),
    )
    makers, dishonest = _participants(strategy or [], adversary or [], operators, options)
    lab = read_laboratory(profiles, calibration, prices)
    console = Console(stderr=as_json)
    runs = [
        _reported(
            str(file or "subnet.toml"),
            lab,
            options,
            load_settings(file),
            makers,
            dishonest,
            operators,
            console,
        )
        for file in ([config] if compare is None else [config, compare])
    ]
    if report is not None:
        report.write_text(html_report(runs, load, miners))
        console.print(f"wrote {report}")
    if as_json:
        print(_as_json(runs))
    else:
        _show(runs, console)


def _participants(
    names: Sequence[str],
    paths: Sequence[str],
    operators: int | None,
    options: "SimOptions",
) -> "tuple[list[Maker], list[ValidatorStrategy]]":
    """Who takes part besides the honest. Raises UsageError."""
    from subnet.sim.roster import StrategyError, chosen, entrants

    sys.path.append(str(Path.cwd()))
    try:
        makers, dishonest = chosen(names, paths)
        entrants(makers, operators, options)
    except StrategyError as error:
        raise UsageError(str(error)) from error
    if len(dishonest) >= options.validators:
        raise UsageError("--validators: at least one has to be honest")
    return makers, dishonest


def read_laboratory(profiles: Path, calibration: Path, prices: Path) -> "Laboratory":
    """What every run rests on. Raises UsageError."""
    from subnet.core.verification.calibration import CalibrationTable
    from subnet.sim.prices import PricesError, read_prices
    from subnet.sim.profiles import ProfilesError, read_profiles
    from subnet.sim.simulation import Laboratory

    try:
        found = read_profiles(profiles)
        table = CalibrationTable.model_validate_json(calibration.read_text())
        return Laboratory(found, table, read_prices(prices))
    except (OSError, ValueError, ProfilesError, PricesError) as error:
        raise UsageError(str(error)) from error


def _reported(
    title: str,
    lab: "Laboratory",
    options: "SimOptions",
    settings: "Settings",
    makers: "Sequence[Maker]",
    dishonest: "Sequence[ValidatorStrategy]",
    operators: int | None,
    console: Console,
) -> "ReportedRun":
    """Run it, with a progress bar."""
    from subnet.cli.calibrate import progress_bars
    from subnet.sim.report import reported
    from subnet.sim.result import result_of
    from subnet.sim.roster import entrants
    from subnet.sim.simulation import Simulation

    run = Simulation(lab, options, settings, entrants(makers, operators, options), dishonest)
    with progress_bars(console) as watch:
        run.run(watch(f"epochs, {title}", options.epochs))
    return reported(title, result_of(run), run)


def _as_json(runs: "Sequence[ReportedRun]") -> str:
    """One result; with --compare both, by their files."""
    found = [run.result.model_dump(mode="json") for run in runs]
    if len(found) == 1:
        return json.dumps(found[0])
    return json.dumps(
        {
            "runs": {run.title: one for run, one in zip(runs, found, strict=True)},
            "change": _changes(runs),
        }
    )


def _changes(runs: "Sequence[ReportedRun]") -> dict[str, float]:
    """How much the first file's rules add to each strategy's income per cost."""
    before = {one.name: one.income_per_cost_over_honest for one in runs[1].result.strategies}
    return {
        one.name: round(one.income_per_cost_over_honest - before[one.name], 6)
        for one in runs[0].result.strategies
    }


def _show(runs: "Sequence[ReportedRun]", console: Console) -> None:
    first = runs[0].result
    grid = Table(
        title=f"seed {first.seed}, {first.hours:g} virtual hours, {first.requests} requests"
    )
    for title in ("strategy", "hotkeys", "income, 10^9 rao", "cost, USD"):
        grid.add_column(title, justify="left" if title == "strategy" else "right")
    for run in runs:
        name = f" ({run.title})" if len(runs) > 1 else ""
        grid.add_column(f"income per cost over honest{name}", justify="right")
        grid.add_column("upper 95 %", justify="right")
    if len(runs) > 1:
        grid.add_column("change", justify="right")
    others = [{one.name: one for one in run.result.strategies} for run in runs]
    changes = _changes(runs) if len(runs) > 1 else {}
    for one in first.strategies:
        cells = [one.name, str(one.hotkeys), f"{one.income_rao / 1e9:.1f}", f"{one.cost:.2f}"]
        for found in (other[one.name] for other in others):
            bound = found.upper95
            cells += [
                f"{found.income_per_cost_over_honest:.3f}",
                "-" if bound is None else f"{bound:.3f}",
            ]
        if changes:
            cells.append(f"{changes[one.name]:+.3f}")
        grid.add_row(*cells)
    console.print(grid)
    for run in runs:
        _show_rest(run, console)


def _show_rest(run: "ReportedRun", console: Console) -> None:
    from subnet.sim.validators import HONEST_VALIDATOR

    found = run.result
    console.print(
        f"{run.title}: honest CV {found.honest_cv:.4f}, honest miners quarantined "
        f"{found.quarantined_honest}, digest {found.digest[:16]}",
        highlight=False,
    )
    for one in found.validators:
        ratio = one.dividends_per_stake_over_honest
        if ratio is not None and one.name != HONEST_VALIDATOR:
            console.print(f"  {one.name}: {ratio:.3f} of an honest one's dividends per stake")
    if found.unmeasured_families:
        families = ", ".join(found.unmeasured_families)
        console.print(f"  not measured, answered from the whole pool: {families}")


def _list() -> None:
    from subnet.sim.roster import known_miners, known_validators

    for name, maker in known_miners().items():
        print(f"{name}: {maker().summary}")
    for name, validator in known_validators().items():
        print(f"{name}: {validator.summary}")
