"""flags -> OPTIONS -> simulation: how long, how many, how much load, and what the world is like."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from subnet.config import Settings

BLOCK_SECONDS: Final = 12.0
BURST_SECONDS_MAX: Final = 20.0
"""Of a simulated one: what comes later counts for nothing, and its load is most of a run."""
STREAMS_SCALE: Final = 4
"""Concurrent requests that one simulated request stands for."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EPOCHS_MIN: Final = 3
"""Weights of the first epoch count in the second, and pay from the third: less shows nothing."""
MINERS_MAX: Final = 4096
VALIDATORS_MAX: Final = 64


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkParams(_Frozen):
    """What the wire between validators and miners does; all of it is drawn by seed."""

    delay_seconds: Positive = 0.06
    """Median one-way delay."""
    delay_spread: Annotated[float, Field(ge=0, le=3)] = 0.4
    """Of the delay's logarithm. Messages are delayed one by one, so they overtake each other."""
    loss: Share = 0.0005
    """Of messages; whoever waits for one waits until its own timeout."""
    crash_hours: Positive = 240.0
    """A miner's mean time between crashes."""
    crash_minutes: Positive = 10.0
    """Mean time until it is back."""
    partition_hours: Positive = 120.0
    """A validator's mean time between partitions; each cuts it off from half of the miners."""
    partition_minutes: Positive = 3.0


class ChainParams(_Frozen):
    """The subnet's economy."""

    tempo_blocks: Annotated[int, Field(ge=2)] = 360
    emission_rao_per_block: Annotated[int, Field(ge=1)] = 820_000_000
    """For miners and validators together, the owner's cut taken off."""
    registration_rao: Annotated[int, Field(ge=0)] = 500_000_000
    """What one hotkey's place costs, once."""
    immunity_epochs: Annotated[int, Field(ge=0)] = 3
    """A hotkey younger than this is not pruned."""
    commit_reveal: bool = True
    yuma3: bool = True


class SimOptions(_Frozen):
    """One run."""

    hours: Positive = 24.0
    miners: Annotated[int, Field(ge=2, le=MINERS_MAX)] = 256
    """Hotkeys, of all strategies together; honest ones fill up."""
    validators: Annotated[int, Field(ge=1, le=VALIDATORS_MAX)] = 4
    seed: Annotated[int, Field(ge=0)] = 0
    load: Positive = 8.0
    """Requests an hour to each miner, of all validators together."""
    prompts_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Users' own, at each validator."""
    bursts_per_day: Annotated[int, Field(ge=1)] = 44
    """Joint probes of each validator; never more than the rules say."""
    network: NetworkParams = NetworkParams()
    chain: ChainParams = ChainParams()

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.epochs < EPOCHS_MIN:
            hours = EPOCHS_MIN * self.epoch_seconds / 3600
            tempo = int(self.hours * 3600 / BLOCK_SECONDS / EPOCHS_MIN + 1e-9)
            shorter = f", or a tempo of at most {tempo}" if tempo >= 2 else ""
            raise ValueError(
                f"{self.hours:g} hours hold {self.epochs} epochs of {self.chain.tempo_blocks} "
                f"blocks, and a run needs {EPOCHS_MIN}: give it {hours:g} hours{shorter}"
            )
        return self

    @property
    def epoch_seconds(self) -> float:
        """Between two epochs."""
        return self.chain.tempo_blocks * BLOCK_SECONDS

    @property
    def epochs(self) -> int:
        """Whole ones in the run."""
        return int(self.hours * 3600 / self.epoch_seconds + 1e-9)


def paced(settings: Settings, options: SimOptions) -> Settings:
    """The owner's settings with the loops' pauses in proportion to the load.

    A validator that asks every two seconds looks at the chain every twelve; one that asks every
    quarter of an hour need not. Bursts are fewer, and one of their users stands for
    `STREAMS_SCALE` (as one stream of an engine does), or they would be nearly all of a run.
    """
    interval = min(3600.0, 3600.0 * options.validators / options.load)
    changes = {
        "probe_interval_seconds": interval,
        "metagraph_refresh_seconds": min(600.0, max(12.0, interval)),
        "handshake_interval_seconds": min(3600.0, max(300.0, 4 * interval)),
        "audit_interval_seconds": min(60.0, max(1.0, interval / 4)),
        "log_level": "error",
    }
    validator = settings.validator.model_copy(update=changes)
    capacity = settings.capacity
    bursts = {
        "bursts_per_day": min(options.bursts_per_day, capacity.bursts_per_day),
        "duration_seconds_max": max(
            capacity.duration_seconds_min, min(BURST_SECONDS_MAX, capacity.duration_seconds_max)
        ),
        "concurrency_max": max(1, round(capacity.concurrency_max / STREAMS_SCALE)),
    }
    capacity = capacity.model_copy(update=bursts)
    return settings.model_copy(update={"validator": validator, "capacity": capacity})
