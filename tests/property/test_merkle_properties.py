"""Our tree is RFC 6962's: an independent implementation agrees, and no two lists share a root."""

from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from subnet.core.merkle import leaf_hash, root_of

LEAVES = st.lists(st.binary(max_size=20), max_size=70)


@given(LEAVES)
def test_another_implementation_finds_the_same_root(leaves):
    theirs = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        theirs.append_entry(leaf)
    assert root_of([leaf_hash(leaf) for leaf in leaves]) == theirs.get_root()


@given(LEAVES, st.data())
def test_dropping_adding_or_swapping_a_leaf_changes_the_root(leaves, data):
    hashes = [leaf_hash(leaf) for leaf in leaves]
    root = root_of(hashes)
    assert root_of([*hashes, leaf_hash(b"more")]) != root
    if hashes:
        at = data.draw(st.integers(0, len(hashes) - 1))
        assert root_of(hashes[:at] + hashes[at + 1 :]) != root
        if hashes[at] != hashes[0]:
            swapped = [*hashes]
            swapped[0], swapped[at] = hashes[at], hashes[0]
            assert root_of(swapped) != root
