"""scoring -> WEIGHTS -> yuma: what each miner scored, as integer shares by uid for the chain.

Shares are proportional to scores. The fact a reader would miss: an empty result means "set nothing
this epoch"; the chain keeps the last weights, while weights that are all zero are an error.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Final

SHARES_TOTAL: Final = 65_535_000
"""Sum of all shares: a thousandth of the chain's own u16 step, so rounding here never shows."""

_VERSION_BITS: Final = 32
_DIGEST_DIGITS: Final = 64


def weights_from_scores(
    scores_ppm: Mapping[str, int], uids: Mapping[str, int], own_uid: int | None
) -> dict[int, int]:
    """Shares by uid, ascending, all positive, summing to exactly SHARES_TOTAL; or nothing.

    scores_ppm: score by hotkey, parts per million; zero earns nothing. uids: the metagraph;
    scores of hotkeys that it lacks are dropped, as is the validator's own (`own_uid`), and the
    rest share the whole. Rounded by largest remainder; equal remainders go to the higher score,
    then to the lower uid.
    """
    assert len(set(uids.values())) == len(uids)
    assert all(score >= 0 for score in scores_ppm.values())
    scores = {
        uids[hotkey]: score
        for hotkey, score in scores_ppm.items()
        if hotkey in uids and uids[hotkey] != own_uid
    }
    total = sum(scores.values())
    if total == 0:
        return {}
    shares = {uid: scores[uid] * SHARES_TOTAL // total for uid in sorted(scores)}
    by_remainder = sorted(
        shares, key=lambda uid: (-(scores[uid] * SHARES_TOTAL % total), -scores[uid], uid)
    )
    for uid in by_remainder[: SHARES_TOTAL - sum(shares.values())]:
        shares[uid] += 1
    return {uid: share for uid, share in shares.items() if share > 0}


def version_key(counter: int, params_digest_hex: str) -> int:
    """The version that goes with weights: counter << 32 | first 32 bits of the parameters' digest.

    The chain takes versions that are at least its own. Digests have no order, therefore the
    counter leads: raise it with every change of parameters. Fits a u64.
    """
    assert 0 <= counter < 1 << _VERSION_BITS
    assert len(params_digest_hex) == _DIGEST_DIGITS
    assert set(params_digest_hex) <= set(string.hexdigits)
    return counter << _VERSION_BITS | int(params_digest_hex[: _VERSION_BITS // 4], base=16)
