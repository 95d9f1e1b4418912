"""logits -> SUPPORT -> seeded choice and margins: which tokens top-k and top-p admit.

Order as in vLLM: top-k first, then top-p on what top-k left, renormalised after temperature. So
with top-k at most 64 the top 64 logits decide everything, whatever the vocabulary.

The referee's logits differ from the miner's by rounding, so the border is blurred: a claimed token
is tested against a lenient support and challenged only from a strict one. Without that, ties
at the border flag honest tokens (mean margin 100 times higher, measured).
"""

from dataclasses import dataclass
from typing import Any, Final

TOP_P_SLACK_MIN: Final = 0.02
"""Probability mass by which a token may miss top-p, or must clear it to challenge."""
TOP_P_SLACK_MAX: Final = 0.25


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
    """The k-th best logit: the last that top-k admits; -inf where it admits the vocabulary."""
    top_p_logit: Any
    """The lowest logit inside both; -inf where top-p is 1, which cuts nothing."""
    weights: Any
    """exp((logit - best) / T) of each candidate inside top-k, 0 elsewhere."""
    mass: Any
    """Sum of the weights: what top-p is a share of."""
    mass_above: Any
    """Share of that mass on the candidates ranked above each candidate."""


def borders(logits: Any, rows: SamplingRows, vocab_size: int, xp: Any) -> Borders:
    """The support's borders for `logits` [n, k], sorted descending, k at least every `top_k`.

    Greedy rows are treated as temperature 1; their support is not used.
    """
    rank = xp.arange(logits.shape[1], device=logits.device)[None, :]
    top_k = rows.top_k[:, None]
    top_p = rows.top_p[:, None]
    inside_k = rank < top_k
    temperature = xp.where(rows.temperature > 0, rows.temperature, 1.0)[:, None]
    weights = xp.where(inside_k, xp.exp((logits - logits[:, :1]) / temperature), 0.0)
    through = xp.cumsum(weights, axis=1)
    mass = through[:, -1:]
    mass_above = (through - weights) / mass
    inside = inside_k & ((mass_above < top_p) | (rank == 0))
    top_k_logit = xp.amin(xp.where(inside_k, logits, xp.inf), axis=1)[:, None]
    top_p_logit = xp.amin(xp.where(inside, logits, xp.inf), axis=1)[:, None]
    return Borders(
        top_k_logit=xp.where(top_k < vocab_size, top_k_logit, -xp.inf),
        top_p_logit=xp.where(top_p < 1, top_p_logit, -xp.inf),
        weights=weights,
        mass=mass,
        mass_above=mass_above,
    )


def mass_slack(rows: SamplingRows, slack_logits: float, xp: Any) -> Any:
    """Slack of top-p's mass [n]: half of what `slack_logits` can move at worst.

    A logit that moves by d moves the mass at 1/2 by d / (4 T), so a fixed slack would flag honest
    tokens at low temperatures (5 in 2,000 at T = 0.3, top-p 0.5, measured).
    """
    temperature = xp.where(rows.temperature > 0, rows.temperature, 1.0)
    return xp.clip(slack_logits / (8 * temperature), TOP_P_SLACK_MIN, TOP_P_SLACK_MAX)


def exact_support(cut: Borders, logits: Any) -> Any:
    """Bool [n, k]: what the sampler draws from. Ties with the last one are inside, as in vLLM."""
    return (logits >= cut.top_k_logit) & (logits >= cut.top_p_logit)


def is_lenient(
    cut: Borders,
    logits: Any,
    claimed_logits: Any,
    rows: SamplingRows,
    slack_logits: float,
    xp: Any,
) -> Any:
    """Bool [n]: whether claimed tokens lie in the widened support.

    Within `slack_logits` of top-k's border, and within that of top-p's or within
    `mass_slack` of its mass.
    """
    own = claimed_logits[:, None]
    above = xp.where(logits > own, cut.weights, 0.0).sum(axis=1) / cut.mass[:, 0]
    near_k = claimed_logits >= cut.top_k_logit[:, 0] - slack_logits
    near_p = claimed_logits >= cut.top_p_logit[:, 0] - slack_logits
    return near_k & (near_p | (above < rows.top_p + mass_slack(rows, slack_logits, xp)))


def strict_support(
    cut: Borders, logits: Any, rows: SamplingRows, slack_logits: float, xp: Any
) -> Any:
    """Bool [n, k]: the narrowed support, whose members may challenge.

    Clear of every border by `slack_logits` and of top-p's mass by `mass_slack`. Empty where the
    whole support is a near tie: then nothing challenges.
    """
    top_p = rows.top_p[:, None]
    clear = (logits > cut.top_k_logit + slack_logits) & (logits > cut.top_p_logit + slack_logits)
    return clear & (
        (cut.mass_above < top_p - mass_slack(rows, slack_logits, xp)[:, None]) | (top_p >= 1)
    )
