"""The family of docs/benchmark.md, taken from the page itself; and ways to get one wrong."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmark.md"
(SOURCE,) = re.findall(
    r"```python title=\"roman_family.py\"\n(.*?)```", PAGE.read_text(), re.DOTALL
)
_names: dict = {"__name__": "roman_family"}
exec(compile(SOURCE, "roman_family.py", "exec"), _names)
Roman = _names["Roman"]
RAISES = None


class Broken(Roman):
    """Cannot even be made."""

    def __init__(self):
        raise ZeroDivisionError("by design")


class Impostor(Roman):
    """Takes a shipped family's name."""

    name = "arithmetic"
