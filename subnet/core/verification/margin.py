"""support + noise -> CHOICE (miner) and MARGIN (referee): one formula on both sides.

choice = argmax over the support of logit / T + Gumbel(seed, position, token id). The margin of a
claimed token is the best challenger's score minus its own, floored at 0 and multiplied by T: in
logits, because rounding error lives there. In units of logit / T honest miners were convicted at
low temperatures in 40 of 40 runs. (Token-DiFR, arXiv 2511.20621, with portable noise.)
"""

from typing import Any, Final

from subnet.core.verification.noise import seeded_gumbel
from subnet.core.verification.support import (
    SamplingRows,
    borders,
    exact_support,
    is_lenient,
    strict_support,
)

MARGIN_CAP_LOGITS: Final = 50.0
"""The largest margin; also that of a token outside the lenient support."""


def seeded_scores(logits: Any, token_ids: Any, rows: SamplingRows, xp: Any) -> Any:
    """logit / T + Gumbel for `logits`, `token_ids` [n, k]; the logits themselves where T is 0."""
    noise = seeded_gumbel(rows.prefix[:, None], rows.position[:, None], token_ids, xp)
    greedy = (rows.temperature <= 0)[:, None]
    temperature = xp.where(greedy, 1.0, rows.temperature[:, None])
    return logits / temperature + xp.where(greedy, 0.0, noise)


def seeded_choice(logits: Any, token_ids: Any, rows: SamplingRows, vocab_size: int, xp: Any) -> Any:
    """The token ids [n] that an honest sampler emits.

    `logits` [n, k] are the k best of each position, descending, with their `token_ids` [n, k];
    k is at least every `top_k`, or the whole vocabulary.
    """
    scores = seeded_scores(logits, token_ids, rows, xp)
    inside = exact_support(borders(logits, rows, vocab_size, xp), logits)
    inside = inside | (rows.temperature <= 0)[:, None]
    best = xp.argmax(xp.where(inside, scores, -xp.inf), axis=1)
    return token_ids[xp.arange(token_ids.shape[0], device=token_ids.device), best]


def margins(
    logits: Any,
    token_ids: Any,
    claimed_ids: Any,
    claimed_logits: Any,
    rows: SamplingRows,
    vocab_size: int,
    slack_logits: float,
    xp: Any,
) -> Any:
    """Margins [n] in logits of `claimed_ids` [n], in [0, MARGIN_CAP_LOGITS].

    `logits`, `token_ids` as in `seeded_choice`, `claimed_logits` [n] the claimed tokens' own
    (they may lie outside the k best; -inf for an id outside the vocabulary), all from the
    referee's forward pass: finite, or -inf where a structure bars the token. `slack_logits` blurs
    the support's borders. A greedy row's margin is the best logit minus the claimed token's.
    """
    cut = borders(logits, rows, vocab_size, xp)
    greedy = rows.temperature <= 0
    lenient = greedy | is_lenient(cut, logits, claimed_logits, rows, slack_logits, xp)
    strict = greedy[:, None] | strict_support(cut, logits, rows, slack_logits, xp)
    scores = seeded_scores(logits, token_ids, rows, xp)
    own = seeded_scores(claimed_logits[:, None], claimed_ids[:, None], rows, xp)[:, 0]
    best = xp.amax(xp.where(strict, scores, -xp.inf), axis=1)
    unit = xp.where(greedy, 1.0, rows.temperature)
    inside = lenient & (claimed_logits > -xp.inf)
    gap = (best - xp.where(inside, own, 0.0)) * unit
    return xp.where(inside, xp.clip(gap, 0.0, MARGIN_CAP_LOGITS), MARGIN_CAP_LOGITS)
