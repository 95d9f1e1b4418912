"""endpoint -> ADDRESS -> connection: which addresses that a miner chose we are willing to call.

A name is resolved once and the connection goes to that very address: a second look-up could
answer with another one (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
from typing import Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway translates to IPv4 (RFC 6052)."""

_REFUSED: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible (RFC 4291, deprecated)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b:1::/48",  # NAT64 inside one network (RFC 8215)
        "fec0::/10",  # site-local (RFC 3879, deprecated)
    )
)
"""IPv6 addresses without a use on the public internet, which some hosts still route inwards."""


class AddressRefusedError(Exception):
    """The endpoint does not resolve, or only to addresses that we do not call."""


async def resolve_address(host: str, port: int, *, allow_private: bool) -> str:
    """The IP address to connect to, without brackets. Raises AddressRefusedError.

    Private, loopback, link-local, multicast and reserved ranges are refused, also when wrapped into
    IPv6, unless `allow_private`.
    """
    try:
        candidates = [str(ipaddress.ip_address(host))]
    except ValueError:
        candidates = await _look_up(host, port)
    for candidate in candidates:
        if allow_private or is_public(candidate):
            return candidate
    raise AddressRefusedError(f"{host} is not a public address")


def is_public(address: str) -> bool:
    """Whether the address belongs to the public internet."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if any(parsed in network for network in _REFUSED):
            return False
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"{host[:100]} does not resolve") from error
    return [str(row[4][0]) for row in rows]
