"""STRATEGIES by name: the ways to earn more than serving honestly, and honest controls.

What their answers look like was measured on the attack bench; see `strategy` for the interface.
"""

from typing import TYPE_CHECKING, Final

from protocol.structure import Structure
from subnet.core.audit import Traffic, readings
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.core.verification.evidence import EvidenceState, fresh_state, log_evidence, update
from subnet.sim.profiles import MeasuredAnswer
from subnet.sim.strategy import HONESTLY, Move, Seen, Strategy

if TYPE_CHECKING:
    from subnet.sim.fleet import Operator

WEAK: Final = "smaller model"
ANY_STRUCTURE: Final = Structure(kind="json_schema", text="{}")
"""Its answers are read by their margins alone, whatever it says."""


class _Always(Strategy):
    """Gives one behaviour's answers, in a share of its answers."""

    behaviour = WEAK
    share = 1.0

    def move(self, seen: Seen) -> Move:
        """The behaviour, or honesty."""
        return Move(self.behaviour) if seen.chance.random() < self.share else HONESTLY


class WeakerModel(_Always):
    """A smaller model under the release's name."""

    name, summary = "weaker model", "serves half of the release's layers"


class Int4(_Always):
    """Weights in four bits."""

    name, summary, behaviour = "quantised int4", "weights in 4 bits", "int4 weights"


class Fp8(_Always):
    """Weights in fp8."""

    name, summary, behaviour = "quantised fp8", "weights in fp8", "fp8 weights"


class Int8(_Always):
    """Weights in eight bits, which honest numerics hide."""

    name, summary, behaviour = "quantised int8", "weights in 8 bits", "int8 weights"
    is_visible = False


class Sporadic(_Always):
    """Cheats now and then."""

    name, summary, share = "sporadic 20 %", "the weaker model in one answer of five", 0.2


class Diluted(_Always):
    """Cheats rarely."""

    name, summary, share = "diluted 4 %", "the weaker model in one answer of 25", 0.04
    is_visible = False


class Speculative(_Always):
    """Accepts a draft model's tokens too easily."""

    name, summary = "loose speculation", "takes drafts that the release gives .3"
    behaviour = "loose speculation .3"


class Forger(_Always):
    """Cheap tokens with the release's log-probabilities."""

    name, summary = "forged log-probabilities", "cheap tokens, the release's numbers"
    behaviour = "forged log-probabilities"


class Copy(_Always):
    """What another miner answered."""

    name, summary, behaviour = "copy", "gives what another miner answered", "copied"


class Precompute(_Always):
    """An answer made before the nonce was known."""

    name, summary, behaviour = "precompute", "answers made in advance", "precomputed"


class Relay(Strategy):
    """Asks an honest miner with a permit of its own."""

    name, summary = "relay", "asks an honest miner, as another caller"

    def move(self, seen: Seen) -> Move:
        """The other miner's time comes on top."""
        return Move("relay with a foreign permit", wait_seconds=0.2)


class BuildThenMilk(Strategy):
    """Honest for a third of a day, then cheap."""

    name, summary = "build then milk", "honest for 8 hours, then the weaker model"
    honest_seconds = 8 * 3600.0

    def move(self, seen: Seen) -> Move:
        """By the clock."""
        return HONESTLY if seen.now_seconds < self.honest_seconds else Move(WEAK)


class Whitewash(Strategy):
    """A caught hotkey is left behind for a fresh one."""

    name, summary = "whitewash", "the weaker model; registers anew when its income stops"
    epochs_unpaid_max = 3

    def __init__(self) -> None:
        self._unpaid = 0

    def move(self, seen: Seen) -> Move:
        """Always cheap."""
        return Move(WEAK)

    def epoch(self, operator: "Operator") -> None:
        """Look at the own income, as everybody can."""
        newest = operator.active[-1]
        paid = operator.chain.outcomes[-1].incomes_rao.get(newest, 0)
        self._unpaid = 0 if paid else self._unpaid + 1
        if self._unpaid > self.epochs_unpaid_max and operator.enrol() is not None:
            operator.leave(newest)
            self._unpaid = 0


class SharedEngine(Strategy):
    """Several hotkeys in front of one engine, whose slots they share as well."""

    name, summary, hotkeys = "4 hotkeys, 1 engine", "four hotkeys that share one engine", 4
    declared_factor = 0.25


class Buffer(Strategy):
    """Holds questions back to fill bigger batches, and sends answers whole."""

    name, summary = "buffer", "collects questions for 12 s, sends answers whole"

    def move(self, seen: Seen) -> Move:
        """Late and at once."""
        return Move(wait_seconds=12.0, is_buffered=True)

    def gpus(self, now_seconds: float) -> float:
        """Bigger batches need less."""
        return 0.7


class OverDeclared(Strategy):
    """Promises more concurrent requests than its engine can take."""

    name, summary = "over-declared", "a quarter of an engine that declares the slots of a whole one"
    engine_share, declared_factor = 0.25, 4.0


class BenchmarksOnly(Strategy):
    """Cheats where the prompt could be a user's."""

    name, summary = "serves benchmarks only", "the weaker model on prompts as users write them"

    def move(self, seen: Seen) -> Move:
        """A structure marks a benchmark, and so do the families that no user asks."""
        is_benchmark = seen.is_structured or seen.family != "open"
        return HONESTLY if is_benchmark else Move(WEAK)


