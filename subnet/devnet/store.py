"""The devnet's file: every version of every state value, and every block, in one SQLite database.

One transaction per block, so the file always ends at a whole block, also after `kill -9`. A value
that was removed is a row whose value is NULL; `(item, key, block)` rows are never rewritten.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORE_VERSION = 1
_BUSY_SECONDS = 1.0
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    item TEXT NOT NULL, key TEXT NOT NULL, block INTEGER NOT NULL, value TEXT,
    PRIMARY KEY (item, key, block)
) WITHOUT ROWID;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, parent TEXT NOT NULL,
    timestamp_ms INTEGER NOT NULL, state_root TEXT NOT NULL, extrinsics_root TEXT NOT NULL,
    extrinsics TEXT NOT NULL, events TEXT NOT NULL
);
"""

Key = tuple[Any, ...]


class StoreError(Exception):
    """The file cannot be used."""


class StoreVersionError(StoreError):
    """The file was written by another version of the devnet, or is not a devnet file at all."""


class StoreInUseError(StoreError):
    """Another process has the file open, or nobody can open it."""


@dataclass(frozen=True)
class Block:
    """One sealed block. Hashes and extrinsics are 0x-hex; events are plain records."""

    number: int
    hash: str
    parent: str
    timestamp_ms: int
    state_root: str
    extrinsics_root: str
    extrinsics: list[str]
    events: list[dict[str, Any]]


class Store:
    """The only reader and writer of a devnet's file. Not for use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StoreVersionError and StoreInUseError."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.OperationalError) as error:
            raise StoreInUseError(f"{path} cannot be opened: {error}") from error
        try:
            self._open(path)
        except BaseException:
            self._db.close()
            raise

    def _open(self, path: Path) -> None:
        try:
            # Two nodes on one file would each overwrite what the other believes.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                version = f"PRAGMA user_version={STORE_VERSION};"
                self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{version}COMMIT;")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise StoreInUseError(f"{path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreVersionError(f"{path} is not a devnet file: {error}") from error
        if found != STORE_VERSION:
            raise StoreVersionError(
                f"{path} has format {found}, this devnet writes format {STORE_VERSION}"
            )

    def close(self) -> None:
        """Close the file; nothing is pending, since every block is its own transaction."""
        self._db.close()

    def meta(self) -> dict[str, str]:
        """What was written once at genesis."""
        return dict(self._db.execute("SELECT name, value FROM meta"))

    def commit(
        self,
        block: Block,
        changes: Iterable[tuple[str, Key, Any]],
        meta: dict[str, str] | None = None,
    ) -> None:
        """Write a block and the values that it changed (None for removed), all or nothing."""
        rows = [(item, key, block.number, value) for item, key, value in as_rows(changes)]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO state VALUES (?, ?, ?, ?)", rows)
            self._db.execute(
                "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    block.number,
                    block.hash,
                    block.parent,
                    block.timestamp_ms,
                    block.state_root,
                    block.extrinsics_root,
                    _dump(block.extrinsics),
                    _dump(block.events),
                ),
            )
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", (meta or {}).items())
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def current(self) -> Iterator[tuple[str, Key, Any]]:
        """The newest version of every value that is present."""
        rows = self._db.execute("SELECT item, key, value, max(block) FROM state GROUP BY item, key")
        for item, key, value, _ in rows:
            if value is not None:
                yield item, tuple(json.loads(key)), json.loads(value)

    def item_at(self, item: str, number: int) -> dict[Key, Any]:
        """A whole item as it stood after a block."""
        rows = self._db.execute(
            "SELECT key, value, max(block) FROM state WHERE item = ? AND block <= ? GROUP BY key",
            (item, number),
        )
        return {
            tuple(json.loads(key)): json.loads(value) for key, value, _ in rows if value is not None
        }

    def head(self) -> Block | None:
        """The newest block, or None in a new file."""
        return self._block("ORDER BY number DESC LIMIT 1", ())

    def block(self, number: int) -> Block | None:
        """A block by number."""
        return self._block("WHERE number = ?", (number,))

    def block_by_hash(self, block_hash: str) -> Block | None:
        """A block by hash."""
        return self._block("WHERE hash = ?", (block_hash,))

    def _block(self, clause: str, arguments: tuple[Any, ...]) -> Block | None:
        # The clause is one of the three constants above, never a client's text.
        query = f"SELECT * FROM blocks {clause}"  # noqa: S608
        row = self._db.execute(query, arguments).fetchone()
        if row is None:
            return None
        return Block(*row[:-2], *(json.loads(column) for column in row[-2:]))


def as_rows(changes: Iterable[tuple[str, Key, Any]]) -> list[tuple[str, str, str | None]]:
    """Changes as the file holds them, in its order: item, key and value, as JSON."""
    return sorted(
        (
            (item, _dump(list(key)), None if value is None else _dump(value))
            for item, key, value in changes
        ),
        key=lambda row: row[:2],
    )


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
