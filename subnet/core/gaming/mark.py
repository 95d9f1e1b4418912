"""exchange -> MARK: the little that is kept of every exchange, so that gaming can be looked for.

A sketch stands for an answer's words: enough to see that two answers are nearly the same, too
little to read either.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from subnet.core.audit import Traffic

SHINGLE_TOKENS: Final = 4
SHINGLES_MIN: Final = 8
"""Shorter answers coincide by chance, so they get no sketch."""
SKETCH_WORDS: Final = 64


@dataclass(frozen=True, slots=True)
class ExchangeMark:
    """What is kept of one exchange."""

    request_id: str
    miner_hotkey: str
    traffic: Traffic
    prompt_digest: str
    """First 16 hex digits of SHA-256 over the prompt's token ids: equal for equal prompts."""
    sent_at_ns: int
    fault: str | None
    """Why there is no sound answer."""
    first_token_us: int
    total_us: int
    tokens: int
    sketch: bytes
    """See `sketch_of`; empty without one."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A mark with what its audit found, if it was audited."""

    mark: ExchangeMark
    family: str
    """Benchmark family; empty for users' prompts and for answers without an audit."""
    is_loud: bool | None
    """Whether any token's margin lay above the quiet bucket; None if nobody could judge."""
    grade: float | None


def ids_digest(token_ids: Sequence[int]) -> str:
    """16 hex digits, equal for equal prompts."""
    return hashlib.sha256(np.asarray(token_ids, dtype="<u4").tobytes()).hexdigest()[:16]


def sketch_of(token_ids: Sequence[int]) -> bytes:
    """MinHash of the answer's 4-token shingles: 64 words of 32 bits, little-endian.

    Two sketches agree in each word with probability equal to the shingles' Jaccard similarity.
    Empty for an answer of less than 11 tokens.
    """
    count = len(token_ids) - SHINGLE_TOKENS + 1
    if count < SHINGLES_MIN:
        return b""
    tokens = np.asarray(token_ids, dtype=np.uint64)
    shingles = np.zeros(count, dtype=np.uint64)
    for place in range(SHINGLE_TOKENS):
        shingles = shingles * _BASE + tokens[place : place + count] + np.uint64(1)
    shingles ^= shingles >> np.uint64(31)
    mixed = shingles[None, :] * _FACTORS[:, None] + _TERMS[:, None]
    return bytes((mixed >> np.uint64(32)).min(axis=1).astype("<u4").tobytes())


def likeness(one: bytes, other: bytes) -> float:
    """The estimated Jaccard similarity of two answers' shingles, in [0, 1]."""
    assert len(one) == len(other) == 4 * SKETCH_WORDS
    same = np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")
    return float(same.mean())


def _words(label: bytes, count: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    stream = hashlib.shake_256(b"assay/sketch/1\n" + label).digest(8 * count)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)


_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_FACTORS: Final = _words(b"factor", SKETCH_WORDS) | np.uint64(1)
_TERMS: Final = _words(b"term", SKETCH_WORDS)
