"""traffic of the real dispatcher -> CLASSIFIERS -> AUC: can a miner tell users from benchmarks?

An attacker who knows everything but the future: it trained on labelled traffic of other days, with
other users' prompts, and is tested on new ones. Two classifiers each time, and the better counts.
Content is tested on families of benchmarks that the attacker never saw.

Twice: on a busy subnet without echoes, and on one whose users ask enough that echoes can be as many
as the rules say, once without and once with them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from protocol.release import Release
from subnet.config import Settings
from subnet.core.audit import Traffic
from subnet.core.benchmark import generate_task
from subnet.lab.sights import (
    FOLDS,
    GROUPS,
    WIRE_AND_TIMING,
    Labelled,
    Sight,
    of_content,
    of_features,
)
from subnet.lab.watched import BUSY, TALKATIVE, Prompt, Scene, Traced, watch_traffic
from subnet.ports import Tokenizer

if TYPE_CHECKING:
    from subnet.lab.transcripts import Watch

AUC_MAX: Final = 0.55
"""What a miner's view may give away."""
PROMPTS_A_RUN: Final = 170
EARLIER_SHARE: Final = 0.8
"""Of a half of the prompts: those that echoes may ask again, as their answers came before."""
ECHO_RUNS: Final = 3
"""Runs for each run without echoes, as they are shorter."""
TASKS_OF_A_FAMILY: Final = 200

Halves = Sequence[Sequence[Sequence[Traced]]]
"""Runs to train on, runs to test on."""


class EchoSights(BaseModel):
    """What a miner's view gives away, at one share of echoes."""

    model_config = ConfigDict(frozen=True)

    echo_percent: int
    """What the rules say."""
    echo_share: float
    """Of the validator's own held-out requests."""
    runs: int
    sights: tuple[Sight, ...]


class Report(BaseModel):
    """All that was measured."""

    model_config = ConfigDict(frozen=True)

    seed: int
    runs: int
    release: str
    prompts: int
    prompts_source: str
    tier: int
    auc_max: float
    sights: tuple[Sight, ...]
    """Of a busy subnet without echoes."""
    without_echoes: EchoSights
    with_echoes: EchoSights
    """Of a subnet whose users ask enough for them."""
    echo_share_for_auc_max: float
    """Share of our own requests that would have to be echoes, for content to give away no more than
    `auc_max`: with a share r, AUC is r / 2 + (1 - r) AUC."""

    @property
    def is_within(self) -> bool:
        """Whether a busy subnet's wire and timing, and everything where there are echoes, give away
        no more than they may."""
        busy = [one for one in self.sights if one.name == WIRE_AND_TIMING]
        return all(one.auc <= self.auc_max for one in (*busy, *self.with_echoes.sights))


def tell_apart(
    prompts: Sequence[Prompt],
    source: str,
    release: Release,
    tokenizer: Tokenizer,
    settings: Settings,
    runs: int,
    seed: int,
    watch: "Watch",
) -> Report:
    """Train on half of the runs and prompts, test on the others. `runs` is even."""
    assert runs >= 2 and runs % 2 == 0, runs
    order = np.random.default_rng([seed, 99]).permutation(len(prompts))
    halves = [[prompts[place] for place in order[half::2]] for half in range(2)]
    lab = _Lab(halves, release, tokenizer, settings, seed, watch)
    busy = lab.traffic(BUSY, runs, percent=0)
    sights = lab.sights("classifiers", busy, lab.folds_of_tasks)
    over = sights[-1].auc - 0.5
    return Report(
        seed=seed,
        runs=runs,
        release=release.digest(),
        prompts=len(prompts),
        prompts_source=source,
        tier=settings.draws.tier,
        auc_max=AUC_MAX,
        sights=sights,
        without_echoes=lab.echo_sights(ECHO_RUNS * runs, percent=0),
        with_echoes=lab.echo_sights(ECHO_RUNS * runs, percent=settings.draws.echo_percent),
        echo_share_for_auc_max=max(0.0, 1 - (AUC_MAX - 0.5) / over) if over > 0 else 0.0,
    )


