"""nonce -> SEED: both sides derive it, nobody sends it.

It binds caller and miner: a copied answer is an "other seed", and a cheat that relays through an
honest miner fails, because that miner derives with its own hotkey.
"""

import hashlib
import struct
from collections.abc import Sequence


def prompt_hash(prompt_token_ids: Sequence[int]) -> str:
    """SHA-256 over the token ids as little-endian u32, lower-case hex."""
    return hashlib.sha256(struct.pack(f"<{len(prompt_token_ids)}I", *prompt_token_ids)).hexdigest()


def derive_seed(
    nonce: str,
    request_id: str,
    caller_hotkey: str,
    miner_hotkey: str,
    prompt_token_ids: Sequence[int],
) -> int:
    """The sampler's seed in [0, 2**63): first 8 bytes, little-endian, top bit cleared, of
    SHA-256 over the newline-joined domain tag, nonce, request id, caller, miner, prompt hash.

    63 bits, because engines take a signed 64-bit seed.
    """
    fields = (
        "assay/seed/1",
        nonce,
        request_id,
        caller_hotkey,
        miner_hotkey,
        prompt_hash(prompt_token_ids),
    )
    digest = hashlib.sha256("\n".join(fields).encode()).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)
