"""What the demo leaves behind: `report.json`, its figures read from the state and the chain."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from subnet.cli.status import StatusReport
from subnet.core.audit import PPM
from subnet.core.capacity import MILLI


@dataclass(frozen=True, slots=True)
class MinerReport:
    """One miner at the end of the demo."""

    name: str
    hotkey: str
    uid: int
    behaviour: str
    audited: int
    score: float
    """1 is full marks at one token a second."""
    tokens_per_second: float
    """What it proved beside all others."""
    integrity: float
    """In [0, 1], as are the next two."""
    weight: float
    incentive: float
    emission_rao: int
    """Earned since the first accepted weights."""
    why: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole demo."""

    seed: int
    block: int
    epochs: int
    """Since the first accepted weights."""
    miners: tuple[MinerReport, ...]
    prompt: str
    answer: str | None
    """None when no miner could be trusted with the prompt."""
    answered_by: str | None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class NamedMiner:
    """A miner of the demo: its name and what it was dealt, which no validator knows."""

    name: str
    behaviour: str
    hotkey: str


def build_report(
    status: StatusReport, seed: int, miners: Sequence[NamedMiner], prompt: str
) -> DemoReport:
    """Join what the validator and the chain say with what was dealt."""
    rows = {row.hotkey: row for row in status.miners}
    names = {miner.hotkey: miner.name for miner in miners}
    answer = next((one for one in status.answers if one.prompt == prompt), None)
    return DemoReport(
        seed=seed,
        block=status.block,
        epochs=status.epochs,
        miners=tuple(
            MinerReport(
                name=miner.name,
                hotkey=miner.hotkey,
                uid=rows[miner.hotkey].uid,
                behaviour=miner.behaviour,
                audited=rows[miner.hotkey].audited,
                score=rows[miner.hotkey].score_ppm / PPM,
                tokens_per_second=rows[miner.hotkey].capacity_tps_milli / MILLI,
                integrity=rows[miner.hotkey].integrity_ppm / PPM,
                weight=rows[miner.hotkey].weight,
                incentive=rows[miner.hotkey].incentive,
                emission_rao=rows[miner.hotkey].emission_rao,
                why=rows[miner.hotkey].why,
            )
            for miner in miners
        ),
        prompt=prompt,
        answer=answer.answer if answer else None,
        answered_by=names[answer.hotkey] if answer else None,
    )
