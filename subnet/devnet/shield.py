"""The MEV shield: one-block ML-KEM-768 keys, and the opening of what was sealed to them.

Keys rotate every block; a short window of old ones is kept, since a client reads the key some
blocks before its carrier is included. They live in memory only: a restart loses nothing but
carriers that were waiting in the pool.
"""

from collections import OrderedDict

import bittensor_core
from Crypto.Cipher import ChaCha20_Poly1305
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

KEY_WINDOW_BLOCKS = 64
_HASH_BYTES = 16
_NONCE_BYTES = 24
_TAG_BYTES = 16
_KEM_BYTES = 1088
_HEAD_BYTES = _HASH_BYTES + 2
CIPHERTEXT_BYTES_MAX = 8192


class ShieldError(Exception):
    """A sealed extrinsic that cannot be opened: malformed, an unknown key, or a false tag."""


class UnknownKeyError(ShieldError):
    """Sealed to a key that this node never had or has forgotten."""


class Shield:
    """The block author's keys. `rotate` once per block; `public_key` is what `NextKey` says."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, MLKEM768PrivateKey] = OrderedDict()
        self.public_key = b""
        self.rotate()

    def rotate(self) -> None:
        """Make a fresh key and forget those older than the window."""
        private = MLKEM768PrivateKey.generate()
        self.public_key = private.public_key().public_bytes_raw()
        sealed = bittensor_core.encrypt_mlkem768(self.public_key, b"", include_key_hash=True)
        self._keys[bytes(sealed[:_HASH_BYTES])] = private
        while len(self._keys) > KEY_WINDOW_BLOCKS:
            self._keys.popitem(last=False)

    def check(self, sealed: bytes) -> None:
        """What can be said of a carrier without opening it.

        Raises ShieldError for a wrong shape and UnknownKeyError for an unknown key.
        """
        size = int.from_bytes(sealed[_HASH_BYTES:_HEAD_BYTES], "little")
        floor = _HEAD_BYTES + _KEM_BYTES + _NONCE_BYTES + _TAG_BYTES
        if size != _KEM_BYTES or not floor <= len(sealed) <= CIPHERTEXT_BYTES_MAX:
            raise ShieldError("not a sealed extrinsic")
        if sealed[:_HASH_BYTES] not in self._keys:
            raise UnknownKeyError("sealed to an unknown key")

    def open(self, sealed: bytes) -> bytes:
        """The signed extrinsic inside. Raises ShieldError."""
        self.check(sealed)
        kem_end = _HEAD_BYTES + _KEM_BYTES
        nonce_end = kem_end + _NONCE_BYTES
        secret = self._keys[sealed[:_HASH_BYTES]].decapsulate(sealed[_HEAD_BYTES:kem_end])
        cipher = ChaCha20_Poly1305.new(key=secret, nonce=sealed[kem_end:nonce_end])
        try:
            return cipher.decrypt_and_verify(sealed[nonce_end:-_TAG_BYTES], sealed[-_TAG_BYTES:])
        except ValueError as error:
            raise ShieldError("the sealed extrinsic was altered") from error
