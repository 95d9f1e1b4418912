"""What every message shares: frozen, strict, and one definition of the bytes that get signed."""

import hashlib

import rfc8785
from pydantic import BaseModel, ConfigDict

from protocol import PROTOCOL_VERSION


class WireMessage(BaseModel):
    """A message that crosses the wire: immutable, no coercion, no field that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def to_bytes(self) -> bytes:
        """The message as compact JSON, UTF-8."""
        return self.model_dump_json().encode()

    def signing_bytes(self) -> bytes:
        """What a signature covers: version, message type, then canonical JSON (RFC 8785).

        The type keeps a signed card from being replayed as a response.
        """
        domain = f"assay/{PROTOCOL_VERSION}\n{type(self).__name__}\n".encode()
        return domain + rfc8785.dumps(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the signing bytes, lower-case hex: the message's name everywhere else."""
        return hashlib.sha256(self.signing_bytes()).hexdigest()
