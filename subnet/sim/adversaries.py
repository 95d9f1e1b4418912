"""STRATEGIES by name: the ways to earn more than serving honestly, and honest controls.

What their answers look like was measured on the attack bench; see `strategy` for the interface.
"""

from typing import TYPE_CHECKING, Final

from subnet.sim.strategy import HONESTLY, WEAK, Move, Seen, Strategy
from subnet.sim.watchers import WatchesDrafts, WatchesItself, WatchesRounding

if TYPE_CHECKING:
    from subnet.sim.fleet import Operator


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


class Cascade(_Always):
    """Asks the release only where a smaller model is unsure."""

    name, summary = "confidence cascade", "a smaller model's tokens where it is sure"
    behaviour, is_visible = "confidence cascade", False


class LowEntropy(_Always):
    """A smaller model where nothing is left to chance."""

    name, summary = "low entropy only", "a smaller model's tokens below half a nat"
    behaviour, is_visible = "low entropy only", False


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


class Whitewash(_Always):
    """A caught hotkey is left behind for a fresh one."""

    name, summary = "whitewash", "the weaker model; registers anew when its income stops"
    epochs_unpaid_max = 3

    def __init__(self) -> None:
        self._unpaid = 0

    def epoch(self, operator: "Operator") -> None:
        """Look at the incomes, as everybody can: an epoch that pays nobody says nothing."""
        newest, incomes = operator.active[-1], operator.chain.outcomes[-1].incomes_rao
        if any(incomes.values()):
            self._unpaid = 0 if incomes.get(newest, 0) else self._unpaid + 1
        if self._unpaid > self.epochs_unpaid_max and operator.enrol() is not None:
            operator.leave(newest)
            self._unpaid = 0


class WhitewashRounding(Whitewash):
    """The same with weights that are only rounded: paid well before it is caught."""

    name, behaviour, epochs_unpaid_max = "whitewash, rounded", "fp8 weights", 1
    summary = "weights in fp8; registers anew when its income stops"


class WhitewashDrafts(Whitewash):
    """The same with what takes longest to see."""

    name, behaviour, epochs_unpaid_max = "whitewash, drafts", "loose speculation .3", 1
    summary = "loose speculation; registers anew when its income stops"


class SharedEngine(Strategy):
    """Several hotkeys in front of one engine, whose slots they share as well."""

    name, summary, hotkeys = "4 hotkeys, 1 engine", "four hotkeys that share one engine", 4
    declared_factor = 0.25


class Buffer(Strategy):
    """Holds tokens back as long as the first token's bar lets it, where that costs no capacity."""

    name, summary = "buffer", "lets no token out before 4.7 s, and then all that are there"
    held_seconds = 4.7

    def move(self, seen: Seen) -> Move:
        """Late and at once, but for bursts: there the next question waits for the answer."""
        return HONESTLY if seen.running else Move(held_seconds=self.held_seconds)


class OverDeclared(Strategy):
    """Promises more concurrent requests than its engine can take."""

    name, summary = "over-declared", "a quarter of an engine that declares the slots of a whole one"
    engine_share, declared_factor = 0.25, 4.0


class BenchmarksOnly(Strategy):
    """Cheats where the prompt is a user's: few of those answers are audited."""

    name, summary = "serves benchmarks only", "the weaker model on users' prompts"
    behaviour = WEAK

    def move(self, seen: Seen) -> Move:
        """By content: wire and timing do not tell."""
        return Move(self.behaviour) if seen.is_users else HONESTLY


class RoundsForUsers(BenchmarksOnly):
    """The same with weights that are only rounded, which users' prompts hide."""

    name, behaviour = "rounds for users", "fp8 weights"
    summary = "weights in fp8 on users' prompts"
    is_visible = False


