"""seed, position, token id -> NOISE -> seeded choice: `murmur3-gumbel-v1`.

The same function as vLLM 0.32's GPU model runner V2 (`v1/worker/gpu/sample/gumbel.py`), so a GPU
miner needs no patch. The trap: the uniform is rounded to fp32 *before* the logarithms. Skipping
that changes the noise by up to 0.03 where it is most negative, and by nothing elsewhere.

Counter-based: no state, no order, no hardware. Works on numpy and torch alike (`xp`), in int64
masked to 32 bits, because torch has no full set of uint32 operations.
"""

from typing import Any, Final

_WORD: Final = 0xFFFFFFFF
_KEY_BYTES: Final = 16
_ONE_MINUS_LARGEST: Final = 2.0**-24
"""vLLM keeps 1 - u at least this far from 0, as u rounds to 1 in fp32."""


def seed_prefix(seed: int) -> int:
    """The hash state after a request's seed, a 32-bit word: computed once a request.

    `seed` is any integer; its low 64 bits count, as two's complement when negative.
    """
    state = _mix_word(0, seed & _WORD)
    return _mix_word(state, (seed >> 32) & _WORD)


def position_of(prompt_tokens: Any, output_index: Any) -> Any:
    """The position that output token `output_index` (from 0) is sampled at, as vLLM counts.

    Integers or integer arrays.
    """
    return prompt_tokens - 1 + output_index


def hash_words(prefix: Any, position: Any, token_id: Any) -> Any:
    """murmur3_32 over (seed low, seed high, position, token id), as int64 in [0, 2**32).

    The three int64 arrays broadcast against each other; `prefix` comes from `seed_prefix`.
    """
    state = _mix(_mix(prefix, position & _WORD), token_id & _WORD) ^ _KEY_BYTES
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & _WORD
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & _WORD
    return state ^ (state >> 16)


def gumbel_of(words: Any, xp: Any) -> Any:
    """Standard Gumbel noise of hash words: fp32 uniform, fp64 logarithms, rounded to fp32."""
    exact = (xp.asarray(words, dtype=xp.float64) + 0.5) * 2.0**-32
    uniform = xp.asarray(xp.asarray(exact, dtype=xp.float32), dtype=xp.float64)
    uniform = xp.clip(uniform, None, 1.0 - _ONE_MINUS_LARGEST)
    return xp.asarray(-xp.log(-xp.log1p(-uniform)), dtype=xp.float32)


def seeded_gumbel(prefix: Any, position: Any, token_id: Any, xp: Any) -> Any:
    """fp32 noise for every broadcast (prefix, position, token id)."""
    return gumbel_of(hash_words(prefix, position, token_id), xp)


def _mix(state: Any, key: Any) -> Any:
    key = (key * 0xCC9E2D51) & _WORD
    key = ((key << 15) | (key >> 17)) & _WORD
    state = state ^ ((key * 0x1B873593) & _WORD)
    state = ((state << 13) | (state >> 19)) & _WORD
    return (state * 5 + 0xE6546B64) & _WORD


def _mix_word(state: int, key: int) -> int:
    mixed = _mix(state, key)
    assert isinstance(mixed, int)
    return mixed
