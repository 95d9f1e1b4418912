"""The best tokens of a row, by whatever path: exactly those of a full sort."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from subnet.edge.candidates import best_by_groups, best_of  # noqa: E402


@pytest.mark.parametrize("vocab_size", [50, 1024, 64 * 128, 100 * 128, 100 * 128 + 7])
@pytest.mark.parametrize("count", [1, 5, 64])
@pytest.mark.parametrize("best", [best_by_groups, best_of])
def test_the_best_are_those_of_a_sort(best, vocab_size, count):
    logits = torch.randn(9, vocab_size, generator=torch.Generator().manual_seed(vocab_size + count))
    logits[0, :count] += 10  # All of them in one group, of which no other is among the best.
    values, ids = map(np.asarray, best(logits, count))
    kept = min(count, vocab_size)
    assert np.array_equal(values, -np.sort(-logits.numpy(), axis=1)[:, :kept])
    assert np.array_equal(np.take_along_axis(logits.numpy(), ids, axis=1), values)
    assert all(len(set(row)) == kept for row in ids.tolist())


def test_bf16_logits_are_ranked_as_they_are():
    logits = torch.randn(4, 100 * 128, generator=torch.Generator().manual_seed(3)).bfloat16()
    values, _ = best_by_groups(logits, 64)
    assert torch.equal(values, logits.sort(dim=1, descending=True).values[:, :64])