class _Lab:
    """Traffic, and what is seen of it."""

    def __init__(
        self,
        halves: Sequence[Sequence[Prompt]],
        release: Release,
        tokenizer: Tokenizer,
        settings: Settings,
        seed: int,
        watch: "Watch",
    ) -> None:
        self._halves = halves
        self._release = release
        self._tokenizer = tokenizer
        self._settings = settings
        self._seed = seed
        self._watch = watch
        families = settings.draws.families
        shuffled = list(np.random.default_rng([seed, 5]).permutation(families))
        self._held_out = [set(shuffled[fold::FOLDS]) for fold in range(FOLDS)]

    def traffic(self, scene: Scene, runs: int, *, percent: int) -> Halves:
        """What miners see in so many runs, each half with prompts of its own."""
        draws = self._settings.draws.model_copy(update={"echo_percent": percent})
        settings = self._settings.model_copy(update={"draws": draws})
        advance = self._watch(f"runs of the dispatcher, {percent} % echoes", runs)
        found: list[list[list[Traced]]] = [[], []]
        for run in range(runs):
            mine = self._halves[run % 2]
            rng = np.random.default_rng([self._seed, run, 7])
            asked = [mine[place] for place in rng.permutation(len(mine))]
            earlier = round(EARLIER_SHARE * len(asked)) if scene.has_earlier_prompts else 0
            seen = watch_traffic(
                asked[earlier:][:PROMPTS_A_RUN],
                self._release,
                self._tokenizer,
                settings,
                self._seed * 1000 + run,
                scene,
                asked[:earlier],
            )
            if seen:  # A few sessions may all begin within the first half minute.
                found[run % 2].append(seen)
            advance(1)
        return found

    def sights(
        self, title: str, halves: Halves, folds: Callable[[], list[tuple[Labelled, Labelled]]]
    ) -> tuple[Sight, ...]:
        """What each group of features gives away, and content last, by its `folds`."""
        advance = self._watch(title, len(GROUPS) + FOLDS)
        found = []
        for name in GROUPS:
            found.append(of_features(name, halves, self._seed))
            advance(1)
        return (*found, of_content(folds(), advance))

    def echo_sights(self, runs: int, *, percent: int) -> EchoSights:
        """All that a miner sees, with so many echoes at most."""
        halves = self.traffic(TALKATIVE, runs, percent=percent)
        title = f"classifiers, {percent} % echoes"
        sights = self.sights(title, halves, lambda: self._folds_of_traffic(halves))
        own = [one for run in halves[1] for one in run if not one.is_organic]
        echoes = sum(one.traffic is Traffic.ECHO for one in own)
        return EchoSights(
            echo_percent=percent,
            echo_share=echoes / len(own),
            runs=runs,
            sights=sights,
        )

    def folds_of_tasks(self) -> list[tuple[Labelled, Labelled]]:
        """Users' prompts, each once, against as many tasks of every family."""
        train_users, test_users = (
            [(self._tokenizer.render(prompt.text), True) for prompt in half]
            for half in self._halves
        )
        parts = np.array_split(np.arange(len(test_users)), FOLDS)
        return [
            (
                [*train_users, *self._tasks(b"train", set(self._settings.draws.families) - held)],
                [*(test_users[place] for place in part), *self._tasks(b"test", held)],
            )
            for held, part in zip(self._held_out, parts, strict=True)
        ]

    def _tasks(self, label: bytes, families: set[str]) -> Labelled:
        tier = self._settings.draws.tier
        return [
            (
                self._tokenizer.render(generate_task(family, label + bytes([n]), tier).prompt),
                False,
            )
            for family in sorted(families)
            for n in range(TASKS_OF_A_FAMILY)
        ]

    def _folds_of_traffic(self, halves: Halves) -> list[tuple[Labelled, Labelled]]:
        """Requests as they came, echoes among them; each is tested once, and a task by a classifier
        that never saw its family."""
        train, test = ([one for run in half for one in run] for half in halves)
        folds = []
        for fold, held in enumerate(self._held_out):
            known = [one for one in train if one.family not in held]
            new = [
                one
                for place, one in enumerate(test)
                if (one.family in held if one.family else place % FOLDS == fold)
            ]
            folds.append((_labelled(known), _labelled(new)))
        return folds


def _labelled(requests: Sequence[Traced]) -> Labelled:
    return [(one.arrival.request.prompt_token_ids, one.is_organic) for one in requests]
