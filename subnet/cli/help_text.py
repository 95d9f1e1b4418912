"""docstring -> HELP: paragraphs that fit any terminal, and brackets that stand for themselves."""

from collections.abc import Callable
from inspect import cleandoc
from typing import Any

from rich.markup import escape


def help_of(verb: Callable[..., Any]) -> str:
    """What `--help` says of a verb: its docstring, each paragraph one line.

    Rich keeps the line breaks of the source, and takes `[draws]` for a style.
    """
    paragraphs = cleandoc(verb.__doc__ or "").split("\n\n")
    return escape("\n\n".join(" ".join(one.split()) for one in paragraphs))
