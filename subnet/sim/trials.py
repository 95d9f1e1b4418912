"""seeds -> TRIALS -> outcomes: the runs that the law rests on."""

from dataclasses import dataclass, replace
from typing import Final

from subnet.config import Settings
from subnet.sim.adversaries import (
    ADVERSARIES,
    CONTROLS,
    BenchmarksOnly,
    Buffer,
    Colluders,
    Diluted,
    Fp8,
    Int8,
    LeakedFriend,
    RoundsForUsers,
    SharedEngine,
    SlowButAdequate,
    SlowPeer,
    Speculative,
    WhitewashDrafts,
    WhitewashRounding,
)
from subnet.sim.options import ChainParams, SimOptions
from subnet.sim.profiles import HONEST
from subnet.sim.result import SimResult, result_of
from subnet.sim.simulation import Laboratory, Simulation
from subnet.sim.strategy import HONESTLY, Move, Seen, Strategy
from subnet.sim.validators import HONEST_VALIDATOR, Leaker, Liar, ValidatorStrategy, WeightCopier
from subnet.sim.watchers import WatchesDrafts, WatchesItself, WatchesRounding

Maker = type[Strategy]
DAY_TRIAL, MONTH_TRIAL, HONEST_TRIAL = "day", "month", "honest alone"
USERS_TRIAL, COMPANY_TRIAL = "users", "company"
LEAK_TRIAL = "copier and leaker, commit-reveal on"
SLOW_PEER_TRIAL, GOOD_PEER_TRIAL = "slow peer", "good peer"
WIDE_TRIAL = "wide engines"


class GoodPeer(SlowPeer):
    """The slow peer's twin whose hotkeys are both good: what others score beside it."""

    name, engine_share = SlowPeer.name, 2.0

    def move(self, seen: Seen) -> Move:
        """Always well."""
        return HONESTLY


@dataclass(frozen=True)
class Trial:
    """One kind of run, repeated with every seed."""

    name: str
    hours: float
    miners: int
    validators: int
    load: float
    entrants: tuple[Maker, ...]
    dishonest: tuple[type[ValidatorStrategy], ...] = ()
    commit_reveal: bool = True
    tempo_blocks: int = 360
    bursts_per_day: int = 12
    prompts: float = 0.0
    """Users' own, an hour at each validator."""
    width: float = 1.0
    """Of everybody's engine, over the price table's."""

    @property
    def requests(self) -> int:
        """That the load asks for, joint bursts aside: how long a run takes goes by it."""
        return round(self.hours * self.miners * self.load)

    def options(self, seed: int) -> SimOptions:
        """With one seed."""
        return SimOptions(
            hours=self.hours,
            miners=self.miners,
            validators=self.validators,
            load=self.load,
            bursts_per_day=self.bursts_per_day,
            prompts_per_hour=self.prompts,
            seed=seed,
            chain=ChainParams(commit_reveal=self.commit_reveal, tempo_blocks=self.tempo_blocks),
        )


SLOW: Final[tuple[Maker, ...]] = (
    Fp8,
    Int8,
    Diluted,
    Speculative,
    WhitewashRounding,
    WhitewashDrafts,
    WatchesItself,
    WatchesRounding,
    WatchesDrafts,
)
"""Whose evidence gathers over hundreds or thousands of answers: they get a month."""
USERS: Final[tuple[Maker, ...]] = (BenchmarksOnly, RoundsForUsers)
"""What only users' prompts show."""
TWICE: Final[tuple[Maker, ...]] = (Buffer, SlowButAdequate)
"""Near their bounds: two operators each, for less noise."""
COMPANY: Final[tuple[Maker, ...]] = (Colluders, SlowPeer)
"""Hotkeys beside an honest one: what they add to it is next to nothing, so that many operators and
bursts are tried."""
DAY: Final[tuple[Maker, ...]] = tuple(
    one for one in ADVERSARIES if one not in (*SLOW, *USERS, *COMPANY)
)


