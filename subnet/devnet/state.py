"""State in memory: the present as plain dictionaries, the recent past as undo records.

Reads of the head touch no database. A read pinned to one of the last few hundred blocks is the
present seen through the undo records since; older blocks are read from the store.
"""

from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Protocol

from subnet.devnet.schema.storage import STORAGE
from subnet.devnet.store import Key, Store

RECENT_BLOCKS_MAX = 256
_DEFAULTS = {
    f"{pallet}.{name}": item.default
    for pallet, items in STORAGE.items()
    for name, item in items.items()
}


class Reader(Protocol):
    """State after one block."""

    number: int

    def get(self, item: str, *key: Any) -> Any:
        """A value, or the item's default (None for an optional item)."""
        ...

    def peek(self, item: str, *key: Any) -> Any:
        """A value, or None when it is absent, whatever the default."""
        ...

    def entries(self, item: str, *prefix: Any) -> list[tuple[Key, Any]]:
        """All present values of an item whose keys begin with `prefix`."""
        ...


class State:
    """The head's state, and the only place that changes it.

    Values are never changed in place: `get` hands out the stored object, `put` replaces it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._items: dict[str, dict[Key, Any]] = {}
        self._journal: list[tuple[str, Key, Any]] = []
        self._undo: deque[tuple[int, dict[tuple[str, Key], Any]]] = deque(maxlen=RECENT_BLOCKS_MAX)
        self.number = 0
        for item, key, value in store.current():
            self._items.setdefault(item, {})[key] = value

    def get(self, item: str, *key: Any) -> Any:
        """A value, or the item's default."""
        value = self.peek(item, *key)
        return default_of(item) if value is None else value

    def peek(self, item: str, *key: Any) -> Any:
        """A value, or None."""
        return self._items.get(item, {}).get(key)

    def entries(self, item: str, *prefix: Any) -> list[tuple[Key, Any]]:
        """All present values of an item whose keys begin with `prefix`."""
        return _matching(self._items.get(item, {}), prefix)

    def put(self, item: str, *key_and_value: Any) -> None:
        """Set a value: the key's parts, then the value; None removes."""
        *parts, value = key_and_value
        key = tuple(parts)
        rows = self._items.setdefault(item, {})
        old = rows.get(key)
        if old == value and type(old) is type(value):
            return
        self._journal.append((item, key, old))
        _assign(rows, key, value)

    def savepoint(self) -> int:
        """A mark to roll back to."""
        return len(self._journal)

    def rollback(self, savepoint: int) -> None:
        """Undo everything since the mark."""
        while len(self._journal) > savepoint:
            item, key, old = self._journal.pop()
            _assign(self._items[item], key, old)

    def changes(self) -> list[tuple[str, Key, Any]]:
        """What the block under construction changed: newest values, None for removed."""
        first: dict[tuple[str, Key], Any] = {}
        for item, key, old in self._journal:
            first.setdefault((item, key), old)
        pairs = [(item, key, self._items[item].get(key)) for item, key in first]
        return [change for change in pairs if change[2] != first[change[0], change[1]]]

    def load(self, number: int) -> None:
        """Take what is in memory as the state after a block, with no past to look back on."""
        self._journal.clear()
        self._undo.clear()
        self.number = number

    def seal(self, number: int) -> None:
        """Close the block under construction; its changes can no longer be rolled back."""
        first: dict[tuple[str, Key], Any] = {}
        for item, key, old in self._journal:
            first.setdefault((item, key), old)
        self._undo.append((number, first))
        self._journal.clear()
        self.number = number

    def at(self, number: int) -> Reader:
        """State after a past block (or the head itself)."""
        if number == self.number:
            return self
        oldest = self._undo[0][0] if self._undo else self.number + 1
        if number < oldest - 1:
            return _Archive(self._store, number)
        overlay: dict[tuple[str, Key], Any] = {}
        for block, undo in reversed(self._undo):
            if block <= number:
                break
            overlay.update(undo)
        return _Recent(self._items, overlay, number)


class _Recent:
    """The head seen through undo records."""

    def __init__(
        self,
        items: dict[str, dict[Key, Any]],
        overlay: dict[tuple[str, Key], Any],
        number: int,
    ) -> None:
        self._items = items
        self._overlay = overlay
        self.number = number

    def get(self, item: str, *key: Any) -> Any:
        value = self.peek(item, *key)
        return default_of(item) if value is None else value

    def peek(self, item: str, *key: Any) -> Any:
        if (item, key) in self._overlay:
            return self._overlay[item, key]
        return self._items.get(item, {}).get(key)

    def entries(self, item: str, *prefix: Any) -> list[tuple[Key, Any]]:
        rows = dict(self._items.get(item, {}))
        for (changed, key), value in self._overlay.items():
            if changed == item:
                _assign(rows, key, value)
        return _matching(rows, prefix)


class _Archive:
    """An old block, read from the store item by item."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._items: dict[str, dict[Key, Any]] = {}
        self.number = number

    def get(self, item: str, *key: Any) -> Any:
        value = self.peek(item, *key)
        return default_of(item) if value is None else value

    def peek(self, item: str, *key: Any) -> Any:
        return self._rows(item).get(key)

    def entries(self, item: str, *prefix: Any) -> list[tuple[Key, Any]]:
        return _matching(self._rows(item), prefix)

    def _rows(self, item: str) -> dict[Key, Any]:
        if item not in self._items:
            self._items[item] = self._store.item_at(item, self.number)
        return self._items[item]


def default_of(item: str) -> Any:
    """What an absent value reads as; a fresh copy, so that nobody can spoil it."""
    return deepcopy(_DEFAULTS.get(item))


def _assign(rows: dict[Key, Any], key: Key, value: Any) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value


def _matching(rows: dict[Key, Any], prefix: Key) -> list[tuple[Key, Any]]:
    size = len(prefix)
    return [(key, value) for key, value in rows.items() if key[:size] == prefix]


def netuids(reader: Reader) -> Iterator[int]:
    """Subnets that exist, root included, in order."""
    return iter(sorted(key[0] for key, on in reader.entries("SubtensorModule.NetworksAdded") if on))
