"""What crosses the wire: frozen messages, units, the bytes that get signed, typed refusals.

Imports nothing of ours. A change to any signed byte is a protocol change: raise
`PROTOCOL_VERSION` and publish new golden vectors (tests/golden/protocol).
"""

from typing import Final

PROTOCOL_VERSION: Final = 1
"""The version this code speaks. A peer that speaks another is refused, with both versions named."""
