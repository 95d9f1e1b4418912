"""logits -> SUPPORT -> seeded choice and margins: which tokens top-k and top-p admit.

Order as in vLLM: top-k first, then top-p on what top-k left, renormalised after temperature. So
with top-k at most 64 the top 64 logits decide everything, whatever the vocabulary.

The referee's logits differ from the miner's by rounding, so the border is blurred: a claimed token
is tested against a lenient support and challenged only from a strict one. Without that, ties
at the border flag honest tokens (mean margin 100 times higher, measured).
"""

from dataclasses import dataclass
from typing import Any, Final

TOP_P_SLACK: Final = 0.02
"""Probability mass by which a token may miss top-p, or must clear it to challenge."""


@dataclass(frozen=True, slots=True)
class SamplingRows:
    """The sampling parameters of n positions, one array element each.

    `temperature` and `top_p` are float arrays [n], `top_k` and the rest int64 [n]. A greedy row
    has temperature 0. `prefix` is `noise.seed_prefix`, `position` is `noise.position_of`.
    """

    temperature: Any
    top_p: Any
    top_k: Any
    prefix: Any
    position: Any


@dataclass(frozen=True, slots=True)
class Borders:
    """What the supports of n positions are cut by; arrays [n, 1] and [n, k]."""

    top_k_logit: Any
    """The k-th best logit: the last that top-k admits."""
    top_p_logit: Any
    """The lowest logit inside both top-k and top-p."""
    mass_above: Any
    """Share of the top-k mass that ranks above each candidate."""
    narrowed: Any
    """False where top-k admits all candidates of the vocabulary, so that it has no border."""


def borders(logits: Any, rows: SamplingRows, vocab_size: int, xp: Any) -> Borders:
    """The support's borders for `logits` [n, k], sorted descending, k >= every `top_k`.

    Greedy rows are treated as temperature 1; their support is not used.
    """
    candidates = logits.shape[1]
    rank = xp.arange(candidates)[None, :]
    top_k = xp.clip(rows.top_k, 1, candidates)[:, None]
    inside_k = rank < top_k
    temperature = xp.where(rows.temperature > 0, rows.temperature, 1.0)[:, None]
    weights = xp.where(inside_k, xp.exp((logits - logits[:, :1]) / temperature), 0.0)
    through = xp.cumsum(weights, axis=1)
    mass_above = (through - weights) / through[:, -1:]
    inside = inside_k & ((mass_above < rows.top_p[:, None]) | (rank == 0))
    return Borders(
        top_k_logit=xp.amin(xp.where(inside_k, logits, xp.inf), axis=1)[:, None],
        top_p_logit=xp.amin(xp.where(inside, logits, xp.inf), axis=1)[:, None],
        mass_above=mass_above,
        narrowed=top_k < vocab_size,
    )


def exact_support(logits: Any, rows: SamplingRows, vocab_size: int, xp: Any) -> Any:
    """Bool [n, k]: what the sampler draws from; ties at the border are inside, as in vLLM."""
    return logits >= borders(logits, rows, vocab_size, xp).top_p_logit


def slack_supports(cut: Borders, logits: Any, rows: SamplingRows, slack_logits: float) -> Any:
    """(lenient, strict), both bool [n, k]: the support widened and narrowed by the slack.

    Lenient: within `slack_logits` of a border, or within `TOP_P_SLACK` of its mass. Strict: clear
    of every border by `slack_logits` and of the mass by `TOP_P_SLACK`. Strict may be empty, where
    the whole support is a near tie: then nothing can challenge.
    """
    top_p = rows.top_p[:, None]
    lenient = (logits >= cut.top_k_logit - slack_logits) | ~cut.narrowed
    lenient = lenient & (
        (logits >= cut.top_p_logit - slack_logits) | (cut.mass_above < top_p + TOP_P_SLACK)
    )
    strict = (logits > cut.top_k_logit + slack_logits) | ~cut.narrowed
    strict = strict & (
        ((logits > cut.top_p_logit + slack_logits) & (cut.mass_above < top_p - TOP_P_SLACK))
        | (top_p >= 1)
    )
    return lenient, strict
