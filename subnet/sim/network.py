"""seed -> NETWORK -> client: who reaches whom, how late, and who is down.

Crashes and partitions are drawn ahead for the whole run, delays and losses message by message.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from subnet.sim.dice import dice
from subnet.sim.loop import START_SECONDS
from subnet.sim.options import NetworkParams


@dataclass(frozen=True, slots=True)
class _Outages:
    """Disjoint intervals in virtual seconds, in order."""

    starts: tuple[float, ...]
    ends: tuple[float, ...]

    def number_at(self, now: float) -> int | None:
        """Which outage lasts now."""
        place = bisect_right(self.starts, now) - 1
        return place if place >= 0 and now < self.ends[place] else None


class Network:
    """The wire of one run."""

    def __init__(self, params: NetworkParams, hours: float, seed: int) -> None:
        self._params = params
        self._seconds = hours * 3600
        self._seed = seed
        self._wire = dice(seed, "wire")
        self._crashes: dict[str, _Outages] = {}
        self._partitions: dict[str, _Outages] = {}

    def delay_seconds(self) -> float:
        """Of one message, one way."""
        spread = self._params.delay_spread * self._wire.standard_normal()
        return self._params.delay_seconds * math.exp(spread)

    def is_lost(self) -> bool:
        """Whether one message never arrives."""
        return self._wire.random() < self._params.loss

    def is_down(self, engine: str, now: float) -> bool:
        """Whether a miner's machine has crashed and is not back."""
        if engine not in self._crashes:
            params = self._params
            self._crashes[engine] = self._drawn(
                "crash", engine, params.crash_hours * 3600, params.crash_minutes * 60
            )
        return self._crashes[engine].number_at(now) is not None

    def is_cut(self, validator: str, miner: str, now: float) -> bool:
        """Whether a partition lies between the two."""
        if validator not in self._partitions:
            params = self._params
            self._partitions[validator] = self._drawn(
                "partition", validator, params.partition_hours * 3600, params.partition_minutes * 60
            )
        number = self._partitions[validator].number_at(now)
        if number is None:
            return False
        return bool(dice(self._seed, "side", validator, number, miner).integers(2))

    def _drawn(self, what: str, whose: str, apart_seconds: float, seconds: float) -> _Outages:
        chance = dice(self._seed, what, whose)
        now = START_SECONDS
        starts: list[float] = []
        ends: list[float] = []
        while True:
            now += chance.exponential(apart_seconds)
            if now > START_SECONDS + self._seconds:
                return _Outages(tuple(starts), tuple(ends))
            starts.append(now)
            now += chance.exponential(seconds)
            ends.append(now)
