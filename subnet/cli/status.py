"""state file, metagraph -> STATUS: what the validator knows and the chain pays, row by row.

Reads only: the running validator is not disturbed. Scores are computed here from the standings
with the parameters that the validator itself started with, so both can never differ.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from protocol.units import RAO_PER_TAO
from subnet.cli.chain_reader import chain_of
from subnet.cli.miner_options import ConfigOption, NetuidOption, NetworkOption
from subnet.cli.state_file import state_of
from subnet.config import Settings, load_settings
from subnet.core.audit import PPM
from subnet.core.capacity import MILLI
from subnet.core.earnings import scores_of
from subnet.core.explain import explain
from subnet.core.history import UserPrompt
from subnet.core.rules import RuleParams
from subnet.core.scoring import (
    Score,
    ScoringParams,
    is_gate_open,
    is_held,
)
from subnet.core.second_opinion import OpinionRecord, power
from subnet.core.standing import MinerStanding
from subnet.edge.state_reader import StateReader, open_for_reading
from subnet.ports import Chain, Metagraph, Neuron


@dataclass(frozen=True, slots=True)
class MinerStatus:
    """One miner, as the validator and the chain see it."""

    hotkey: str
    uid: int
    requests: int
    audited: int
    verified: int
    state: str
    """`new`, `probation`, `paid`, `doubted` (warned), `held` (alarmed) or `closed`."""
    quality_ppm: int
    capacity_tps_milli: int
    """Thousandths of a token a second that count for pay."""
    latency_ppm: int
    availability_ppm: int
    integrity_ppm: int
    """Gate, hold and evidence together; 0 once pay is held or the gate is closed."""
    score_ppm: int
    """1 000 000 is full marks at one token a second, or at any where capacity is not measured."""
    weight: float
    """Share of the last accepted weights, in [0, 1]."""
    incentive: float
    emission_rao: int
    """Since this validator's first accepted weights, from the chain."""
    why: str
    is_undecided: bool = False
    """Whether an alarm waits for its second opinion, if need be behind a closed gate."""
    contradicted: int = 0
    """Alarms that the second engine did not share: the verifier's fault."""
    blames: Mapping[str, int] = field(default_factory=dict)
    """Requests without an answer, by who is to blame."""


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """A user's prompt with the miner that answered it."""

    prompt: str
    answer: str
    hotkey: str
    uid: int | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The subnet at one moment."""

    block: int
    epochs: int
    """Epochs that ran since the first accepted weights."""
    submissions: int
    """Weights that the chain accepted."""
    miners: tuple[MinerStatus, ...]
    """By uid."""
    answers: tuple[AnsweredPrompt, ...]
    open_prompts: int
    settled_epochs: int = 0
    """Epochs that ran after weights in which nobody was on probation any more."""

    contradictions: int = 0
    """Alarms, of all miners, over which this validator's two engines disagreed."""
    contradictions_latest: str = ""
    """The latest of them in words."""

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self), indent=2)


async def read_status(state_path: Path, chain: Chain) -> StatusReport:
    """The status of the validator whose state file this is, running or not.

    Before the validator's first start the report has no figures. Raises ChainError, ConfigError.
    """
    metagraph = await chain.metagraph()
    reader = open_for_reading(state_path)
    if reader is None:
        return StatusReport(metagraph.block, 0, 0, (), (), 0)
    try:
        return build_status(reader, metagraph)
    finally:
        reader.close()


def build_status(reader: StateReader, metagraph: Metagraph) -> StatusReport:
    """The status from a state file and a metagraph."""
    in_use = reader.in_use()
    if in_use is None:
        return StatusReport(metagraph.block, 0, 0, (), (), 0)
    totals, prompts = reader.epoch_totals(), reader.prompts()
    standings = {
        standing.hotkey: standing
        for standing in reader.standings()
        if standing.release_digest == in_use.release_digest
    }
    rules = in_use.rules
    scores = scores_of(standings.values(), rules)
    contradictions = reader.contradictions()
    accepted = [epoch for epoch in reader.epochs() if epoch.submitted_block is not None]
    shares = _shares(accepted[-1].weights if accepted else {})
    miners = tuple(
        _miner(
            row,
            standings[row.hotkey],
            scores[row.hotkey],
            rules,
            shares.get(row.uid, 0.0),
            totals.emission_rao.get(row.hotkey, 0),
        )
        for row in metagraph.neurons
        if row.hotkey in standings
    )
    return StatusReport(
        block=metagraph.block,
        epochs=totals.epochs,
        submissions=totals.submissions,
        miners=miners,
        answers=tuple(_answer(prompt, metagraph) for prompt in prompts if prompt.answer),
        open_prompts=sum(prompt.answer is None for prompt in prompts),
        settled_epochs=totals.settled_epochs,
        contradictions=len(contradictions),
        contradictions_latest=_in_words(contradictions[-1]) if contradictions else "",
    )


