"""bursts -> CAPACITY -> score: how many verified tokens a second a hotkey gives beside all others.

One engine behind k hotkeys gives each of them everything while the others rest, so a rate counts
only beside company. For each block of other hotkeys the lowest rate beside it is found, and the
least of those is the hotkey's capacity. Hotkeys that share an engine share it in every burst that
has them together, so their lowest rates add up to one engine at most. From four bursts beside the
same block on its second lowest counts, so that one bad moment costs nothing for long; whoever would
hide by that finds fewer bursts to hide than it has siblings.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.core.audit import PPM, Ppm

MILLI = 1000
RATES_KEPT = 12
"""Beside one block."""
RATES_TO_FORGIVE = 4
"""Beside one block, from which on the lowest is left out."""
ONE_TOKEN_PER_SECOND_MILLI = MILLI
"""What a hotkey counts for where capacity is not measured."""
_MICROSECONDS = 1_000_000

Count = Annotated[int, Field(ge=0)]
BurstSeconds = Annotated[float, Field(gt=0, le=3600)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapacityParams(_Frozen):
    """How capacity is proven, and what is paid before it is."""

    is_measured: bool = True
    """Off, nobody is probed together and every hotkey counts for one token a second."""
    group_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Hotkeys that one burst probes; half as many again may ride along."""
    bursts_per_day: Annotated[int, Field(ge=1, le=86_400)] = 72
    duration_seconds_min: BurstSeconds = 20.0
    duration_seconds_max: BurstSeconds = 120.0
    answer_seconds_max: BurstSeconds = 30.0
    """What a validator's turn leaves for a burst's last answers."""
    ramp_ppm: Annotated[int, Field(ge=0, le=900_000)] = 250_000
    """Share of a burst in which its load rises; only what arrives after it counts."""
    concurrency_max: Annotated[int, Field(ge=1, le=4096)] = 8
    """Requests in flight to one hotkey, or three quarters of what it declared if that is less."""
    covers_kept: Annotated[int, Field(ge=1, le=10)] = 2
    """Of so many covers, the latest included, the lowest rate counts."""
    shortfall_tolerated_ppm: Ppm = 100_000
    """How far a rate may fall below the same hotkey's highest before the hotkey rides along in
    every burst, while there is room."""
    shortfall_retried_ppm: Ppm = 250_000
    """How far, before the burst is tried again."""
    shortfall_kept_ppm: Ppm = 800_000
    """What is left of a shortfall with each new cover."""
    audition_tps_milli: Annotated[int, Field(ge=0, le=1_000_000_000)] = 100
    """Thousandths of a token a second that count for who was never in a burst."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.duration_seconds_min > self.duration_seconds_max:
            raise ValueError("duration_seconds_min must not lie above duration_seconds_max")
        return self


class CoverRates(_Frozen):
    """What one hotkey gave during one cover."""

    cover: int
    beside: dict[int, tuple[Count, ...]]
    """By block: its rates in the latest bursts with it, thousandths of a token a second."""


class Capacity(_Frozen):
    """What bursts have shown of one hotkey."""

    met_ppm: Ppm = 0
    """Which share of the others it has met since it joined."""
    covers: tuple[CoverRates, ...] = ()
    """The latest last."""
    shortfall_ppm: Ppm = 0
    """How much its rate depended on its company; fades with each cover."""


class BurstResult(_Frozen):
    """What one burst showed of one hotkey; enough to fold it in again."""

    cover: int
    burst: int
    """Which interval of the clock it fell into."""
    beside: tuple[int, ...]
    """Blocks of the cover that were there; its own only if it rode along."""
    met_ppm: Ppm
    """Share of a cover that this was for it; 0 for a burst that is tried again."""
    rate_tps_milli: Count


def users_max(declared: int, params: CapacityParams) -> int:
    """How many users of a burst one hotkey gets: within the part of its slots that is open to all.

    A miner keeps its last quarter of slots for callers that run less than their share by stake.
    """
    return min(params.concurrency_max, max(1, declared * 3 // 4))


def tokens_inside(token_times_us: Sequence[int], sent_us: int, window: range) -> int:
    """How many tokens of one answer arrived in a burst's window.

    `token_times_us` count from its sending at `sent_us`; `window` is in microseconds of the same
    clock as `sent_us`.
    """
    return sum(window.start <= sent_us + time < window.stop for time in token_times_us)


def credit_ppm(tokens: int, latency_ppm: int) -> int:
    """What so many tokens of one answer add to a burst: millionths of a token.

    Tokens of an answer beyond the latency bars count for less, as its pay does.
    """
    return tokens * latency_ppm


def rate_tps_milli(credits_ppm: int, window: range) -> int:
    """Thousandths of a token a second, rounded down. `credits_ppm` is the sum over verified answers
    of `credit_ppm`."""
    return credits_ppm * MILLI * _MICROSECONDS // (PPM * len(window))


def after_burst(capacity: Capacity, result: BurstResult, params: CapacityParams) -> Capacity:
    """The capacity after one more burst."""
    covers, shortfall = capacity.covers, capacity.shortfall_ppm
    if not covers or covers[-1].cover != result.cover:
        covers = (*covers, CoverRates(cover=result.cover, beside={}))[-params.covers_kept :]
        shortfall = shortfall * params.shortfall_kept_ppm // PPM
    latest = covers[-1]
    beside = dict(latest.beside)
    for block in result.beside:
        beside[block] = (*beside.get(block, ()), result.rate_tps_milli)[-RATES_KEPT:]
    covers = (*covers[:-1], CoverRates(cover=latest.cover, beside=beside))
    return Capacity(
        met_ppm=min(PPM, capacity.met_ppm + result.met_ppm),
        covers=covers,
        shortfall_ppm=max(shortfall, _shortfall_ppm(covers)),
    )


def proven_tps_milli(capacity: Capacity) -> int | None:
    """The lowest rate beside any block, thousandths of a token a second; None before any burst."""
    return min(_lows(capacity.covers), default=None)


def paid_tps_milli(capacity: Capacity, params: CapacityParams) -> int:
    """What a score takes for capacity: the audition's share at first, all that is proven at last.

    The way between is the third power of the share of company met: two hotkeys on one engine that
    have not met yet gain by it at most a twentieth of one cover's pay.
    """
    if not params.is_measured:
        return ONE_TOKEN_PER_SECOND_MILLI
    met, whole = capacity.met_ppm**3, PPM**3
    proven = proven_tps_milli(capacity) or 0
    return (proven * met + params.audition_tps_milli * (whole - met)) // whole


def has_met_everybody(capacity: Capacity, params: CapacityParams) -> bool:
    """Whether all that it proved is paid."""
    return not params.is_measured or capacity.met_ppm == PPM


def _lows(covers: Sequence[CoverRates]) -> list[int]:
    """The lowest rate beside each block, or the second lowest of many."""
    return [
        sorted(rates)[1] if len(rates) >= RATES_TO_FORGIVE else min(rates)
        for cover in covers
        for rates in cover.beside.values()
    ]


def _shortfall_ppm(covers: Sequence[CoverRates]) -> int:
    lows = _lows(covers)
    highest = max(lows, default=0)
    return 0 if highest == 0 else PPM - min(lows) * PPM // highest
