"""records, standings -> PACKED: what a statement closes, as it is kept.

An epoch's records shrink tenfold when deflated together, and nobody reads one of them alone. It
takes seconds for a large subnet's epoch: a thread's work.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subnet.core.standing import MinerStanding
from subnet.core.statement import OpenRecords

FAST: Final = 1
"""Of zlib's levels: half the time of the usual one for a tenth more bytes."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Deflated lines of JSON."""

    last_sequence: int
    """The store's own number of the last record."""
    standings: bytes
    records: bytes


def pack(records: OpenRecords, standings: Sequence[MinerStanding]) -> Packed:
    """The records, and the standings that they led to."""
    return Packed(
        last_sequence=records.last_sequence,
        standings=_deflated([one.model_dump_json().encode() for one in standings]),
        records=_deflated(records.lines),
    )


def unpacked(blob: bytes) -> list[bytes]:
    """The lines."""
    return zlib.decompress(blob).splitlines()


def _deflated(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"".join(line + b"\n" for line in lines), FAST)
