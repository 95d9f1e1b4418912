"""card -> PEER: a miner that can be asked, and whose it is."""

from dataclasses import dataclass

from subnet.ports import Endpoint


@dataclass(frozen=True, slots=True)
class Peer:
    """A miner that serves our release."""

    endpoint: Endpoint
    owner: str
    """Its coldkey."""
    concurrent_requests_max: int
    asked_at: float
    """The loop's time of its last handshake."""
