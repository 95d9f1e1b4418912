"""What a call sees while it runs: state, who signed, events to leave, and the ways to fail."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bittensor._generated.errors import ERRORS

from subnet.devnet.drand import Pulses, PulseSource
from subnet.devnet.params import DevnetParams
from subnet.devnet.schema.types import PALLETS
from subnet.devnet.state import State

_INDEXES = {(info.pallet, info.name): index for (_, index), info in ERRORS.items()}
Event = dict[str, Any]


class DispatchError(Exception):
    """A call failed under the rules; the extrinsic is included, its changes are not.

    `value` is the encodable dispatch error, `name` a pallet's own word for it.
    """

    def __init__(self, value: Any, name: str = "") -> None:
        super().__init__(name or str(value))
        self.value = value
        self.name = name


def module_error(name: str, pallet: str = "SubtensorModule") -> DispatchError:
    """A pallet's error by its name. Raises KeyError when the chain has no such error."""
    index = _INDEXES[pallet, name]
    value = {"Module": {"index": PALLETS[pallet], "error": f"0x{index:02x}000000"}}
    return DispatchError(value, name)


def token_error(name: str) -> DispatchError:
    """An error of the balances themselves."""
    return DispatchError({"Token": name})


@dataclass
class Context:
    """One dispatch. `root` is set for calls that came through sudo."""

    state: State
    params: DevnetParams
    number: int
    signer: str = ""
    root: bool = False
    call_data: bytes = b""
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    pulses: PulseSource = field(default_factory=Pulses)

    def get(self, item: str, *key: Any) -> Any:
        """A value of the runtime's main pallet."""
        return self.state.get(f"SubtensorModule.{item}", *key)

    def put(self, item: str, *key_and_value: Any) -> None:
        """Set a value of the runtime's main pallet."""
        self.state.put(f"SubtensorModule.{item}", *key_and_value)

    def emit(self, name: str, attributes: Any, pallet: str = "SubtensorModule") -> None:
        """Leave an event in the block."""
        self.events.append((pallet, name, attributes))


Handler = Callable[[Context, dict[str, Any]], None]


def ensure(condition: bool, name: str, pallet: str = "SubtensorModule") -> None:
    """Fail the call with a pallet's error unless the condition holds."""
    if not condition:
        raise module_error(name, pallet)


def as_bytes(value: Any) -> bytes:
    """Bytes of a decoded `Vec<u8>`, which the codec gives as 0x-hex, text or a list."""
    if isinstance(value, str):
        return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    return bytes(value)
