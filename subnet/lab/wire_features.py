"""arrivals -> FEATURES: everything of a request that a miner can measure without reading it."""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from subnet.lab.watched import SLOW_LATENCY, SLOW_MINERS, Arrival

Matrix = NDArray[np.float64]

BITS: Final = 64
"""Of request id and nonce each."""
FIRST_GAP_SECONDS: Final = 60.0
WINDOWS_SECONDS: Final = (10.0, 60.0)
TIMING: Final = (
    *("gap", "gap before", "in flight", "last 10 s", "last 60 s", "phase", "age", "pay"),
)
WIRE: Final = (
    *("temperature", "top-p", "top-k", "limit", "timeout", "structured"),
    *(f"id bit {n}" for n in range(BITS)),
    *(f"nonce bit {n}" for n in range(BITS)),
)
LENGTH: Final = ("prompt tokens", "schema length", "body bytes")


def timing_of(arrivals: Sequence[Arrival]) -> Matrix:
    """Of one validator's run, in order: when each request came, beside the same miner's others.

    A miner knows what it is paid, so that is here too: the better get more users' prompts.
    """
    start = arrivals[0].at_seconds
    past: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=1000))
    rows = []
    for one in arrivals:
        seen, now = past[one.miner], one.at_seconds
        gap = now - seen[-1] if seen else FIRST_GAP_SECONDS
        before = seen[-1] - seen[-2] if len(seen) > 1 else FIRST_GAP_SECONDS
        recent = (sum(now - at < window for at in seen) for window in WINDOWS_SECONDS)
        pay = SLOW_LATENCY if one.miner < SLOW_MINERS else 1.0
        rows.append(
            (
                np.log(gap + 1e-3),
                np.log(before + 1e-3),
                one.in_flight,
                *recent,
                now % 1,
                now - start,
                pay,
            )
        )
        seen.append(now)
    return np.asarray(rows, dtype=np.float64)


def wire_of(arrivals: Sequence[Arrival]) -> Matrix:
    """Parameters, and the bits of what should be random."""
    rows = []
    for one in arrivals:
        request, sampling = one.request, one.request.sampling
        rows.append(
            (
                *(sampling.temperature_milli, sampling.top_p_milli, sampling.top_k),
                *(sampling.tokens_max, request.timeout_ms, float(sampling.structure is not None)),
                *_bits(request.request_id),
                *_bits(request.nonce),
            )
        )
    return np.asarray(rows, dtype=np.float64)


def length_of(arrivals: Sequence[Arrival]) -> Matrix:
    """How long the prompt is, in tokens and on the wire, and its schema."""
    return np.asarray(
        [
            (
                len(one.request.prompt_token_ids),
                0 if (shape := one.request.sampling.structure) is None else len(shape.text),
                len(one.request.model_dump_json()),
            )
            for one in arrivals
        ],
        dtype=np.float64,
    )


def _bits(word: str) -> list[int]:
    data = np.frombuffer(bytes.fromhex(word), dtype=np.uint8)
    return [int(bit) for bit in np.unpackbits(data)[:BITS]]