def whole() -> tuple[Trial, ...]:
    """All that `make law` runs."""
    return (
        Trial(DAY_TRIAL, 24.0, 44, 1, 40.0, (*DAY, *CONTROLS, *TWICE)),
        Trial(COMPANY_TRIAL, 24.0, 64, 1, 20.0, COMPANY * 8, bursts_per_day=48),
        Trial(USERS_TRIAL, 24.0, 10, 1, 24.0, USERS, prompts=160.0),
        Trial(HONEST_TRIAL, 24.0, 8, 3, 60.0, (), bursts_per_day=24),
        Trial(MONTH_TRIAL, 720.0, 32, 1, 2.0, SLOW, bursts_per_day=1),
        Trial(WIDE_TRIAL, 24.0, 9, 1, 40.0, (SharedEngine,), bursts_per_day=24, width=5.0),
        *(
            Trial(name, 24.0, 10, 1, 60.0, (peer,))
            for name, peer in ((SLOW_PEER_TRIAL, SlowPeer), (GOOD_PEER_TRIAL, GoodPeer))
        ),
        *(
            _few(f"{name}, commit-reveal {word}", friends, kinds, word == "on", prompts)
            for name, friends, kinds, prompts in (
                ("copier and leaker", (LeakedFriend,), (WeightCopier, Leaker), 25.0),
                ("liar", (DAY[0],), (Liar,), 0.0),
            )
            for word in ("on", "off")
        ),
    )


def _few(
    name: str,
    entrants: tuple[Maker, ...],
    dishonest: tuple[type[ValidatorStrategy], ...] = (),
    commit_reveal: bool = True,
    prompts: float = 0.0,
) -> Trial:
    return Trial(name, 12.0, 10, 4, 20.0, entrants, dishonest, commit_reveal, prompts=prompts)


def quick() -> tuple[Trial, ...]:
    """The same statements on short, busy runs: for tests, not for figures."""
    return (
        _short(DAY_TRIAL, (DAY[0], *CONTROLS)),
        _short(COMPANY_TRIAL, (SlowPeer,)),
        _short(USERS_TRIAL, USERS),
        _short(MONTH_TRIAL, (Int8,)),
        _short(HONEST_TRIAL, ()),
        _short(SLOW_PEER_TRIAL, (SlowPeer,)),
        _short(GOOD_PEER_TRIAL, (GoodPeer,)),
        _short(LEAK_TRIAL, (LeakedFriend,), (WeightCopier, Leaker)),
    )


def _short(
    name: str,
    entrants: tuple[Maker, ...],
    dishonest: tuple[type[ValidatorStrategy], ...] = (),
) -> Trial:
    return Trial(name, 1.0, 8, 3, 90.0, entrants, dishonest, tempo_blocks=25, bursts_per_day=24)


@dataclass(frozen=True)
class Outcome:
    """What one trial with one seed came to."""

    trial: str
    result: SimResult
    peer_score: float
    """Mean score of honest miners at the first honest validator, in ppm, over all epochs but the
    first third: one epoch's is mostly the luck of its last burst."""


def tried(trial: Trial, seed: int, lab: Laboratory, settings: Settings) -> Outcome:
    """Run one trial with one seed."""
    run = Simulation(
        replace(lab, prices=lab.prices.wider(trial.width)),
        trial.options(seed),
        settings,
        [made() for made in trial.entrants],
        [made() for made in trial.dishonest],
    ).run()
    judge = next(one for one in run.validators if one.strategy.name == HONEST_VALIDATOR)
    epochs = [one.scores_ppm for one in judge.store.epochs() if one.scores_ppm]
    honest = [key for one in run.fleet.named(HONEST) for key in one.hotkeys]
    found = [scores.get(key, 0) for scores in epochs[len(epochs) // 3 :] for key in honest]
    return Outcome(trial.name, result_of(run), sum(found) / max(1, len(found)))
