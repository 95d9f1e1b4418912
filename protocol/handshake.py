"""Before the first request: which versions, which release, how much capacity."""

from typing import Annotated, Final, Literal

from pydantic import Field

from protocol import PROTOCOL_VERSION
from protocol.inference import Environment
from protocol.message import WireMessage
from protocol.release import Release
from protocol.units import Hotkey, Nonce, Signature

HANDSHAKE_PATH: Final = "/v1/handshake"


class HandshakeRequest(WireMessage):
    """The caller's offer. Authenticated by btauth/1 like every request."""

    protocol_versions: Annotated[tuple[int, ...], Field(min_length=1, max_length=16)]
    nonce: Nonce
    """Comes back in the signed card, so that an old card cannot be replayed."""


class MinerCard(WireMessage):
    """What the miner promises, under its own signature."""

    protocol_version: Literal[1] = PROTOCOL_VERSION
    nonce: Nonce
    miner_hotkey: Hotkey
    release: Release
    environment: Environment
    concurrent_requests_max: Annotated[int, Field(ge=1, le=65_536)]


class HandshakeResponse(WireMessage):
    """A signed card."""

    card: MinerCard
    signature: Signature