class RentsForProbes(Strategy):
    """A quarter of a GPU until several requests come at once."""

    name, summary = "rents for probes", "a quarter of a GPU; a whole one while requests pile up"
    small, rental_seconds, start_seconds = 0.25, 600.0, 60.0

    def __init__(self) -> None:
        self._rented_at = -1e9
        self._rented_seconds = 0.0
        self._billed_at = 0.0

    def move(self, seen: Seen) -> Move:
        """Four times slower unless the rented GPU is up."""
        age = seen.now_seconds - self._rented_at
        if seen.running >= 2 and age > self.rental_seconds:
            self._rented_at, age = seen.now_seconds, 0.0
            self._rented_seconds += self.rental_seconds
        is_up = self.start_seconds <= age <= self.rental_seconds
        return Move(pace=1.0 if is_up else 1.0 / self.small)

    def gpus(self, now_seconds: float) -> float:
        """What was rented since the last bill, on average."""
        lasted = max(1.0, now_seconds - self._billed_at)
        rented = min(1.0, self._rented_seconds / lasted)
        self._billed_at, self._rented_seconds = now_seconds, 0.0
        return self.small + (1.0 - self.small) * rented


class Flaky(Strategy):
    """Leaves a fifth of its requests unanswered."""

    name, summary = "flaky", "answers four requests of five"

    def move(self, seen: Seen) -> Move:
        """Silence costs nothing to give."""
        return Move(is_silent=seen.chance.random() < 0.2)


class PartTimer(Strategy):
    """No cheat: gives its GPU back for a quarter of the day, and is paid for the rest."""

    name, summary = "part-timer", "honest for 18 hours of 24, off the net for the rest"

    def move(self, seen: Seen) -> Move:
        """Nobody is at home at night."""
        return Move(is_silent=self._is_off(seen.now_seconds))

    def gpus(self, now_seconds: float) -> float:
        """Nothing is rented meanwhile."""
        return 0.75

    @staticmethod
    def _is_off(now_seconds: float) -> bool:
        return now_seconds % 86_400 >= 64_800


class Picky(Strategy):
    """Refuses what is long, with an honest word."""

    name, summary = "picks its tasks", "429 for the families with the longest answers"

    def move(self, seen: Seen) -> Move:
        """The longest limits cost most."""
        return Move(is_refused=seen.tokens_max >= 96)


class SlowPeer(Strategy):
    """One very slow hotkey beside two good ones: by ranks, it would lift them."""

    name, summary = "slow peer", "two good hotkeys and a very slow one, to look better by"
    hotkeys, engine_share = 3, 2.0

    def __init__(self) -> None:
        self._slow: str | None = None

    def epoch(self, operator: "Operator") -> None:
        """The last hotkey is the slow one."""
        self._slow = operator.active[-1]

    def move(self, seen: Seen) -> Move:
        """Sixty times slower."""
        return Move(pace=60.0) if seen.hotkey == self._slow else HONESTLY


class Colluders(Strategy):
    """One serves, two repeat what it says."""

    name, summary, hotkeys = "colluding miners", "one honest hotkey, two that copy its answers", 3

    def __init__(self) -> None:
        self._honest: str | None = None

    def move(self, seen: Seen) -> Move:
        """The first one asked is the honest one."""
        self._honest = self._honest or seen.hotkey
        return HONESTLY if seen.hotkey == self._honest else Move("copied")


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
        tokens = (0,) * answer.tokens
        sampling = (seen.temperature_milli, seen.top_p_milli, 50, 0)
        shape = ANY_STRUCTURE if seen.is_structured else None
        claim = Claim((0,), tokens, *sampling, None, answer.finish_reason, shape)
        loud = answer.margins_logits[: answer.tokens]
        score = ClaimScore(
            loud + (0.0,) * (answer.tokens - len(loud)), (answer.gap_nats,) * answer.tokens
        )
        found = readings(claim, score, self.kit.table, Traffic.BENCHMARK)
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


class Hopper(Strategy):
    """Cheats under a fingerprint that nobody calibrated."""

    name, summary = (
        "hops environments",
        "the weaker model, half of the time as an unmeasured machine",
    )

    def move(self, seen: Seen) -> Move:
        """What cannot be judged cannot accuse."""
        is_elsewhere = int(seen.now_seconds // 7200) % 2 == 1
        return Move(WEAK, is_elsewhere=True) if is_elsewhere else HONESTLY


class LeakedFriend(Strategy):
    """Is told by a validator which requests are benchmarks."""

    name, summary = "friend of a leaking validator", "honest where a friend says: benchmark"

    def move(self, seen: Seen) -> Move:
        """Where it is told nothing, it takes care."""
        is_safe = seen.is_leaked or seen.is_structured or seen.family != "open"
        return HONESTLY if is_safe else Move(WEAK)


class SlowButAdequate(Strategy):
    """No cheat: cheaper hardware that keeps to the bars."""

    name, summary, gpu = "slow but adequate", "honest on a cheaper, slower GPU", "RTX 4090"


CONTROLS: Final[tuple[type[Strategy], ...]] = (SlowButAdequate, PartTimer)
"""Honest, and no copies of the others."""
ADVERSARIES: Final[tuple[type[Strategy], ...]] = (
    WeakerModel,
    Int4,
    Fp8,
    Int8,
    Sporadic,
    Diluted,
    Speculative,
    Forger,
    BuildThenMilk,
    Whitewash,
    SharedEngine,
    Relay,
    Copy,
    Precompute,
    Buffer,
    OverDeclared,
    BenchmarksOnly,
    RentsForProbes,
    Flaky,
    Picky,
    SlowPeer,
    Colluders,
    WatchesItself,
    WatchesRounding,
    WatchesDrafts,
    Hopper,
)
