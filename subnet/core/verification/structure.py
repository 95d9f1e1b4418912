"""answer -> STRUCTURE -> claim: exact checks that every answer passes before any is recomputed.

They cost nothing, so they run on all answers, and a violation is a hard fault: no numerics are
involved. EOS may be the very last allowed token; then the reason is "stop", as in vLLM.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from protocol.release import Release


class StructuralFault(StrEnum):
    """Why an answer cannot have come from an honest engine. Stable; a word is never reused."""

    EMPTY_ANSWER = "EMPTY_ANSWER"
    TOKEN_OUTSIDE_VOCABULARY = "TOKEN_OUTSIDE_VOCABULARY"  # noqa: S105 - a word, not a secret
    STOP_SKIPPED = "STOP_SKIPPED"
    """A stop token stands before the end."""
    STOP_WITHOUT_STOP_TOKEN = "STOP_WITHOUT_STOP_TOKEN"  # noqa: S105 - a word, not a secret
    """It says that it stopped, but its last token is no stop token."""
    LENGTH_WITH_STOP_TOKEN = "LENGTH_WITH_STOP_TOKEN"  # noqa: S105 - a word, not a secret
    """It says that it ran out of room, but it ends with a stop token."""
    TOO_SHORT = "TOO_SHORT"
    """It says that it ran out of room before it did."""
    TOO_LONG = "TOO_LONG"
    GRAMMAR_BROKEN = "GRAMMAR_BROKEN"
    """A token that the request's structure bars when it comes."""


def output_tokens_limit(prompt_tokens: int, tokens_max: int, context_tokens_max: int) -> int:
    """How many tokens an answer may have."""
    return min(tokens_max, context_tokens_max - prompt_tokens)


def structural_fault(
    output_token_ids: Sequence[int],
    finish_reason: Literal["stop", "length"],
    *,
    prompt_tokens: int,
    tokens_max: int,
    release: Release,
    refused_at: int | None = None,
) -> StructuralFault | None:
    """The first rule that a finished answer breaks, or None.

    `tokens_max` is the request's limit. `refused_at` is the index of the first token that the
    request's structure bars (`ports.Grammars`). Answers that the caller cut short are not finished,
    and are not for this function.
    """
    if not output_token_ids:
        return StructuralFault.EMPTY_ANSWER
    if not all(0 <= token < release.vocab_size for token in output_token_ids):
        return StructuralFault.TOKEN_OUTSIDE_VOCABULARY
    limit = output_tokens_limit(prompt_tokens, tokens_max, release.context_tokens_max)
    if len(output_token_ids) > limit:
        return StructuralFault.TOO_LONG
    if refused_at is not None:
        return StructuralFault.GRAMMAR_BROKEN
    stops = frozenset(release.stop_token_ids)
    if not stops.isdisjoint(output_token_ids[:-1]):
        return StructuralFault.STOP_SKIPPED
    ends_with_stop = output_token_ids[-1] in stops
    if finish_reason == "stop":
        return None if ends_with_stop else StructuralFault.STOP_WITHOUT_STOP_TOKEN
    if ends_with_stop:
        return StructuralFault.LENGTH_WITH_STOP_TOKEN
    return None if len(output_token_ids) == limit else StructuralFault.TOO_SHORT
