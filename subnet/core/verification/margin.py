"""support + noise -> CHOICE (miner) and MARGIN (referee): one formula on both sides.

choice = argmax over the support of logit / T + Gumbel(seed, position, token id). The margin of a
claimed token is the best challenger's score minus its own, floored at 0 and multiplied by T: in
logits, because rounding error lives there. In units of logit / T honest miners were convicted at
low temperatures in 40 of 40 runs.
"""

from typing import Any, Final

from subnet.core.verification.noise import seeded_gumbel
from subnet.core.verification.support import SamplingRows, borders, exact_support, slack_supports

MARGIN_CAP_LOGITS: Final = 50.0
"""The largest margin; also that of a token outside the lenient support or the vocabulary."""


def seeded_scores(logits: Any, token_ids: Any, rows: SamplingRows, xp: Any) -> Any:
    """logit / T + Gumbel for `logits`, `token_ids` [n, k]; the logits themselves where T is 0."""
    noise = seeded_gumbel(rows.prefix[:, None], rows.position[:, None], token_ids, xp)
    greedy = (rows.temperature <= 0)[:, None]
    temperature = xp.where(greedy, 1.0, rows.temperature[:, None])
    return logits / temperature + xp.where(greedy, 0.0, noise)


def seeded_choice(logits: Any, token_ids: Any, rows: SamplingRows, vocab_size: int, xp: Any) -> Any:
    """The token ids [n] that an honest sampler emits.

    `logits` [n, k] are the k best of each position, descending, with their `token_ids` [n, k];
    k is at least every `top_k` or the whole vocabulary.
    """
    scores = seeded_scores(logits, token_ids, rows, xp)
    inside = exact_support(logits, rows, vocab_size, xp) | (rows.temperature <= 0)[:, None]
    best = xp.argmax(xp.where(inside, scores, -xp.inf), axis=1)
    return token_ids[xp.arange(token_ids.shape[0]), best]


def margins(
    logits: Any,
    token_ids: Any,
    claimed_ids: Any,
    rows: SamplingRows,
    vocab_size: int,
    slack_logits: float,
    xp: Any,
) -> Any:
    """Margins [n] in logits of `claimed_ids` [n], in [0, MARGIN_CAP_LOGITS].

    `logits`, `token_ids` as in `seeded_choice`, from the referee's own forward pass.
    `slack_logits` is the release's border blur. A greedy row's margin is the best logit minus
    the claimed token's.
    """
    scores = seeded_scores(logits, token_ids, rows, xp)
    greedy = (rows.temperature <= 0)[:, None]
    lenient, strict = slack_supports(
        borders(logits, rows, vocab_size, xp), logits, rows, slack_logits
    )
    is_claimed = token_ids == claimed_ids[:, None]
    own = xp.amax(xp.where(is_claimed & (lenient | greedy), scores, -xp.inf), axis=1)
    best = xp.amax(xp.where(strict | greedy, scores, -xp.inf), axis=1)
    outside = own == -xp.inf
    unit = xp.where(rows.temperature > 0, rows.temperature, 1.0)
    gap = xp.where(outside | (best == -xp.inf), 0.0, best - own) * unit
    return xp.where(outside, MARGIN_CAP_LOGITS, xp.clip(gap, 0.0, MARGIN_CAP_LOGITS))
