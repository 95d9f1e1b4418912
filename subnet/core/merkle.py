"""leaves -> MERKLE TREE -> root: many records under one hash.

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


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE + left + right).digest()
