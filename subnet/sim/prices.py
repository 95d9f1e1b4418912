"""price table -> COST: what a simulated miner's GPUs cost, and how fast they are."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from subnet.config import first_problem
from subnet.sim.profiles import HONEST


class PricesError(Exception):
    """The table is missing or broken; the message says how."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Frozen):
    """One kind of GPU at one price."""

    name: str
    usd_per_hour: Annotated[float, Field(gt=0)]
    source: str
    read_on: str
    stream_tokens_per_second: Annotated[float, Field(gt=0)]
    tokens_per_second_max: Annotated[float, Field(gt=0)]
    prefill_tokens_per_second: Annotated[float, Field(gt=0)]
    concurrent_requests_max: Annotated[int, Field(ge=1)]
    """That an honest miner declares."""

    def wider(self, times: float) -> "Gpu":
        """One that serves so many times as many answers at once, each as fast as before."""
        changes = {
            "tokens_per_second_max": self.tokens_per_second_max * times,
            "concurrent_requests_max": round(self.concurrent_requests_max * times),
        }
        return self.model_copy(update=changes)


class Prices(_Frozen):
    """The whole table; the first GPU is what honest miners rent."""

    gpu: Annotated[tuple[Gpu, ...], Field(min_length=1)]
    shares: Mapping[str, Annotated[float, Field(ge=0, le=2)]]
    """GPU seconds of an answer given that way, over those of an honest one."""

    def share(self, behaviour: str) -> float:
        """Of one behaviour; 1 where nothing is saved."""
        return 1.0 if behaviour == HONEST else self.shares.get(behaviour, 1.0)

    def wider(self, times: float) -> "Prices":
        """The same table of GPUs that are so many times as wide."""
        return self.model_copy(update={"gpu": tuple(one.wider(times) for one in self.gpu)})

    def named(self, name: str | None) -> Gpu:
        """The GPU of that name, the first without one. Raises PricesError."""
        if name is None:
            return self.gpu[0]
        found = next((one for one in self.gpu if one.name == name), None)
        if found is None:
            raise PricesError(f"the price table has no GPU {name}")
        return found


def read_prices(path: Path) -> Prices:
    """Raises PricesError."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise PricesError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise PricesError(f"{path}: {first_problem(error)}") from error
    except ValueError as error:
        raise PricesError(f"{path}: {error}") from error
