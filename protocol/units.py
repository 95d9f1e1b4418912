"""The units that messages are made of: integers and strings, as floats have no canonical bytes."""

from typing import Annotated, Final

from pydantic import Field

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenCount = Annotated[int, Field(ge=0, lt=2**31)]
BlockNumber = Annotated[int, Field(ge=0, lt=2**63)]
Microseconds = Annotated[int, Field(ge=0, lt=2**53)]
Rao = Annotated[int, Field(ge=0, lt=2**63)]
"""An amount of TAO in its smallest unit: 1 TAO is 1_000_000_000 rao. Never a float."""

Float16Bits = Annotated[int, Field(ge=0, lt=2**16)]
"""An IEEE 754 half-precision number as its bit pattern."""

Hotkey = Annotated[str, Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{47,48}$")]
"""An sr25519 public key as an ss58 address."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest, lower-case hex."""

Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes that are used once, lower-case hex."""

RequestId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""16 bytes that name one request, lower-case hex."""

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""An sr25519 signature, lower-case hex."""

RAO_PER_TAO: Final = 1_000_000_000
