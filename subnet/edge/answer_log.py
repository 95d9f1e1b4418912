"""signed answers -> LOG: a miner's own proof of what it answered, for the day that one is denied.

One line of JSON an answer: what the miner signed, never what was asked or answered.
"""

import contextlib
import logging
from collections.abc import Iterable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pydantic import ValidationError

from protocol.inference import EndLine, InferenceResponse
from subnet.config import ConfigError


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.touch(mode=0o600)
        path.chmod(0o600)
        return path.open("a")


class AnswerLog:
    """A file of bounded size, for its owner's eyes only; the one before it is kept beside it."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Raises ConfigError for a path that cannot be written."""
        try:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}.1").chmod(0o600)
            self._file = _PrivateFile(path, maxBytes=bytes_max // 2, backupCount=1)
        except OSError as error:
            raise ConfigError(f"cannot write the answer log {path}: {error.strerror}") from error

    def __call__(self, line: EndLine) -> None:
        """Keep one answer."""
        self._file.emit(logging.makeLogRecord({"msg": line.model_dump_json()}))

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_log(paths: Iterable[Path]) -> dict[str, tuple[InferenceResponse, str]]:
    """Response and signature by request digest. Raises ConfigError for a file that is none."""
    found: dict[str, tuple[InferenceResponse, str]] = {}
    for path in paths:
        try:
            lines = [EndLine.model_validate_json(text) for text in path.read_text().splitlines()]
        except OSError as error:
            raise ConfigError(f"cannot read the answer log {path}: {error.strerror}") from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no answer log: one signed answer a line") from error
        for line in lines:
            found[line.response.request_digest] = line.response, line.signature
    return found
