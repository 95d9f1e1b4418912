"""Logs of a process: one line an event on standard error, with time, level and where from.

Nothing secret is ever logged: no key, no nonce before its request, no prompt, no answer.
"""

import logging
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LOUD: Final = ("bittensor", "websockets", "httpx", "httpcore", "transformers", "asyncio")
"""Libraries that tell at INFO what only their authors need."""


def set_up_logging(level: str) -> None:
    """Send this process's logs to standard error. `level` as in settings, such as `info`."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=FORMAT, force=True)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
