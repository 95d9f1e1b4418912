"""The V15 runtime metadata: the one document from which the SDK learns to speak to the devnet.

Built twice: defaults and constants are SCALE values of types that only the metadata describes, so
a first draft without them yields the codec that encodes them for the final document.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import bittensor_core

from subnet.devnet import scale
from subnet.devnet.registry import Enum, Named, Registry, Struct, Variant
from subnet.devnet.schema.calls import APIS, CALLS, EVENTS, EXTENSIONS, Fields, constants
from subnet.devnet.schema.storage import STORAGE, Item
from subnet.devnet.schema.types import NAMED, PALLETS

SPEC_NAME = "assay-devnet"
TRANSACTION_VERSION = 1
EXTRINSIC_VERSION = 4
SS58_FORMAT = 42
_HASHERS = {"AccountId": 2}  # Blake2_128Concat; every other key is Identity.
_IDENTITY = 6
_ROOT = "devnet_runtime"

Encoder = Callable[[str, Any], bytes]


@dataclass(frozen=True)
class Metadata:
    """The document, its codec, and lookups of type ids by our own type names."""

    blob: bytes
    spec_version: int
    codec: bittensor_core.Runtime = field(repr=False)
    type_ids: dict[str, int] = field(repr=False)

    def encode(self, kind: str, value: Any) -> bytes:
        """SCALE bytes of a value of one of the schema's types."""
        return bytes(self.codec.encode(self.type_ref(kind), value))

    def decode(self, kind: str, data: bytes) -> Any:
        """The plain value of SCALE bytes. Raises ValueError when they do not fit the type."""
        return self.codec.decode(self.type_ref(kind), data, True)

    def type_ref(self, kind: str) -> str:
        """A type as the codec names it."""
        return f"scale_info::{self.type_ids[kind]}"


def build_metadata(block_time_ms: int) -> Metadata:
    """The devnet's metadata for a block time. The same schema always gives the same bytes."""
    draft, ids = _document(block_time_ms, None)
    codec = bittensor_core.Runtime(draft, 0, TRANSACTION_VERSION, SS58_FORMAT)

    def encode(kind: str, value: Any) -> bytes:
        return bytes(codec.encode(f"scale_info::{ids[kind]}", value))

    blob, ids = _document(block_time_ms, encode)
    digest = blake2b(blob, digest_size=32).digest()
    spec_version = int.from_bytes(digest[:4], "little") >> 1
    return Metadata(
        blob=blob,
        spec_version=spec_version,
        codec=bittensor_core.Runtime(blob, spec_version, TRANSACTION_VERSION, SS58_FORMAT),
        type_ids=ids,
    )


def api_inputs(api: str, method: str) -> str:
    """The type that a runtime API's encoded inputs have: the only input's, or their tuple's."""
    kinds = list(APIS[api][method].inputs.values())
    return kinds[0] if len(kinds) == 1 else f"({','.join(kinds)})"


def _named() -> dict[str, Named]:
    named = dict(NAMED)
    for pallet, calls in CALLS.items():
        named[f"{pallet}Call"] = Enum(
            {
                name: Variant(index, dict(fields))
                for index, (name, fields) in enumerate(calls.items())
            },
            f"pallet_{pallet.lower()}::pallet::Call",
        )
    for pallet, events in EVENTS.items():
        named[f"{pallet}Event"] = Enum(
            {name: Variant(index, fields) for index, (name, fields) in enumerate(events.items())},
            f"pallet_{pallet.lower()}::pallet::Event",
        )
    for outer, members in (("Call", CALLS), ("Event", EVENTS)):
        named[f"Runtime{outer}"] = Enum(
            {name: Variant(PALLETS[name], (f"{name}{outer}",)) for name in members},
            f"{_ROOT}::Runtime{outer}",
        )
    failing = [name for name in PALLETS if f"{name}Error" in named]
    named["RuntimeError"] = Enum(
        {name: Variant(PALLETS[name], (f"{name}Error",)) for name in failing},
        f"{_ROOT}::RuntimeError",
    )
    named["Runtime"] = Struct({}, f"{_ROOT}::Runtime")
    named["Extrinsic"] = Struct(
        ("Vec<u8>",), "sp_runtime::generic::unchecked_extrinsic::UncheckedExtrinsic"
    )
    return named


def _document(block_time_ms: int, encode: Encoder | None) -> tuple[bytes, dict[str, int]]:
    registry = Registry(_named())
    pallets = scale.vector(
        _pallet(registry, name, index, block_time_ms, encode) for name, index in PALLETS.items()
    )
    extrinsic = (
        bytes([EXTRINSIC_VERSION])
        + b"".join(
            registry.ref(name) for name in ("MultiAddress", "RuntimeCall", "MultiSignature", "Era")
        )
        + scale.vector(
            scale.text(name) + registry.ref(kind) + registry.ref(implied)
            for name, kind, implied in EXTENSIONS
        )
    )
    runtime = registry.ref("Runtime")
    apis = scale.vector(
        scale.text(api)
        + scale.vector(_method(registry, api, name) for name in methods)
        + scale.vector([])
        for api, methods in APIS.items()
    )
    outer = b"".join(registry.ref(name) for name in ("RuntimeCall", "RuntimeEvent", "RuntimeError"))
    tail = pallets + extrinsic + runtime + apis + outer + scale.vector([])
    return b"meta" + bytes([15]) + registry.blob() + tail, registry.ids


def _method(registry: Registry, api: str, name: str) -> bytes:
    method = APIS[api][name]
    registry.id(api_inputs(api, name))
    return (
        scale.text(name)
        + scale.vector(
            scale.text(argument) + registry.ref(kind) for argument, kind in method.inputs.items()
        )
        + registry.ref(method.output)
        + scale.vector([])
    )


def _pallet(
    registry: Registry, name: str, index: int, block_time_ms: int, encode: Encoder | None
) -> bytes:
    items = STORAGE.get(name)
    storage = None
    if items is not None:
        storage = scale.text(name) + scale.vector(
            _item(registry, item_name, item, encode) for item_name, item in items.items()
        )

    def member(kind: str, members: dict[str, Any] | dict[str, Fields]) -> bytes:
        return scale.option(registry.ref(f"{name}{kind}") if name in members else None)

    return (
        scale.text(name)
        + scale.option(storage)
        + member("Call", CALLS)
        + member("Event", EVENTS)
        + scale.vector(
            scale.text(constant)
            + registry.ref(kind)
            + scale.blob(encode(kind, value) if encode else b"")
            + scale.vector([])
            for constant, (kind, value) in constants(block_time_ms).get(name, {}).items()
        )
        + scale.option(registry.ref(f"{name}Error") if f"{name}Error" in registry.named else None)
        + bytes([index])
        + scale.vector([])
    )


def _item(registry: Registry, name: str, item: Item, encode: Encoder | None) -> bytes:
    value = registry.ref(item.value)
    if not item.keys:
        kind = b"\x00" + value
    else:
        key = item.keys[0] if len(item.keys) == 1 else f"({','.join(item.keys)})"
        hashers = scale.vector(bytes([_HASHERS.get(part, _IDENTITY)]) for part in item.keys)
        kind = b"\x01" + hashers + registry.ref(key) + value
    optional = item.default is None
    default = b"\x00" if optional or encode is None else encode(item.value, item.default)
    return (
        scale.text(name)
        + bytes([0 if optional else 1])
        + kind
        + scale.blob(default)
        + scale.vector([])
    )
