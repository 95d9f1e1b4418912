"""STRATEGIES that run the public detector on their own answers, and cheat while it is calm."""

from typing import Final

from subnet.core.verification.evidence import EvidenceState, fresh_state, log_evidence, update
from subnet.sim.profiles import MeasuredAnswer
from subnet.sim.strategy import HONESTLY, WEAK, Move, Seen, Strategy

TOP_K: Final = 50
"""Of every point of the default sampling mix."""


class WatchesItself(Strategy):
    """Runs the public detector on its own answers, and cheats while that is calm."""

    name = "watches itself"
    summary = "the weaker model while its own copy of the detector is low"
    behaviour = WEAK
    calm_below = 3.5
    """Natural logarithm of the evidence: what paid most of 3.5 to 9."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], EvidenceState] = {}

    def move(self, seen: Seen) -> Move:
        """One detector a hotkey and validator, as they have."""
        state = self._states.get((seen.hotkey, seen.validator))
        is_calm = state is None or log_evidence(state) < self.calm_below
        return Move(self.behaviour) if is_calm else HONESTLY

    def answered(self, seen: Seen, move: Move, answer: MeasuredAnswer) -> None:
        """Score the own answer as a validator would."""
        key = (seen.hotkey, seen.validator)
        state = self._states.get(key) or fresh_state(self.kit.evidence)
        sampling = seen.temperature_milli, seen.top_p_milli, TOP_K
        found = answer.readings(self.kit.table, sampling, is_structured=seen.is_structured)
        if found is not None:
            self._states[key] = update(state, found, self.kit.evidence)


class WatchesRounding(WatchesItself):
    """The same with weights that are only rounded: each answer accuses little."""

    name, behaviour, calm_below = "watches its rounding", "fp8 weights", 4.5
    summary = "weights in fp8 while its own copy of the detector is low"
    is_visible = False


class WatchesDrafts(WatchesItself):
    """The same with a draft model's tokens."""

    name, behaviour, calm_below = "watches its drafts", "loose speculation .3", 4.0
    summary = "loose speculation while its own copy of the detector is low"
    is_visible = False
