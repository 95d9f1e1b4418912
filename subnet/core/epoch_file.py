"""one epoch <-> FILE: what a validator publishes of it, so that anybody can replay it.

Lines of JSON: a header, then the records byte for byte as they are hashed.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from protocol.units import Digest
from subnet.core.bundle import Whole
from subnet.core.checks import EpochFile
from subnet.core.echoes import EchoPool
from subnet.core.rules import RuleParams
from subnet.core.standing import MinerStanding
from subnet.core.statement import SignedStatement

FORMAT: Final = "assay/epoch/3"


class EpochFileError(ValueError):
    """The bytes are no epoch file; the message says where."""


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["assay/epoch/3"] = FORMAT
    signed: SignedStatement
    previous: SignedStatement | None
    rules: RuleParams | None
    head_before: Digest | None
    later: tuple[Digest, ...]
    before: tuple[MinerStanding, ...]
    secrets: dict[Whole, Digest]
    pools: dict[Whole, EchoPool]


def to_bytes(file: EpochFile) -> bytes:
    """The file's content."""
    header = _Header(
        signed=file.signed,
        previous=file.previous,
        rules=file.rules,
        head_before=None if file.head_before is None else file.head_before.hex(),
        later=file.later,
        before=file.before,
        secrets={period: secret.hex() for period, secret in file.secrets.items()},
        pools=dict(file.pools),
    )
    return b"".join(line + b"\n" for line in (header.model_dump_json().encode(), *file.lines))


def from_bytes(content: bytes) -> EpochFile:
    """The inverse. Raises EpochFileError."""
    first, *lines = content.splitlines() or [b""]
    try:
        header = _Header.model_validate_json(first)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["loc"] == ("format",):
            raise EpochFileError(
                f"its format is {problem['input']}, and this code reads {FORMAT}: replay it with "
                "the code that wrote it"
            ) from error
        where = ".".join(str(part) for part in problem["loc"]) or "the first line"
        raise EpochFileError(f"{where}: {problem['msg']}") from error
    return EpochFile(
        signed=header.signed,
        previous=header.previous,
        rules=header.rules,
        head_before=None if header.head_before is None else bytes.fromhex(header.head_before),
        later=header.later,
        before=header.before,
        lines=tuple(lines),
        secrets={period: bytes.fromhex(secret) for period, secret in header.secrets.items()},
        pools=header.pools,
    )
