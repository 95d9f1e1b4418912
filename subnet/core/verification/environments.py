"""miner's fingerprint, referee's fingerprint -> PAIR: was the tolerance measured for these two?

Numerics belong to an engine, its libraries, a dtype and a kind of processor, on both sides. A pair
that nobody measured is inconclusive: it accuses nobody, and an odd fingerprint is no immunity, as
what is inconclusive pays nothing above probation.
"""

from functools import lru_cache
from typing import Final

from pydantic import BaseModel, ConfigDict

from protocol.inference import Environment

CPU: Final = "cpu"


class EnvironmentPair(BaseModel):
    """One combination that calibration measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    miner: Environment
    referee: Environment
    """Its `engine` names the backend and its version, such as `transformers-5.19.0`."""

    def fits(self, miner: Environment, referee: Environment) -> bool:
        """Whether two fingerprints are of this pair's classes."""
        return is_alike(self.miner, miner) and is_alike(self.referee, referee)


@lru_cache(maxsize=1024)
def is_alike(measured: Environment, found: Environment) -> bool:
    """Whether both name one engine, library, dtype and class of device."""
    return classed(measured) == classed(found)


def classed(environment: Environment) -> Environment:
    """The fingerprint with its device's class for the device."""
    return environment.model_copy(update={"device": device_class(environment.device)})


def device_class(device: str) -> str:
    """All CPUs are one class, whatever their vector instructions; a GPU model is its own.

    Engine and referee round to the dtype at the same places on all CPUs and differ in the order
    of fp32 sums (measured: docs/decisions/0010).
    """
    return CPU if device == CPU or device.startswith(f"{CPU}-") else device
