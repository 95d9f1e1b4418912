"""Signed extrinsics without a client: for loads and tests that need many, or malformed ones."""

from bittensor.sp_core import Keypair

from subnet.devnet import scale
from subnet.devnet.extrinsics import EXTRINSIC_VERSION_SIGNED
from subnet.devnet.metadata import Metadata

_IMMORTAL = b"\x00"
_NO_METADATA_HASH = b"\x00"


def sign_extrinsic(
    metadata: Metadata,
    genesis_hash: str,
    keypair: Keypair,
    call_data: bytes,
    *,
    nonce: int,
    tip: int = 0,
) -> bytes:
    """An extrinsic over any bytes as its call, with a valid signature that never expires."""
    genesis = bytes.fromhex(genesis_hash[2:])
    payload = metadata.codec.signature_payload(
        call_data,
        era="00",
        nonce=nonce,
        tip=tip,
        tip_asset_id=None,
        genesis_hash=genesis,
        era_block_hash=genesis,
    )
    head = bytes([EXTRINSIC_VERSION_SIGNED, 0]) + keypair.public_key
    signature = bytes([keypair.crypto_type]) + keypair.sign(bytes(payload))
    extra = _IMMORTAL + scale.compact(nonce) + scale.compact(tip) + _NO_METADATA_HASH
    return scale.blob(head + signature + extra + call_data)
