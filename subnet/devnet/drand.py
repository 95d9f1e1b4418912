"""drand's quicknet beacon: the pulses that open what was sealed to a round.

A pulse is a round's BLS signature, and published to everyone; so all that can be asked of a source
is which pulses it knows. Opening is the SDK's own code.
"""

from typing import Protocol

import bittensor_core

from subnet.devnet import scale

_ROUND_BYTES = 8
_PROBE = b"devnet"


class PulseSource(Protocol):
    """What the chain knows of the beacon while it makes a block."""

    @property
    def latest_round(self) -> int:
        """The newest round whose pulse is known, 0 before the first."""
        ...

    def signature(self, round_number: int) -> bytes | None:
        """A round's signature, or None while it is unknown."""
        ...


class Pulses:
    """Pulses that were handed in, kept in memory."""

    def __init__(self, signatures: dict[int, bytes] | None = None) -> None:
        self._signatures = dict(signatures or {})

    @property
    def latest_round(self) -> int:
        """The newest round whose pulse is known, 0 before the first."""
        return max(self._signatures, default=0)

    def signature(self, round_number: int) -> bytes | None:
        """A round's signature, or None while it is unknown."""
        return self._signatures.get(round_number)

    def add(self, round_number: int, signature: bytes) -> bool:
        """Learn a round's signature; False, and nothing learned, when it is not quicknet's."""
        sealed = bytes(bittensor_core.encrypt_at_round(_PROBE, round_number)[0])
        if open_envelope(sealed, signature) != _PROBE:
            return False
        self._signatures[round_number] = signature
        return True


def open_commit(commit: bytes, round_number: int, signature: bytes) -> bytes | None:
    """The content of a timelocked commit, or None when the pulse does not open it."""
    envelope = scale.blob(commit) + round_number.to_bytes(_ROUND_BYTES, "little")
    return open_envelope(envelope, signature)


def open_envelope(sealed: bytes, signature: bytes) -> bytes | None:
    """The content of a portable ciphertext, or None when the signature does not open it."""
    try:
        return bytes(bittensor_core.decrypt_with_signature(sealed, signature.hex()))
    except ValueError:
        return None
