"""What is sealed to the shield opens whole, or not at all."""

import bittensor_core
import pytest

from subnet.devnet.shield import KEY_WINDOW_BLOCKS, Shield, ShieldError, UnknownKeyError


def seal(shield: Shield, message: bytes) -> bytes:
    return bytes(bittensor_core.encrypt_mlkem768(shield.public_key, message, include_key_hash=True))


def test_what_the_sdk_sealed_opens_until_its_key_is_forgotten() -> None:
    shield = Shield()
    sealed = seal(shield, b"an extrinsic")
    for _ in range(KEY_WINDOW_BLOCKS - 1):
        shield.rotate()
    assert shield.open(sealed) == b"an extrinsic"
    shield.rotate()
    with pytest.raises(UnknownKeyError):
        shield.open(sealed)


@pytest.mark.parametrize("place", [16, 100, 1110, 1135, -20, -1])
def test_one_altered_byte_closes_it(place: int) -> None:
    shield = Shield()
    sealed = bytearray(seal(shield, b"an extrinsic" * 4))
    sealed[place] ^= 1
    with pytest.raises(ShieldError):
        shield.open(bytes(sealed))


def test_a_short_blob_is_refused_before_it_is_opened() -> None:
    shield = Shield()
    sealed = seal(shield, b"")
    assert shield.open(sealed) == b""
    with pytest.raises(ShieldError):
        shield.check(sealed[:-1])