class RentsForProbes(Strategy):
    """A quarter of a GPU until two requests come at once."""

    name, summary = (
        "rents for probes",
        "a quarter of a GPU; a whole one 20 s after a second request",
    )
    small, start_seconds, hold_seconds = 0.25, 20.0, 30.0

    def __init__(self) -> None:
        self._up_at, self._until = 0.0, 0.0
        self._rented_seconds, self._billed_at = 0.0, 0.0

    def move(self, seen: Seen) -> Move:
        """As fast as `SimEngine` is on a quarter, unless the rented GPU is up."""
        now = seen.now_seconds
        if seen.running and now > self._until:
            self._up_at, self._until = now + self.start_seconds, now
        if seen.running:
            self._rented_seconds += now + self.hold_seconds - self._until
            self._until = now + self.hold_seconds
        is_up = self._up_at <= now <= self._until
        return HONESTLY if is_up else Move(pace=4.0 if seen.running else 2.0)

    def gpus(self, now_seconds: float) -> float:
        """What was rented since the last bill, on average."""
        rented = self._rented_seconds / (now_seconds - self._billed_at)
        self._billed_at, self._rented_seconds = now_seconds, 0.0
        return self.small + (1.0 - self.small) * min(1.0, rented)


class Flaky(Strategy):
    """Leaves a fifth of its requests unanswered."""

    name, summary = "flaky", "answers four requests of five"

    def move(self, seen: Seen) -> Move:
        """Silence costs nothing to give."""
        return Move(is_silent=seen.chance.random() < 0.2)


class PartTimer(Strategy):
    """No cheat: gives its GPU back for a quarter of the day, and is paid for the rest."""

    name, summary = "part-timer", "honest for 18 hours of 24, off the net for the rest"
    is_control = True

    def is_on(self, now_seconds: float) -> bool:
        """Not at night."""
        return now_seconds % 86_400 < 64_800

    def gpus(self, now_seconds: float) -> float:
        """Nothing is rented meanwhile."""
        return 0.75


class Picky(Strategy):
    """Refuses what takes longest, with an honest word, just as often as that is cheap."""

    name, summary = "picks its tasks", "429 for a sixth of the family with the longest answers"
    family, share = "transaction", 0.17
    """One family of nine: 1.9 % of all, below `back_pressure_share_rare`."""
    is_visible = False

    def move(self, seen: Seen) -> Move:
        """By content."""
        return Move(is_refused=seen.family == self.family and seen.chance.random() < self.share)


class SlowPeer(Strategy):
    """A very slow hotkey beside a good one: by ranks, it would lift it."""

    name, summary = "slow peer", "a good hotkey and a very slow one, to look better by"
    hotkeys = 2

    def move(self, seen: Seen) -> Move:
        """Sixty times slower, from a machine that costs nothing."""
        return Move(pace=60.0, is_aside=True) if seen.number else HONESTLY


class Colluders(Strategy):
    """One serves, two repeat what it says."""

    name, summary, hotkeys = "colluding miners", "one honest hotkey, two that copy its answers", 3

    def move(self, seen: Seen) -> Move:
        """The first one is the honest one."""
        return Move("copied") if seen.number else HONESTLY


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

    name = "friend of a leaking validator"
    summary = "the weaker model where its friend says: no benchmark"
    is_visible = False
    """To nobody but its friend: other validators never see what that one's users were sent."""

    def move(self, seen: Seen) -> Move:
        """Where it is told nothing, it takes care."""
        return Move(WEAK) if seen.told_benchmark is False else HONESTLY


class SlowButAdequate(Strategy):
    """No cheat: cheaper hardware that keeps to the bars."""

    name, summary, gpu = "slow but adequate", "honest on a cheaper, slower GPU", "RTX 4090"
    is_control = True


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
    Cascade,
    LowEntropy,
    Forger,
    BuildThenMilk,
    Whitewash,
    WhitewashRounding,
    WhitewashDrafts,
    SharedEngine,
    Relay,
    Copy,
    Precompute,
    Buffer,
    OverDeclared,
    BenchmarksOnly,
    RoundsForUsers,
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
