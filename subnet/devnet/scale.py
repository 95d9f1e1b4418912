"""SCALE primitives for what the SDK's codec cannot write: the metadata that it is built from.

Everything else on the wire is encoded by `bittensor_core.Runtime`, driven by that metadata.
"""

from collections.abc import Iterable


def compact(value: int) -> bytes:
    """The compact encoding of an unsigned integer below 2**536."""
    if value < 1 << 6:
        return (value << 2).to_bytes(1, "little")
    if value < 1 << 14:
        return (value << 2 | 1).to_bytes(2, "little")
    if value < 1 << 30:
        return (value << 2 | 2).to_bytes(4, "little")
    width = (value.bit_length() + 7) // 8
    return ((width - 4) << 2 | 3).to_bytes(1, "little") + value.to_bytes(width, "little")


def read_compact(data: bytes, offset: int) -> tuple[int, int]:
    """A compact integer and the offset behind it. Raises ValueError when the bytes end early."""
    if offset >= len(data):
        raise ValueError("compact integer is missing")
    mode = data[offset] & 3
    width = (1, 2, 4, (data[offset] >> 2) + 5)[mode]
    end = offset + width
    if end > len(data):
        raise ValueError("compact integer is cut short")
    if mode == 3:
        return int.from_bytes(data[offset + 1 : end], "little"), end
    return int.from_bytes(data[offset:end], "little") >> 2, end


def text(value: str) -> bytes:
    """A length-prefixed UTF-8 string."""
    raw = value.encode()
    return compact(len(raw)) + raw


def blob(value: bytes) -> bytes:
    """A length-prefixed byte string."""
    return compact(len(value)) + value


def vector(items: Iterable[bytes]) -> bytes:
    """A length-prefixed sequence of encoded items."""
    encoded = list(items)
    return compact(len(encoded)) + b"".join(encoded)


def option(value: bytes | None) -> bytes:
    """`None` as 0x00, a value as 0x01 and the value."""
    return b"\x00" if value is None else b"\x01" + value
