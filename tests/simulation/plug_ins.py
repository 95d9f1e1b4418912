"""Strategies as strangers write them: most of them wrong."""

import math
import shutil
from pathlib import Path

from subnet.sim.strategy import Move, Strategy


class Silent(Strategy):
    """Never answers."""

    name = "silent"

    def move(self, seen):
        return Move(is_silent=True)


class Nameless(Strategy):
    pass


class SameName(Strategy):
    name = "weaker model"


class NoSuchGpu(Strategy):
    name, gpu = "no such gpu", "nope"


class NoHotkeys(Strategy):
    name, hotkeys = "no hotkeys", 0


class NoEngine(Strategy):
    name, engine_share = "no engine", 0


class Breaks(Strategy):
    name = "breaks"

    def move(self, seen):
        return 1 / 0


class Unmeasured(Strategy):
    name = "unmeasured"

    def move(self, seen):
        return Move("nope")


class NoMove(Strategy):
    name = "no move"

    def move(self, seen):
        return None


class BadMove(Strategy):
    name = "bad move"

    def move(self, seen):
        return Move(wait_seconds=-5.0)


class BadHold(Strategy):
    name = "bad hold"

    def move(self, seen):
        return Move(held_seconds=math.nan)


class BadBill(Strategy):
    name = "bad bill"

    def gpus(self, now_seconds):
        return -1


class BreaksLate(Strategy):
    name = "breaks late"

    def epoch(self, operator):
        raise KeyError("x")


class Vandal(Strategy):
    """Removes what the report is to be written to."""

    name = "vandal"
    folder: Path

    def epoch(self, operator):
        shutil.rmtree(self.folder, ignore_errors=True)
