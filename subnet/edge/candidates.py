"""full logits -> CANDIDATES -> support: the best tokens of each row, where the logits are.

On a CPU numpy's vectorised partition beats torch.topk about fourfold at vocabularies of 2k to 4k
tokens; on a GPU the logits are cut down before they leave the device.
"""

from typing import Any, Final

import torch

from subnet.core.verification.candidates import best_candidates

_GROUP_TOKENS: Final = 128


def best_of(logits: torch.Tensor, count: int) -> tuple[Any, Any]:
    """The `count` best of each row of [n, vocab], descending, and their ids, each [n, count].

    fp32 and int64: numpy arrays for logits on a CPU, else tensors on their device.
    """
    if logits.device.type == "cpu":
        return best_candidates(logits.numpy(), count)
    return best_by_groups(logits, count)


def best_by_groups(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `best_of`, for tensors anywhere; exact.

    Each of the best tokens lies in one of the `count` groups of 128 with the largest maxima, so
    only those are sorted: 2.7 times as fast as torch.topk on an H100 at 998 rows of 128,256.
    """
    rows, vocab_size = logits.shape
    groups = vocab_size // _GROUP_TOKENS
    if groups <= count or vocab_size % _GROUP_TOKENS:
        return tuple(torch.topk(logits, min(count, vocab_size), dim=1))
    split = logits.view(rows, groups, _GROUP_TOKENS)
    chosen = torch.topk(split.amax(dim=2), count, dim=1).indices
    kept = split.gather(1, chosen[:, :, None].expand(-1, -1, _GROUP_TOKENS))
    best, place = torch.topk(kept.view(rows, -1), count, dim=1)
    group = chosen.gather(1, place // _GROUP_TOKENS)
    return best, group * _GROUP_TOKENS + place % _GROUP_TOKENS