def status_table(report: StatusReport, names: Mapping[str, str] | None = None) -> Table:
    """The report as a table.

    `names` replaces hotkeys by something shorter, and drops what such a reader does not need, so
    that the table fits 80 columns.
    """
    table = Table(
        title=f"block {report.block}   epochs since first weights: {report.epochs}",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold underline",
    )
    identity = ("miner",) if names else ("miner", "uid", "state")
    for column in identity:
        table.add_column(column, no_wrap=True)
    columns = {name: render for name, render in COLUMNS.items() if not names or name != "asked"}
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for miner in report.miners:
        name = (names or {}).get(miner.hotkey, f"{miner.hotkey[:8]}..")
        figures = [render(miner) for render in columns.values()]
        colour = {"closed": "red", "held": "yellow", "doubted": "yellow", "paid": "green"}.get(
            miner.state, ""
        )
        known = (name, str(miner.uid), miner.state)[: len(identity)]
        table.add_row(*known, *figures, style=colour)
    return table


COLUMNS: dict[str, Callable[[MinerStatus], str]] = {
    "asked": lambda miner: str(miner.requests),
    "audited": lambda miner: str(miner.audited),
    "quality": lambda miner: _share(miner.quality_ppm / PPM),
    "tok/s": lambda miner: f"{miner.capacity_tps_milli / MILLI:.1f}",
    "latency": lambda miner: _share(miner.latency_ppm / PPM),
    "integrity": lambda miner: _share(miner.integrity_ppm / PPM),
    "score": lambda miner: _share(miner.score_ppm / PPM),
    "weight": lambda miner: _share(miner.weight),
    "incentive": lambda miner: _share(miner.incentive),
    "emission": lambda miner: f"{miner.emission_rao / RAO_PER_TAO:.4f}",
}


def status(
    state: Annotated[
        Path | None, typer.Option(help="The validator's state file. Default: as in subnet.toml.")
    ] = None,
    network: NetworkOption = None,
    netuid: NetuidOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show every miner as the validator scores it and the chain pays it, and why.

    Reads a validator's state file, while it runs too, and the chain. What a single miner's score
    rests on, without the chain: assay explain HOTKEY.
    """
    settings = load_settings(
        config,
        {
            "chain.network": network,
            "chain.netuid": netuid,
            "validator.state_path": state,
        },
    )
    with state_of(settings.validator.state_path):
        report = asyncio.run(_read(settings))
    if as_json:
        typer.echo(report.to_json())
        return
    console = Console()
    console.print(status_table(report))
    for miner in report.miners:
        console.print(f"[bold]uid {miner.uid}[/] {miner.why}.", highlight=False)
    if report.contradictions:
        console.print(
            f"[bold red]your verifier[/] its two engines disagreed over {report.contradictions} "
            f"alarm(s), and no miner paid for it; the latest: {report.contradictions_latest}.",
            highlight=False,
        )
    for answer in report.answers:
        console.print(f"[bold]{answer.hotkey}[/] answered {answer.prompt!r}:\n{answer.answer}")


async def _read(settings: Settings) -> StatusReport:
    async with chain_of(settings.chain, ", assay explain does without") as chain:
        return await read_status(settings.validator.state_path, chain)


def _miner(
    row: Neuron,
    standing: MinerStanding,
    score: Score,
    rules: RuleParams,
    weight: float,
    emission_rao: int,
) -> MinerStatus:
    return MinerStatus(
        hotkey=row.hotkey,
        uid=row.uid,
        requests=standing.requests,
        audited=standing.audited,
        verified=standing.verified,
        state=_state(standing, score, rules.scoring),
        quality_ppm=score.quality_ppm,
        capacity_tps_milli=score.capacity_tps_milli,
        latency_ppm=score.latency_ppm,
        availability_ppm=score.availability_ppm,
        integrity_ppm=min(score.gate_ppm, score.hold_ppm, score.integrity_ppm),
        score_ppm=score.total_ppm,
        weight=weight,
        incentive=row.incentive,
        emission_rao=emission_rao,
        why=explain(standing, score, rules),
        is_undecided=is_held(standing, rules.scoring),
        contradicted=standing.contradicted,
        blames={str(blame): count for blame, count in standing.blames.items()},
    )


def _state(standing: MinerStanding, score: Score, scoring: ScoringParams) -> str:
    if not is_gate_open(standing, scoring):
        return "closed"
    if is_held(standing, scoring):
        return "held"
    if standing.audited == 0:
        return "new"
    if score.integrity_ppm < PPM:
        return "doubted"
    return "paid" if score.probation_ppm == PPM else "probation"


def _in_words(record: OpinionRecord) -> str:
    return (
        f"{record.miner_hotkey[:8]}.., evidence {power(record.first_log_evidence)} by the referee "
        f"and {power(record.second_log_evidence)} by {record.engine} over {record.answers} answers"
    )


def _answer(prompt: UserPrompt, metagraph: Metagraph) -> AnsweredPrompt:
    hotkey = prompt.answered_by or ""
    row = metagraph.neuron(hotkey)
    return AnsweredPrompt(
        prompt.text, prompt.answer or "", hotkey, None if row is None else row.uid
    )


def _shares(weights: Mapping[int, int]) -> dict[int, float]:
    total = sum(weights.values())
    return {uid: share / total for uid, share in weights.items()}


def _share(value: float) -> str:
    return f"{value:.3f}"
