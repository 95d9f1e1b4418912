"""labelled requests -> CLASSIFIERS -> AUC: what one way of looking at them gives away."""

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

from subnet.lab.auc import Auc, auc_of
from subnet.lab.watched import Traced
from subnet.lab.wire_features import Matrix, length_of, timing_of, wire_of

WIRE_AND_TIMING: Final = "wire and timing"
CONTENT: Final = "content, families held out"
FOLDS: Final = 3
"""Groups of families, each held out once."""

Labelled = Sequence[tuple[tuple[int, ...], bool]]
"""Token ids of prompts, and whether each is a user's own request."""


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
    """Held-out requests: users', and the validator's own."""


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


def of_features(name: str, traffic: Sequence[Sequence[Sequence[Traced]]], seed: int) -> Sight:
    """One of `GROUPS`: trained on the first half of the runs, tested on the other."""
    (train, train_kinds), (test, test_kinds) = (
        (
            np.concatenate([np.hstack([one(run) for one in GROUPS[name]]) for run in half]),
            np.asarray([one.is_organic for run in half for one in run]),
        )
        for half in traffic
    )
    found = {}
    for word, model in _models(seed).items():
        model.fit(train, train_kinds)
        found[word] = auc_of(model.predict_proba(test)[:, 1], test_kinds)
    return _better(name, found)


def of_content(folds: Sequence[tuple[Labelled, Labelled]], advance: Callable[[int], None]) -> Sight:
    """Token n-grams; each fold is what to train on and what to test on."""
    scores: dict[str, list[NDArray[np.float64]]] = {"logistic regression": [], "naive Bayes": []}
    kinds: list[bool] = []
    for train, test in folds:
        weighed = TfidfVectorizer(analyzer=_grams, sublinear_tf=True)
        rows = weighed.fit_transform([ids for ids, _ in train])
        labels = np.asarray([is_organic for _, is_organic in train])
        new = weighed.transform([ids for ids, _ in test])
        kinds += [is_organic for _, is_organic in test]
        for word, model in (
            (
                "logistic regression",
                LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
            ),
            ("naive Bayes", MultinomialNB(alpha=0.1, fit_prior=False)),
        ):
            model.fit(rows, labels)
            odds = model.predict_log_proba(new)
            scores[word].append(odds[:, 1] - odds[:, 0])
        advance(1)
    every = np.asarray(kinds)
    return _better(
        CONTENT, {word: auc_of(np.concatenate(each), every) for word, each in scores.items()}
    )


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


def _grams(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Runs of one to three tokens."""
    return [
        tuple(tokens[at : at + length])
        for length in (1, 2, 3)
        for at in range(len(tokens) - length + 1)
    ]
