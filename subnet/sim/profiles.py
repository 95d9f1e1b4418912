"""attack bench -> PROFILES -> simulated miners: what answers look like, measured and never assumed.

One row is one real answer that the real referee scored and the real grader graded: how many tokens,
which margins, which mean log-probability gap, which grade. The simulator draws rows and lets the
real detector decide, so that nobody in it is told who cheats.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from protocol.structure import Structure
from subnet.core.audit import Traffic, readings
from subnet.core.verification.calibration import CalibrationTable
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import Readings

HONEST: Final = "honest"
FOREIGN_SEED: Final = "replay"
"""What tampered canaries are drawn from: the right answer to another seed."""
FORMAT: Final = "assay/profiles/1"
COLUMNS: Final = (
    *("family", "temperature_milli", "top_p_milli", "is_structured", "prompt_tokens", "tokens"),
    *("finish_reason", "fault", "gap_nats", "margins_logits", "grade"),
)


ANY_STRUCTURE: Final = Structure(kind="json_schema", text="{}")
"""Structured answers are read by their margins alone, whatever the structure says."""


class ProfilesError(Exception):
    """The file is missing, broken, or of another release; the message says which."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredAnswer:
    """One answer as the referee, the exact checks and the grader saw it."""

    family: str
    temperature_milli: int
    top_p_milli: int
    is_structured: bool
    prompt_tokens: int
    tokens: int
    finish_reason: Literal["stop", "length"]
    fault: str | None
    """The first exact check that it fails."""
    gap_nats: float
    """Mean |miner's - referee's| raw log-probability of its tokens."""
    margins_logits: tuple[float, ...]
    """Those above 0; all its other tokens fit perfectly."""
    grade: float | None

    def score(self, tokens: int) -> ClaimScore:
        """What the referee finds in its first `tokens`."""
        loud = self.margins_logits[:tokens]
        return ClaimScore(loud + (0.0,) * (tokens - len(loud)), (self.gap_nats,) * tokens)

    def readings(
        self, table: CalibrationTable, sampling: tuple[int, int, int], *, is_structured: bool
    ) -> Readings | None:
        """What the detector reads in it, as in the answer to a benchmark that was asked for by
        this (temperature, top-p, both in thousandths, top-k)."""
        shape = ANY_STRUCTURE if is_structured else None
        ids = (0,) * self.tokens
        claim = Claim((0,), ids, *sampling, 0, None, self.finish_reason, shape)
        return readings(claim, self.score(self.tokens), table, Traffic.BENCHMARK)

    def row(self) -> list[Any]:
        """The columns as JSON."""
        return [getattr(self, column) for column in COLUMNS]


@dataclass(frozen=True)
class Profiles:
    """Pools of measured answers by the name of the behaviour that gave them."""

    release_digest: str
    calibration_digest: str
    seed: int
    versions: Mapping[str, str]
    pools: Mapping[str, Sequence[MeasuredAnswer]]

    @cached_property
    def _by_kind(self) -> dict[str, dict[tuple[Any, ...], list[MeasuredAnswer]]]:
        kinds: dict[str, dict[tuple[Any, ...], list[MeasuredAnswer]]] = {}
        for name, answers in self.pools.items():
            found: dict[tuple[Any, ...], list[MeasuredAnswer]] = {(): list(answers)}
            for one in answers:
                sampling = (one.temperature_milli, one.top_p_milli)
                for kind in (
                    (one.family, one.is_structured, *sampling),
                    (one.family, one.is_structured),
                    sampling,
                ):
                    found.setdefault(kind, []).append(one)
            kinds[name] = found
        return kinds

    def alike(
        self, name: str, family: str, temperature_milli: int, top_p_milli: int, *, structured: bool
    ) -> list[MeasuredAnswer]:
        """The answers of one behaviour that are most like those to a request of this kind.

        Of the same family, structure and sampling where any were measured; else of the same family
        and structure, the same sampling, or any. Raises ProfilesError for an unknown behaviour.
        """
        found = self._by_kind.get(name)
        if found is None:
            raise ProfilesError(f"no behaviour {name} was measured; known: {', '.join(self.pools)}")
        sampling = (temperature_milli, top_p_milli)
        for kind in ((family, structured, *sampling), (family, structured), sampling):
            if kind in found:
                return found[kind]
        return found[()]

    @cached_property
    def families(self) -> frozenset[str]:
        """Those that honest answers were measured of."""
        return frozenset(one.family for one in self.pools[HONEST])

    def write(self, path: Path) -> None:
        """One line a pool, so that a diff shows what was measured again."""
        head = {
            "format": FORMAT,
            "release_digest": self.release_digest,
            "calibration_digest": self.calibration_digest,
            "seed": self.seed,
            "versions": dict(self.versions),
            "columns": COLUMNS,
        }
        lines = [json.dumps({name: value})[1:-1] for name, value in head.items()]
        pools = [
            f" {json.dumps(name)}: "
            + json.dumps([one.row() for one in answers], separators=(",", ":"))
            for name, answers in self.pools.items()
        ]
        text = "{" + ",\n".join(lines) + ',\n"pools": {\n' + ",\n".join(pools) + "\n}}\n"
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(text)
        unfinished.replace(path)


def read_profiles(path: Path) -> Profiles:
    """Raises ProfilesError."""
    try:
        found = json.loads(path.read_text())
        if found.get("format") != FORMAT or tuple(found["columns"]) != COLUMNS:
            raise ProfilesError(f"{path} is not of format {FORMAT}: run assay lab profiles")
        pools = {
            name: [_answer(row) for row in rows] for name, rows in found["pools"].items() if rows
        }
        for needed in (HONEST, FOREIGN_SEED):
            if needed not in pools:
                raise ProfilesError(f"{path} holds no answers of {needed}: run assay lab profiles")
        return Profiles(
            release_digest=found["release_digest"],
            calibration_digest=found["calibration_digest"],
            seed=found["seed"],
            versions=found["versions"],
            pools=pools,
        )
    except OSError as error:
        raise ProfilesError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfilesError(f"{path} is broken: {error}") from error


def _answer(row: Sequence[Any]) -> MeasuredAnswer:
    values = dict(zip(COLUMNS, row, strict=True))
    return MeasuredAnswer(**{**values, "margins_logits": tuple(values["margins_logits"])})
