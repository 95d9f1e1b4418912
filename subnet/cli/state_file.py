"""state path -> READER -> commands: what a validator on this machine kept, or one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subnet.cli.exits import UsageError
from subnet.edge.state_reader import StateReader, damage_named, open_for_reading


@contextmanager
def state_of(path: Path, otherwise: str = "") -> Iterator[StateReader]:
    """The file's reader, closed at the end; `otherwise` says what does without one.

    Raises UsageError where no validator has run, ConfigError for a file of another schema
    or a damaged one, wherever in it the damage is met.
    """
    reader = open_for_reading(path)
    if reader is None:
        raise UsageError(
            f"no validator has run with the state file {path}; name one with --state{otherwise}"
        )
    try:
        with damage_named(path):
            yield reader
    finally:
        reader.close()
