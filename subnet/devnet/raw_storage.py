"""Raw storage as clients read it: hashed keys in, SCALE bytes out, at any block.

Most items come straight from the state. A few are facts about the block itself, or follow from
others, and are computed here instead of being written every block.
"""

from collections.abc import Callable
from typing import Any

from subnet.devnet.chain import Chain
from subnet.devnet.schema.storage import STORAGE
from subnet.devnet.state import Reader, netuids
from subnet.devnet.store import Block

_PREFIX_BYTES = 32


class RawStorage:
    """Reads of one chain by raw key."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        codec = chain.metadata.codec
        self._items = {
            bytes(codec.storage_prefix(pallet, name)): (pallet, name)
            for pallet, items in STORAGE.items()
            for name in items
        }
        self._computed: dict[str, Callable[..., Any]] = {
            "System.Number": lambda block, _: block.number,
            "System.ParentHash": lambda block, _: block.parent,
            "System.Events": lambda block, _: block.events,
            "System.BlockHash": self._block_hash,
            "Timestamp.Now": lambda block, _: block.timestamp_ms,
            "MevShield.NextKey": lambda *_: "0x" + chain.shield.public_key.hex(),
            "MevShield.CurrentKey": lambda *_: "0x" + chain.shield.public_key.hex(),
            "SubtensorModule.BlocksSinceLastStep": _blocks_since_last_step,
        }

    def get(self, raw_key: bytes, block: Block) -> bytes | None:
        """The SCALE bytes under a key, or None. Raises ValueError for a key that is malformed."""
        found = self._items.get(raw_key[:_PREFIX_BYTES])
        if found is None:
            return None
        pallet, name = found
        item = STORAGE[pallet][name]
        key: list[Any] = []
        if item.keys:
            key = self._chain.metadata.codec.decode_storage_key_params(pallet, name, raw_key, 0)
        elif len(raw_key) != _PREFIX_BYTES:
            return None
        value = self._value(f"{pallet}.{name}", key, block)
        return None if value is None else self._encode(item.value, value)

    def keys(self, prefix: bytes, count: int, start: bytes, block: Block) -> list[bytes]:
        """Up to `count` present keys under a prefix and behind `start`, in order."""
        found = self._items.get(prefix[:_PREFIX_BYTES])
        if found is None:
            return []
        pallet, name = found
        present = self._present(f"{pallet}.{name}", self._chain.reader(block))
        raw = self._chain.metadata.codec.storage_key_batch(pallet, name, present)
        matching = sorted(key for key in map(bytes, raw) if key.startswith(prefix) and key > start)
        return matching[:count]

    def _present(self, item: str, reader: Reader) -> list[list[Any]]:
        if item == "SubtensorModule.BlocksSinceLastStep":
            return [[netuid] for netuid in netuids(reader)]
        return [list(key) for key, _ in reader.entries(item)]

    def _value(self, item: str, key: list[Any], block: Block) -> Any:
        computed = self._computed.get(item)
        if computed is not None:
            if item == "SubtensorModule.BlocksSinceLastStep":
                return computed(self._chain.reader(block), *key)
            return computed(block, key)
        return self._chain.reader(block).peek(item, *key)

    def _encode(self, kind: str, value: Any) -> bytes:
        if isinstance(value, dict) and set(value) == {"scale"}:
            return bytes.fromhex(value["scale"][2:])
        return self._chain.metadata.encode(kind, value)

    def _block_hash(self, block: Block, key: list[Any]) -> str | None:
        return self._chain.hash_of(key[0]) if key[0] < block.number else None


def _blocks_since_last_step(reader: Reader, netuid: int) -> int:
    last = reader.get("SubtensorModule.LastMechansimStepBlock", netuid)
    return int(reader.number - last)
