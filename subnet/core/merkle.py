"""leaves -> MERKLE TREE -> root: many records under one hash, each provable by a few.

The tree of RFC 6962, section 2.1: leaves and nodes hash under different prefixes, and a tree of n
leaves splits at the largest power of two below n, so that no two lists of leaves share a root.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

LEAF: Final = b"\x00"
NODE: Final = b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(LEAF + leaf).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in order; of no leaves, the hash of nothing."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    # Level by level is the same tree: a node without a sibling rises as it is.
    level = list(hashes)
    while len(level) > 1:
        paired = [_node(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


def proof_of(hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings between leaf `index` and the root, lowest first."""
    assert 0 <= index < len(hashes), index
    siblings: list[bytes] = []
    level, at = list(hashes), index
    while len(level) > 1:
        if at ^ 1 < len(level):
            siblings.append(level[at ^ 1])
        paired = [_node(*level[one : one + 2]) for one in range(0, len(level) - 1, 2)]
        level, at = paired + level[len(level) & ~1 :], at >> 1
    return tuple(siblings)


def is_included(leaf: bytes, index: int, leaves: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that `leaf` is number `index` of `leaves` under `root`."""
    if not 0 <= index < leaves:
        return False
    found, at, width, rest = leaf_hash(leaf), index, leaves, list(proof)
    while width > 1:
        if at ^ 1 < width:
            if not rest:
                return False
            sibling = rest.pop(0)
            found = _node(sibling, found) if at & 1 else _node(found, sibling)
        at, width = at >> 1, (width + 1) >> 1
    return not rest and found == root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE + left + right).digest()
