"""The chain: pool, block production, and reads of any block. Finality is instant.

Single-threaded and synchronous: a caller sees whole blocks only. A block is durable before anyone
is told of it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from subnet.devnet.balances import nonce_of
from subnet.devnet.context import as_bytes
from subnet.devnet.drand import Pulses, PulseSource
from subnet.devnet.extrinsics import (
    ANCIENT,
    DUPLICATE,
    FULL,
    STALE,
    Extrinsic,
    InvalidTransactionError,
    check_signature,
    custom_error,
    inherent,
    parse_extrinsic,
)
from subnet.devnet.genesis import write_genesis
from subnet.devnet.metadata import Metadata, build_metadata
from subnet.devnet.params import DevnetParams
from subnet.devnet.runtime import BlockBuilder, check_validity
from subnet.devnet.shield import Shield, ShieldError, UnknownKeyError
from subnet.devnet.state import Reader, State
from subnet.devnet.store import Block, Key, Store, StoreVersionError, as_rows

POOL_MAX = 4096
POOL_PER_ACCOUNT_MAX = 64
BLOCK_EXTRINSICS_MAX = 2048
BLOCK_BYTES_MAX = 5 << 20
_READERS_MAX = 16
_SHIELD_PARSE_FAILED, _SHIELD_KEY_UNKNOWN = 23, 24
_ZERO_HASH = "0x" + "00" * 32

Status = str | dict[str, Any]
Watcher = Callable[[Status], None]


@dataclass
class Pending:
    """An extrinsic in the pool, and who wants to hear of it."""

    extrinsic: Extrinsic
    birth: int
    watchers: list[Watcher] = field(default_factory=list)

    def tell(self, status: Status) -> None:
        """Send a status to all watchers."""
        for watcher in self.watchers:
            watcher(status)


class Chain:
    """One devnet over one file. Call `produce` once per block time."""

    def __init__(
        self,
        path: Path,
        params: DevnetParams,
        now_ms: int,
        pulses: PulseSource | None = None,
    ) -> None:
        """Open the file or begin a new chain. Raises StoreError for an unfit file.

        `pulses` is what the chain hears of drand; without it no sealed weights are ever revealed.
        """
        self.params = params
        self.pulses = Pulses() if pulses is None else pulses
        self.metadata: Metadata = build_metadata(params.block_time_ms)
        self.shield = Shield()
        self.store = Store(path)
        self.state = State(self.store)
        self.listeners: list[Callable[[Block], None]] = []
        self._pool: dict[str, dict[int, Pending]] = {}
        self._pool_hashes: set[str] = set()
        self._readers: dict[int, Reader] = {}
        head = self.store.head()
        self.head: Block = head or self._genesis(now_ms)
        self.state.load(self.head.number)
        self.genesis_hash = self.hash_of(0) or ""
        if not self.genesis_hash:
            raise StoreVersionError(f"{path} has no genesis block")

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def _genesis(self, now_ms: int) -> Block:
        write_genesis(self.state, self.params)
        digest = blake2b(self.metadata.blob, digest_size=32).hexdigest()
        settings = self.params.model_dump_json()
        changes = self.state.changes()
        root = _digest(state_root(_ZERO_HASH, changes), digest, settings)
        block = Block(
            number=0,
            hash=_digest("assay devnet genesis", root),
            parent=_ZERO_HASH,
            timestamp_ms=now_ms,
            state_root=root,
            extrinsics_root=_digest("[]"),
            extrinsics=[],
            events=[],
        )
        self.store.commit(block, changes, {"params": settings})
        return block

    # Reads

    def hash_of(self, number: int) -> str | None:
        """A block's hash, or None beyond the head."""
        if number == self.head.number:
            return self.head.hash
        block = self.store.block(number)
        return block.hash if block else None

    def block(self, block_hash: str | None) -> Block | None:
        """A block by hash; the head for None."""
        if block_hash is None or block_hash == self.head.hash:
            return self.head
        return self.store.block_by_hash(block_hash)

    def reader(self, block: Block) -> Reader:
        """State after a block."""
        reader = self._readers.get(block.number)
        if reader is None:
            while len(self._readers) >= _READERS_MAX:
                del self._readers[next(iter(self._readers))]
            reader = self._readers[block.number] = self.state.at(block.number)
        return reader

    def next_nonce(self, account: str) -> int:
        """The nonce for an account's next extrinsic, counting those in the pool."""
        nonce = nonce_of(self.state, account)
        waiting = self._pool.get(account, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    # Pool

    def submit(self, raw: bytes, watcher: Watcher | None = None) -> str:
        """Take an extrinsic into the pool and return its hash.

        Raises InvalidTransactionError with the reason of a refusal.
        """
        extrinsic = parse_extrinsic(self.metadata, raw)
        if extrinsic.hash in self._pool_hashes:
            raise InvalidTransactionError(DUPLICATE, "Transaction Already Imported")
        birth = self._validate(extrinsic, nonce_of(self.state, extrinsic.signer))
        waiting = self._pool.setdefault(extrinsic.signer, {})
        if len(self._pool_hashes) >= POOL_MAX or len(waiting) >= POOL_PER_ACCOUNT_MAX:
            raise InvalidTransactionError(FULL, "Immediately Dropped")
        if extrinsic.nonce in waiting:
            raise InvalidTransactionError("Priority is too low", "Priority is too low")
        pending = Pending(extrinsic, birth, [watcher] if watcher else [])
        waiting[extrinsic.nonce] = pending
        self._pool_hashes.add(extrinsic.hash)
        ready = extrinsic.nonce <= self.next_nonce(extrinsic.signer) - 1
        pending.tell("ready" if ready else "future")
        return extrinsic.hash

    def _validate(self, extrinsic: Extrinsic, nonce: int) -> int:
        """All checks of the pool; the block number that the signature's era began at."""
        current = self.head.number + 1
        if extrinsic.nonce < nonce:
            raise InvalidTransactionError(STALE)
        birth = extrinsic.era.birth(current)
        birth_hash = self.hash_of(birth)
        if birth_hash is None:
            raise InvalidTransactionError(ANCIENT)
        check_signature(self.metadata, extrinsic, self.genesis_hash, birth_hash, current)
        check_validity(self.state, self.params, current, extrinsic, self.pulses)
        if extrinsic.pallet == "MevShield":
            try:
                self.shield.check(as_bytes(extrinsic.arguments["ciphertext"]))
            except UnknownKeyError as error:
                raise custom_error(_SHIELD_KEY_UNKNOWN) from error
            except ShieldError as error:
                raise custom_error(_SHIELD_PARSE_FAILED) from error
        return birth

    # Blocks

    def produce(self, now_ms: int) -> Block:
        """Build, store and announce the next block."""
        number = self.head.number + 1
        timestamp = max(now_ms, self.head.timestamp_ms + 1)
        builder = BlockBuilder(self.state, self.params, number, self.pulses)
        now = self.metadata.codec.compose_call("Timestamp", "set", {"now": timestamp})
        builder.begin(inherent(bytes(now)))
        included = self._include(builder)
        block = self._seal(builder, timestamp)
        for pending in included:
            pending.tell({"inBlock": block.hash})
            pending.tell({"finalized": block.hash})
        for listener in list(self.listeners):
            listener(block)
        return block

    def _include(self, builder: BlockBuilder) -> list[Pending]:
        included: list[Pending] = []
        for pending in self._ready():
            if self._apply(builder, pending):
                included.append(pending)
            else:
                pending.tell("invalid")
        self._expire()
        return included

    def _ready(self) -> Iterator[Pending]:
        """Take out of the pool, account by account in turn, what can be included now."""
        count, size = 0, 0
        progress = True
        while progress:
            progress = False
            for account in list(self._pool):
                nonce = nonce_of(self.state, account)
                for stale in [known for known in self._pool[account] if known < nonce]:
                    self._drop(account, stale).tell("invalid")
                pending = self._pool.get(account, {}).get(nonce)
                if pending is None:
                    continue
                count, size = count + 1, size + len(pending.extrinsic.raw)
                if count > BLOCK_EXTRINSICS_MAX or size > BLOCK_BYTES_MAX:
                    return
                progress = True
                yield self._drop(account, nonce)

    def _apply(self, builder: BlockBuilder, pending: Pending) -> bool:
        extrinsic = pending.extrinsic
        if extrinsic.era.birth(builder.number) != pending.birth:
            return False
        try:
            builder.apply(extrinsic)
        except InvalidTransactionError:
            return False
        if extrinsic.pallet == "MevShield":
            self._apply_sealed(builder, as_bytes(extrinsic.arguments["ciphertext"]))
        return True

    def _apply_sealed(self, builder: BlockBuilder, sealed: bytes) -> None:
        """Open a carrier and include what was in it; what cannot be included is left out."""
        try:
            inner = parse_extrinsic(self.metadata, self.shield.open(sealed))
            if inner.nonce != nonce_of(self.state, inner.signer) or inner.pallet == "MevShield":
                return
            self._validate(inner, inner.nonce)
            builder.apply(inner)
        except (ShieldError, InvalidTransactionError):
            return

    def _drop(self, account: str, nonce: int) -> Pending:
        waiting = self._pool[account]
        pending = waiting.pop(nonce)
        if not waiting:
            del self._pool[account]
        self._pool_hashes.discard(pending.extrinsic.hash)
        return pending

    def _expire(self) -> None:
        """Drop what waited for an earlier nonce until its signature was too old."""
        current = self.head.number + 2
        for account, waiting in list(self._pool.items()):
            for nonce, pending in list(waiting.items()):
                if pending.extrinsic.era.birth(current) != pending.birth:
                    self._drop(account, nonce).tell("invalid")

    def _seal(self, builder: BlockBuilder, timestamp: int) -> Block:
        changes = self.state.changes()
        root = state_root(self.head.state_root, changes)
        extrinsics_root = _digest(*builder.extrinsics)
        header = (self.head.hash, str(builder.number), str(timestamp), root, extrinsics_root)
        block = Block(
            number=builder.number,
            hash=_digest(*header),
            parent=self.head.hash,
            timestamp_ms=timestamp,
            state_root=root,
            extrinsics_root=extrinsics_root,
            extrinsics=builder.extrinsics,
            events=builder.events,
        )
        self.store.commit(block, changes)
        self.state.seal(block.number)
        self._readers.clear()
        self.head = block
        self.shield.rotate()
        return block


def state_root(parent_root: str, changes: Iterable[tuple[str, Key, Any]]) -> str:
    """The root after a block: of the root before it, and what the block changed.

    It depends on nothing but what the file holds, so that anyone can recompute it from there.
    """
    return _digest(parent_root, json.dumps(as_rows(changes)))


def _digest(*parts: str) -> str:
    hasher = blake2b(digest_size=32)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part.encode())
    return "0x" + hasher.hexdigest()
