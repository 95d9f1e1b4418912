"""miner's process <-> ENGINE'S PROCESS: the messages between them, and their frames.

Four bytes of length, little-endian, then MessagePack. One frame carries all tokens of an engine
step, because a message a token would cost more than the step of a small model.
"""

import struct
from typing import Any, Final

import msgspec

_LENGTH: Final = struct.Struct("<I")


class Start(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The first message to the engine: what to load."""

    release: bytes
    """`protocol.release.Release` as JSON."""
    folder: str
    concurrent_requests_max: int
    arguments: dict[str, Any]
    """vLLM's, by `engine_args.parse_engine_arguments`."""


class Started(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The engine takes requests."""

    environment: bytes
    """`protocol.inference.Environment` as JSON."""


class Unusable(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The engine will never start: the operator's arguments do not fit."""

    detail: str


class Dead(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The engine failed as a whole; nothing follows."""

    detail: str


class Ask(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """One request; `number` names it from here on."""

    number: int
    prompt_token_ids: list[int]
    temperature_milli: int
    top_p_milli: int
    top_k: int
    tokens_max: int
    seed: int
    structure: bytes | None = None
    """`protocol.structure.Structure` as JSON."""


class Abort(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Nobody waits for this request any more."""

    number: int


class Refused(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The engine will not answer this request."""

    number: int
    detail: str


class Unsupported(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The engine cannot do what this request asks for: its caller's to mend."""

    number: int
    detail: str


class Emitted(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What one step gave: (number, token ids, log-probabilities, vLLM's finish reason) each."""

    answers: list[tuple[int, list[int], list[float], int | None]]


ToEngine = Start | Ask | Abort
FromEngine = Started | Unusable | Dead | Refused | Unsupported | Emitted

_ENCODER: Final = msgspec.msgpack.Encoder()
TO_ENGINE: Final = msgspec.msgpack.Decoder(ToEngine)
FROM_ENGINE: Final = msgspec.msgpack.Decoder(FromEngine)


def frame(message: ToEngine | FromEngine) -> bytes:
    """The message as it crosses the socket."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Bytes as they come -> bodies of whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes."""
        self._data += data
        bodies = []
        start = 0
        while len(self._data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, start)
            stop = start + _LENGTH.size + length
            if stop > len(self._data):
                break
            bodies.append(bytes(self._data[start + _LENGTH.size : stop]))
            start = stop
        del self._data[:start]
        return bodies
