"""path -> PLACE: where a long run will write, tried before it and not after."""

import os
from pathlib import Path

from subnet.cli.exits import UsageError


def place_of_file(path: Path, flag: str = "--output") -> Path:
    """The same path. Raises UsageError where no file can be written."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{flag}: {path} cannot be written")
    return path


def place_of_files(folder: Path, flag: str = "--output") -> Path:
    """The same folder, made if it is not there. Raises UsageError where none can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag}: {folder} is no folder to write to: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{flag}: {folder} cannot be written to")
    return folder
