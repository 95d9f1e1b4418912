"""full logits -> CANDIDATES -> support: the few best tokens that can decide a seeded choice.

Numpy only: `subnet.edge.candidates` has the same for tensors on a GPU.
"""

import numpy as np
import numpy.typing as npt


def best_candidates(
    logits: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The `count` best logits of each row of [n, vocab], descending, and their token ids.

    `count` may exceed the vocabulary. A NaN counts as best and is sorted last.
    """
    vocab_size = logits.shape[1]
    if count < vocab_size:
        ids = np.argpartition(logits, vocab_size - count, axis=1)[:, vocab_size - count :]
    else:
        ids = np.arange(vocab_size)[None, :].repeat(len(logits), axis=0)
    values = np.take_along_axis(logits, ids, axis=1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(ids, order, axis=1)
