"""bursts -> CAPACITY -> score: how many verified tokens a second a hotkey gives beside all others.

One engine behind k hotkeys gives each of them everything while the others rest, so a rate counts
only beside company. Beside each block of other hotkeys the latest rate counts, and of those the
least; where all hotkeys are one block, the mean of the latest. Hotkeys that share an engine share
it in every burst that has them together, and neither a least nor a mean over the same bursts adds
up to more than the rates do: one engine, however it is split and whoever takes turns.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.core.audit import PPM, Ppm

MILLI = 1000
ONE_BLOCK = 0
"""The number of the cover in which all hotkeys are one block: no cover differs from the next."""
RATES_KEPT = 6
"""Where all hotkeys are one block: the mean of the latest counts. Among several blocks one rate
beside each is kept: who rides along has more of them, and a mean's least would lie above that of
others for its smaller noise alone."""
ONE_TOKEN_PER_SECOND_MILLI = MILLI
"""What a hotkey counts for where capacity is not measured."""
_MICROSECONDS = 1_000_000

Count = Annotated[int, Field(ge=0)]
BurstSeconds = Annotated[float, Field(gt=0, le=3600)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapacityParams(_Frozen):
    """How capacity is proven."""

    is_measured: bool = True
    """Off, nobody is probed together and every hotkey counts for one token a second."""
    group_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Hotkeys that one burst probes; half as many again may ride along."""
    bursts_per_day: Annotated[int, Field(ge=1, le=86_400)] = 72
    duration_seconds_min: BurstSeconds = 20.0
    duration_seconds_max: BurstSeconds = 120.0
    answer_seconds_max: BurstSeconds = 30.0
    """What a validator's turn leaves for a burst's last answers."""
    ramp_ppm: Annotated[int, Field(ge=0, le=900_000)] = 100_000
    """Share of the shortest burst in which the load of each rises."""
    concurrency_max: Annotated[int, Field(ge=1, le=4096)] = 64
    """Requests in flight to one hotkey at most; else the load follows what it declares."""
    covers_kept: Annotated[int, Field(ge=1, le=10)] = 2
    """Of so many covers, the latest included, the lowest mean counts."""
    shortfall_tolerated_ppm: Ppm = 100_000
    """How far one mean may lie below the same hotkey's highest before the hotkey rides along in
    every burst, while there is room."""
    shortfall_retried_ppm: Ppm = 250_000
    """How far one rate may lie below it, before the burst is tried again."""
    shortfall_kept_ppm: Ppm = 800_000
    """What is left of a shortfall with each new cover."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.duration_seconds_min > self.duration_seconds_max:
            raise ValueError("duration_seconds_min must not lie above duration_seconds_max")
        return self


class CoverRates(_Frozen):
    """What one hotkey gave during one cover."""

    cover: int
    met_ppm: Ppm = 0
    """Which share of the others it has met in it."""
    beside: dict[int, dict[int, Count]] = {}
    """By block: by burst, its rates in the latest bursts with it, thousandths of a token a second.
    A burst's second try stands instead of the first."""

    @property
    def latest_burst(self) -> int:
        """The last one that it holds."""
        return max(max(rates) for rates in self.beside.values())


class Capacity(_Frozen):
    """What bursts have shown of one hotkey."""

    met_ppm: Ppm = 0
    """Which share of the others it has met at most within one cover."""
    covers: tuple[CoverRates, ...] = ()
    """The latest last."""
    past_shortfall_ppm: Ppm = 0
    """How much its rate depended on its company in earlier covers; fades with each."""

    @property
    def shortfall_ppm(self) -> int:
        """How much its rate depends on its company, by all that is remembered."""
        return max(self.past_shortfall_ppm, _shortfall_ppm(self.covers))


class BurstResult(_Frozen):
    """What one burst showed of one hotkey; enough to fold it in again."""

    cover: int
    burst: int
    """Its number; the latest has the highest."""
    beside: tuple[int, ...]
    """Blocks of the cover that were there; its own only if it rode along."""
    met_ppm: Ppm
    """Share of a cover that this was for it; 0 for a second try."""
    rate_tps_milli: Count


def users_max(declared: int, params: CapacityParams) -> int:
    """How many users of a burst one hotkey gets: three quarters of its slots, rounded up.

    A miner keeps its last quarter of slots for callers that run less than their share by stake.
    """
    return min(params.concurrency_max, -(-declared * 3 // 4))


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
    """The capacity after one more burst, in whatever order their audits end."""
    others = [one for one in capacity.covers if one.cover != result.cover]
    is_new = len(others) == len(capacity.covers)
    before = next((one for one in capacity.covers if one.cover == result.cover), None)
    latest = _after(before or CoverRates(cover=result.cover), result)
    covers = sorted([*others, latest], key=lambda one: one.latest_burst)[-params.covers_kept :]
    if latest not in covers:
        return capacity
    past = capacity.past_shortfall_ppm
    if is_new and covers[-1] is latest:
        past = capacity.shortfall_ppm * params.shortfall_kept_ppm // PPM
    return Capacity(
        met_ppm=max(capacity.met_ppm, latest.met_ppm),
        covers=tuple(covers),
        past_shortfall_ppm=past,
    )


def proven_tps_milli(capacity: Capacity) -> int | None:
    """The lowest mean beside any block, thousandths of a token a second; None before any burst."""
    return min(_means(capacity.covers), default=None)


def paid_tps_milli(capacity: Capacity, params: CapacityParams) -> int:
    """What a score takes for capacity: nothing before the first burst, all that is proven at last.

    The way between is the third power of the share of company met: two hotkeys on one engine gain
    by not having met yet about a fourteenth of one later cover's pay (docs/scoring.md).
    """
    if not params.is_measured:
        return ONE_TOKEN_PER_SECOND_MILLI
    proven = proven_tps_milli(capacity) or 0
    return int(proven * capacity.met_ppm**3 // PPM**3)


def has_met_everybody(capacity: Capacity, params: CapacityParams) -> bool:
    """Whether all that it proved is paid."""
    return not params.is_measured or capacity.met_ppm == PPM


def has_fallen(capacity: Capacity, rate_tps_milli: int, params: CapacityParams) -> bool:
    """Whether one more rate lies so far below the hotkey's best that it asks for a second try; a
    first one does if it is nothing at all."""
    best = max(_means(capacity.covers), default=1)
    return rate_tps_milli * PPM < best * (PPM - params.shortfall_retried_ppm)


def _after(rates: CoverRates, result: BurstResult) -> CoverRates:
    kept = RATES_KEPT if result.cover == ONE_BLOCK else 1
    beside = dict(rates.beside)
    for block in result.beside:
        found = {**beside.get(block, {}), result.burst: result.rate_tps_milli}
        beside[block] = dict(sorted(found.items())[-kept:])
    return CoverRates(
        cover=rates.cover,
        met_ppm=min(PPM, rates.met_ppm + result.met_ppm),
        beside=dict(sorted(beside.items())),
    )


def _means(covers: Sequence[CoverRates]) -> list[int]:
    """The mean rate beside each block, rounded down."""
    return [
        sum(rates.values()) // len(rates) for cover in covers for rates in cover.beside.values()
    ]


def _shortfall_ppm(covers: Sequence[CoverRates]) -> int:
    means = _means(covers)
    highest = max(means, default=0)
    return 0 if highest == 0 else PPM - min(means) * PPM // highest
