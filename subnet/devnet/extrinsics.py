"""Extrinsics: from bytes to a checked call, with the refusals of a transaction pool.

The signature covers the raw call bytes, so they are sliced out of the extrinsic, never re-encoded
from the decoded call.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NoReturn

import bittensor_core

from subnet.devnet import scale
from subnet.devnet.metadata import EXTRINSIC_VERSION, SS58_FORMAT, Metadata

EXTRINSIC_BYTES_MAX = 64 * 1024
NONCE_MAX = (1 << 32) - 1
TIP_RAO_MAX = (1 << 64) - 1
EXTRINSIC_VERSION_SIGNED = 0x80 | EXTRINSIC_VERSION
_SIGNATURE_BYTES = 64
_ED25519, _SR25519 = 0, 1
INVALID_TRANSACTION = 1010


class InvalidTransactionError(Exception):
    """The pool refuses an extrinsic. `data` is the text by which clients know the reason."""

    def __init__(self, data: str | dict[str, Any], message: str = "Invalid Transaction") -> None:
        super().__init__(str(data))
        self.code = INVALID_TRANSACTION
        self.message = message
        self.data = data


BAD_PROOF = "Transaction has a bad signature"
STALE = "Transaction is outdated"
PAYMENT = "Inability to pay some fees (e.g. account balance too low)"
ANCIENT = "Transaction has an ancient birth block"
CALL = "Transaction call is not expected"
DUPLICATE = "Transaction is already imported"
FULL = "Transaction pool is full"


def custom_error(code: int) -> InvalidTransactionError:
    """A refusal by one of the chain's own numbered checks."""
    return InvalidTransactionError(f"Custom error: {code}")


@dataclass(frozen=True)
class Era:
    """How long a signature holds: `period` blocks from `phase` on, or for ever (period 0)."""

    raw: bytes
    period: int = 0
    phase: int = 0

    def birth(self, current: int) -> int:
        """The block whose hash was signed, seen from block `current`."""
        if not self.period:
            return 0
        return (max(current, self.phase) - self.phase) // self.period * self.period + self.phase

    def codec_value(self, current: int) -> Any:
        """The era as the SDK's codec takes it."""
        if not self.period:
            return "00"
        return {"period": self.period, "phase": self.phase, "current": current}


@dataclass(frozen=True)
class Extrinsic:
    """A signed extrinsic: who signed it, and the call as bytes and as plain values."""

    raw: bytes
    hash: str
    signer: str
    signature: bytes
    crypto_type: int
    era: Era
    nonce: int
    tip: int
    metadata_mode: int
    call_data: bytes
    pallet: str
    function: str
    arguments: dict[str, Any]


def parse_extrinsic(metadata: Metadata, raw: bytes) -> Extrinsic:
    """Read a signed extrinsic. Raises InvalidTransactionError when it is not one."""
    try:
        return _parse(metadata, raw)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InvalidTransactionError(f"Could not decode extrinsic: {error}") from error


def _parse(metadata: Metadata, raw: bytes) -> Extrinsic:
    if len(raw) > EXTRINSIC_BYTES_MAX:
        raise ValueError("too long")
    length, at = scale.read_compact(raw, 0)
    if at + length != len(raw):
        raise ValueError("length prefix does not match")
    if raw[at] != EXTRINSIC_VERSION_SIGNED or raw[at + 1] != 0:
        raise ValueError("not a signed version 4 extrinsic by an account")
    public_key = raw[at + 2 : at + 34]
    crypto_type = raw[at + 34]
    if crypto_type not in (_ED25519, _SR25519):
        raise ValueError("unknown signature scheme")
    start = at + 35 + _SIGNATURE_BYTES
    signature = raw[at + 35 : start]
    era, at = _read_era(raw, start)
    nonce, at = scale.read_compact(raw, at)
    tip, at = scale.read_compact(raw, at)
    if nonce > NONCE_MAX or tip > TIP_RAO_MAX:
        raise ValueError("nonce or tip is too large")
    mode, call_data = raw[at], raw[at + 1 :]
    pallet, function, arguments = decode_call(metadata.codec.decode_call(call_data))
    return Extrinsic(
        raw=raw,
        hash=extrinsic_hash(raw),
        signer=bittensor_core.ss58_encode(public_key, SS58_FORMAT),
        signature=signature,
        crypto_type=crypto_type,
        era=era,
        nonce=nonce,
        tip=tip,
        metadata_mode=mode,
        call_data=call_data,
        pallet=pallet,
        function=function,
        arguments=arguments,
    )


def decode_call(call: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A decoded call as (pallet, function, arguments by name); byte strings as 0x-hex."""
    arguments = {
        argument["name"]: as_hex(argument["value"])
        if argument["type"] == "Bytes"
        else argument["value"]
        for argument in call["call_args"]
    }
    return call["call_module"], call["call_function"], arguments


def as_hex(value: str) -> str:
    """The 0x-hex of a byte string, which the codec shows as text wherever it is UTF-8.

    So what looks like hex is hex only if it does not stand for UTF-8: a client may have sent the
    text `0x41`, or `0xzz`, which the codec cannot read back.
    """
    try:
        bytes.fromhex(value.removeprefix("0x")).decode()
    except UnicodeDecodeError:
        if value.startswith("0x"):
            return value
    except ValueError:
        pass
    return "0x" + value.encode().hex()


def extrinsic_hash(raw: bytes) -> str:
    """The hash by which clients find an extrinsic in a block."""
    return "0x" + blake2b(raw, digest_size=32).hexdigest()


def inherent(call_data: bytes) -> bytes:
    """An unsigned extrinsic, as the block author adds it."""
    return scale.blob(bytes([EXTRINSIC_VERSION]) + call_data)


def check_signature(
    metadata: Metadata, extrinsic: Extrinsic, genesis_hash: str, birth_hash: str, current: int
) -> None:
    """Whether the signer signed exactly this, for this chain and era.

    Raises InvalidTransactionError.
    """
    if extrinsic.metadata_mode != 0:
        _refuse(BAD_PROOF)
    payload = metadata.codec.signature_payload(
        extrinsic.call_data,
        era=extrinsic.era.codec_value(current),
        nonce=extrinsic.nonce,
        tip=extrinsic.tip,
        tip_asset_id=None,
        genesis_hash=bytes.fromhex(genesis_hash[2:]),
        era_block_hash=bytes.fromhex(birth_hash[2:]),
    )
    valid = bittensor_core.verify(
        bytes(payload), extrinsic.signature, extrinsic.signer, extrinsic.crypto_type
    )
    if not valid:
        _refuse(BAD_PROOF)


def _refuse(data: str) -> NoReturn:
    raise InvalidTransactionError(data)


def _read_era(raw: bytes, at: int) -> tuple[Era, int]:
    if raw[at] == 0:
        return Era(raw[at : at + 1]), at + 1
    encoded = int.from_bytes(raw[at : at + 2], "little")
    period = 2 << (encoded % 16)
    phase = (encoded >> 4) * max(period >> 12, 1)
    if period < 4 or phase >= period:
        raise ValueError("not an era")
    return Era(raw[at : at + 2], period, phase), at + 2
