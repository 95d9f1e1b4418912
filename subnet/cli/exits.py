"""How every process of ours ends: 0 done, 2 you can mend it (one clear line), 1 we are wrong."""

import sys
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from subnet.config import ConfigError
from subnet.edge.family_plugins import load_families
from subnet.ports import ChainError, DeregisteredError, EngineError

EXIT_USAGE: Final = 2
EXIT_FAULT: Final = 1


class UsageError(Exception):
    """The user can mend this: the message is one line that says what is wrong and how."""


MENDABLE: Final = (UsageError, ConfigError, ChainError, DeregisteredError, EngineError)


def run_process(main: Callable[[], None]) -> None:
    """Run a process's main function; what the user can mend becomes one line and exit code 2.

    Installed benchmark families are known to all that it does. Anything else is our own defect: it
    crashes with its traceback and exit code 1.
    """
    try:
        load_families()
        main()
    except MENDABLE as error:
        exit_with(error)
    except ExceptionGroup as group:
        leaves = list(_leaves(group))
        mendable = [leaf for leaf in leaves if isinstance(leaf, MENDABLE)]
        if len(mendable) < len(leaves):
            raise
        exit_with(mendable[0])
    except KeyboardInterrupt:
        sys.exit(130)


def exit_with(error: Exception) -> NoReturn:
    """Print the error as one line and exit with code 2."""
    line = " ".join(str(error).split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(EXIT_USAGE)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
