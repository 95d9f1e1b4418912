"""Our tree is RFC 6962's: an independent implementation agrees, and no proof fits anything else."""

from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from subnet.core.merkle import is_included, leaf_hash, proof_of, root_of

LEAVES = st.lists(st.binary(max_size=20), max_size=70)


@given(LEAVES)
def test_another_implementation_finds_the_same_root(leaves):
    theirs = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        theirs.append_entry(leaf)
    assert root_of([leaf_hash(leaf) for leaf in leaves]) == theirs.get_root()


@given(LEAVES.filter(bool), st.data())
def test_each_leaf_is_provable_at_its_place_alone(leaves, data):
    hashes = [leaf_hash(leaf) for leaf in leaves]
    index, other = data.draw(st.integers(0, len(leaves) - 1)), data.draw(st.binary(max_size=20))
    root, proof = root_of(hashes), proof_of(hashes, index)
    assert is_included(leaves[index], index, len(leaves), proof, root)
    if other != leaves[index]:
        assert not is_included(other, index, len(leaves), proof, root)
    for wrong in range(len(leaves)):
        if leaves[wrong] != leaves[index]:
            assert not is_included(leaves[index], wrong, len(leaves), proof, root)
    assert not is_included(leaves[index], index, len(leaves), (*proof, root), root)
    if proof:
        assert not is_included(leaves[index], index, len(leaves), proof[:-1], root)


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
