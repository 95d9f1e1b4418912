"""first draws of the counters around -> TASK: no prompt twice within a window of requests.

Two owners who compare notes would know a prompt that both were sent for a benchmark. Small families
repeat themselves by chance, so a task whose prompt was drawn shortly before is drawn again. That
follows from first draws alone, which need no history: anyone re-derives any task by itself. Only
two second draws may still be the same: one prompt in thousands.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Final

from subnet.core.benchmark.task import Task

ATTEMPTS_MAX: Final = 16
"""Then the last draw stands: a family with fewer prompts than its share of a window must repeat."""
SHORT_CHARACTERS: Final = 200
"""A longer prompt holds too many draws to come twice by chance, and takes longer to make."""
WINDOWS_REMEMBERED: Final = 16


class TaskStream:
    """The tasks under one secret, by counter. Remembers first draws, which only saves time."""

    def __init__(
        self,
        family_of: Callable[[int], str],
        draw: Callable[[int, int], Task],
        window_requests: int,
    ) -> None:
        """`family_of` gives the family of a counter, `draw` its task at an attempt, from 0."""
        self._family_of = family_of
        self._draw = draw
        self._window = window_requests
        self._known: dict[str, range] = {}
        """By family: the counters whose first draws are remembered."""
        self._drawn_at: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )
        """By family: prompt -> counters."""

    def task(self, counter: int) -> Task:
        """The first draw, unless one of the window before it is the same; then the first attempt
        whose prompt is no first draw of the windows before and after."""
        task = self._draw(counter, 0)
        if len(task.prompt) > SHORT_CHARACTERS:
            return task
        before = range(max(0, counter - self._window), counter)
        around = range(before.start, counter + self._window)
        self._remember(around, task.family)
        taken, drawn_at = before, self._drawn_at[task.family]
        for attempt in range(1, ATTEMPTS_MAX):
            if not any(one in taken for one in drawn_at.get(task.prompt, ())):
                break
            task, taken = self._draw(counter, attempt), around
        return task

    def _remember(self, counters: range, family: str) -> None:
        """First draws of that family: others ask other things."""
        known = self._known.get(family, range(0))
        if len(known) > WINDOWS_REMEMBERED * self._window or not _touch(known, counters):
            self._drawn_at[family], known = defaultdict(set), range(0)
        known = known or range(counters.start, counters.start)
        wider = range(min(known.start, counters.start), max(known.stop, counters.stop))
        for counter in chain(range(wider.start, known.start), range(known.stop, wider.stop)):
            if self._family_of(counter) == family:
                self._drawn_at[family][self._draw(counter, 0).prompt].add(counter)
        self._known[family] = wider


def _touch(one: range, other: range) -> bool:
    return max(one.start, other.start) <= min(one.stop, other.stop)
