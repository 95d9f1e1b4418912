"""signed answers -> LOG: a miner's own proof of what it answered, for the day that one is denied.

One line of JSON an answer: what the miner signed, never what was asked or answered.
"""

import contextlib
import logging
import os
from collections.abc import Iterable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pydantic import ValidationError

from protocol.inference import EndLine, InferenceResponse
from subnet.config import ConfigError

_log = logging.getLogger(__name__)


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
            _end_last_line(path)
            self._file = _PrivateFile(path, maxBytes=bytes_max // 2, backupCount=1)
        except OSError as error:
            raise ConfigError(f"cannot write the answer log {path}: {error.strerror}") from error

    def __call__(self, line: EndLine) -> None:
        """Keep one answer."""
        self._file.emit(logging.makeLogRecord({"msg": line.model_dump_json()}))

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def _end_last_line(path: Path) -> None:
    """A process that was killed may have left half a line: the next must not be part of it."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.write(b"\n")


def read_log(paths: Iterable[Path]) -> dict[str, tuple[InferenceResponse, str]]:
    """Response and signature by request digest, and a warning for lines that are no signed answer.

    Raises ConfigError for a file that has no other lines.
    """
    found: dict[str, tuple[InferenceResponse, str]] = {}
    for path in paths:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"cannot read the answer log {path}: {error.strerror}") from error
        answers = [answer for line in lines if (answer := _answer(line)) is not None]
        if lines and not answers:
            raise ConfigError(f"{path} is no answer log: one signed answer a line")
        if len(answers) < len(lines):
            bad = len(lines) - len(answers)
            _log.warning("%s: %d of %d lines are no signed answers", path, bad, len(lines))
        for answer in answers:
            found[answer.response.request_digest] = answer.response, answer.signature
    return found


def _answer(line: bytes) -> EndLine | None:
    try:
        return EndLine.model_validate_json(line)
    except ValidationError:
        return None
