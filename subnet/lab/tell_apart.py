"""traffic of the real dispatcher -> CLASSIFIERS -> AUC: can a miner tell users from benchmarks?

An attacker who knows everything but the future: it trained on labelled traffic of other days, with
other users' prompts, and is tested on new ones. Two classifiers each time, and the better counts.
Content is tested on families of benchmarks that the attacker never saw.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from protocol.release import Release
from subnet.config import Settings
from subnet.core.benchmark import generate_task
from subnet.lab.auc import Auc, auc_of
from subnet.lab.watched import Prompt, Traced, watch_traffic
from subnet.lab.wire_features import Matrix, length_of, timing_of, wire_of
from subnet.ports import Tokenizer

WIRE_AND_TIMING: Final = "wire and timing"
AUC_MAX: Final = 0.55
"""What wire and timing may give away."""
PROMPTS_A_RUN: Final = 170
FOLDS: Final = 3
"""Groups of families, each held out once."""
TASKS_OF_A_FAMILY: Final = 200

Watch = Callable[[str, int], Callable[[int], None]]


class Sight(BaseModel):
    """What one group of features gives away."""

    model_config = ConfigDict(frozen=True)

    name: str
    classifier: str
    """The better one on held-out requests, which flatters the attacker."""
    auc: float
    low: float
    high: float
    """95 % confidence."""
    organic: int
    benchmark: int
    """Held-out requests."""


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
    reask_share_for_auc_max: float
    """Share of benchmarks that would have to be users' own prompts, asked again, for content to
    give away no more than `auc_max`: with a share r, AUC is r / 2 + (1 - r) AUC."""

    @property
    def is_within(self) -> bool:
        """Whether wire and timing together give away no more than they may."""
        (found,) = [one for one in self.sights if one.name == WIRE_AND_TIMING]
        return found.auc <= self.auc_max


def tell_apart(
    prompts: Sequence[Prompt],
    source: str,
    release: Release,
    tokenizer: Tokenizer,
    settings: Settings,
    runs: int,
    seed: int,
    watch: Watch,
) -> Report:
    """Train on half of the runs and prompts, test on the others. `runs` is even."""
    assert runs >= 2 and runs % 2 == 0, runs
    order = np.random.default_rng([seed, 99]).permutation(len(prompts))
    halves = [[prompts[place] for place in order[half::2]] for half in range(2)]
    advance = watch("runs of the dispatcher", runs)
    traffic: list[list[list[Traced]]] = [[], []]
    for run in range(runs):
        rng = np.random.default_rng([seed, run, 7])
        mine = halves[run % 2]
        asked = [mine[place] for place in rng.permutation(len(mine))[:PROMPTS_A_RUN]]
        traffic[run % 2].append(
            watch_traffic(asked, release, tokenizer, settings, seed * 1000 + run)
        )
        advance(1)
    advance = watch("classifiers", len(GROUPS) + FOLDS)
    sights = []
    for name, features in GROUPS.items():
        sights.append(_of_features(name, features, traffic, seed))
        advance(1)
    content = _of_content(halves, tokenizer, settings, seed, advance)
    over = content.auc - 0.5
    return Report(
        seed=seed,
        runs=runs,
        release=release.digest(),
        prompts=len(prompts),
        prompts_source=source,
        tier=settings.draws.tier,
        auc_max=AUC_MAX,
        sights=(*sights, content),
        reask_share_for_auc_max=max(0.0, 1 - (AUC_MAX - 0.5) / over) if over > 0 else 0.0,
    )


def _timing(run: Sequence[Traced]) -> Matrix:
    return timing_of([one.arrival for one in run])


def _wire(run: Sequence[Traced]) -> Matrix:
    return wire_of([one.arrival for one in run])


def _length(run: Sequence[Traced]) -> Matrix:
    return length_of([one.arrival for one in run])


GROUPS: Final[dict[str, tuple[Callable[[Sequence[Traced]], Matrix], ...]]] = {
    "timing": (_timing,),
    "wire": (_wire,),
    WIRE_AND_TIMING: (_timing, _wire),
    "prompt length": (_length,),
    "wire, timing and prompt length": (_timing, _wire, _length),
}


def _of_features(
    name: str,
    features: Sequence[Callable[[Sequence[Traced]], Matrix]],
    traffic: Sequence[Sequence[Sequence[Traced]]],
    seed: int,
) -> Sight:
    (train, train_kinds), (test, test_kinds) = (
        (
            np.concatenate([np.hstack([one(run) for one in features]) for run in half]),
            np.asarray([one.is_organic for run in half for one in run]),
        )
        for half in traffic
    )
    found = {}
    for word, model in _models(seed).items():
        model.fit(train, train_kinds)
        found[word] = auc_of(model.predict_proba(test)[:, 1], test_kinds)
    return _better(name, found)


def _models(seed: int) -> dict[str, Any]:
    trees = HistGradientBoostingClassifier(
        max_iter=150, max_leaf_nodes=15, learning_rate=0.05, l2_regularization=1.0,
        early_stopping=True, random_state=seed,
    )  # fmt: skip
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return {"logistic regression": line, "boosted trees": trees}


def _better(name: str, found: dict[str, Auc]) -> Sight:
    word = max(found, key=lambda one: found[one].value)
    best = found[word]
    return Sight(
        name=name,
        classifier=word,
        auc=best.value,
        low=best.low,
        high=best.high,
        organic=best.organic,
        benchmark=best.benchmark,
    )


def _of_content(
    halves: Sequence[Sequence[Prompt]],
    tokenizer: Tokenizer,
    settings: Settings,
    seed: int,
    advance: Callable[[int], None],
) -> Sight:
    """Token n-grams; each family is scored by a classifier that never saw it."""
    families = list(np.random.default_rng([seed, 5]).permutation(settings.draws.families))
    train_users, test_users = (
        [tokenizer.render(prompt.text) for prompt in half] for half in halves
    )
    scores: dict[str, list[NDArray[np.float64]]] = {"logistic regression": [], "naive Bayes": []}
    kinds: list[NDArray[np.bool_]] = []
    parts = np.array_split(np.arange(len(test_users)), FOLDS)
    for fold in range(FOLDS):
        held_out = set(families[fold::FOLDS])
        known = [one for one in families if one not in held_out]
        train = _tasks(known, tokenizer, settings, b"train")
        test = _tasks(sorted(held_out), tokenizer, settings, b"test")
        users = [test_users[place] for place in parts[fold]]
        weighed = TfidfVectorizer(analyzer=_grams, sublinear_tf=True)
        rows = weighed.fit_transform([*train_users, *train])
        labels = np.arange(rows.shape[0]) < len(train_users)
        new = weighed.transform([*users, *test])
        kinds.append(np.arange(new.shape[0]) < len(users))
        for word, model in (
            (
                "logistic regression",
                LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
            ),
            ("naive Bayes", MultinomialNB(alpha=0.1, fit_prior=False)),
        ):
            model.fit(rows, labels)
            scores[word].append(
                model.predict_log_proba(new)[:, 1] - model.predict_log_proba(new)[:, 0]
            )
        advance(1)
    every = np.concatenate(kinds)
    return _better(
        "content, families held out",
        {word: auc_of(np.concatenate(each), every) for word, each in scores.items()},
    )


def _tasks(
    families: Sequence[str], tokenizer: Tokenizer, settings: Settings, label: bytes
) -> list[tuple[int, ...]]:
    return [
        tokenizer.render(generate_task(family, label + bytes([n]), settings.draws.tier).prompt)
        for family in families
        for n in range(TASKS_OF_A_FAMILY)
    ]


def _grams(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Runs of one to three tokens."""
    return [
        tuple(tokens[at : at + length])
        for length in (1, 2, 3)
        for at in range(len(tokens) - length + 1)
    ]
