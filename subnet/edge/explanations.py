"""closed epochs -> EXPLANATIONS: why each miner earns what it earns, computed once an epoch.

Anybody may ask, and scoring a full subnet holds the loop for longer than an audit's read may wait.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from subnet.core.bundle import DELAY_US
from subnet.core.earnings import scores_of
from subnet.core.explanation import DayOld, Explanation, SignedExplanation, explanation_of
from subnet.core.reputation import prior_mean
from subnet.core.rules import RuleParams
from subnet.core.scoring import Score, release_quality_ppm, score_miner
from subnet.core.standing import MinerStanding, fresh_standing
from subnet.edge.ledger_rows import Closed
from subnet.edge.state_reader import NEVER_US, StateReader
from subnet.ports import Signer

VIEWS_KEPT: Final = 4
EXPLANATIONS_KEPT: Final = 1024
"""A full subnet's, with room for strangers; about 3 kB each."""


@dataclass(frozen=True, slots=True)
class View:
    """The standings on one release at one moment, scored."""

    rules: RuleParams
    rules_digest: str
    release_digest: str
    at_us: int
    epoch_block: int | None
    """None between two epochs."""
    standings: Mapping[str, MinerStanding]
    """By hotkey, as all below."""
    scores: Mapping[str, Score]
    quality_ppm: int
    """The release's."""
    priors: Mapping[str, float]
    """What a newcomer starts from in each family."""


def view_at(
    standings: Iterable[MinerStanding],
    rules: RuleParams,
    release_digest: str,
    at_us: int,
    epoch_block: int | None = None,
) -> View:
    """The view of standings on any release."""
    known = {one.hotkey: one for one in standings if one.release_digest == release_digest}
    return View(
        rules=rules,
        rules_digest=rules.digest(),
        release_digest=release_digest,
        at_us=at_us,
        epoch_block=epoch_block,
        standings=known,
        scores=scores_of(known.values(), rules),
        quality_ppm=release_quality_ppm(known.values(), rules.scoring),
        priors=_priors(known.values(), rules, at_us),
    )


def view_of(closed: Closed) -> View:
    """What a closed epoch ended with."""
    said = closed.statement
    return view_at(
        closed.standings, closed.rules, said.release_digest, said.at_us, said.epoch_block
    )


def explain_hotkey(
    reader: StateReader,
    hotkey: str,
    *,
    validator_hotkey: str,
    now_us: int,
    undelayed: bool = False,
) -> Explanation | None:
    """Why a hotkey earns what it earns, as of the last closed epoch; None before the first.

    A live view would tell a miner which of its answers were audited, and so who had asked.
    `undelayed` looks at this moment and hides nothing: for the validator's own eyes.
    """
    last, old = reader.last_closed(), reader.last_closed(now_us - DELAY_US)
    in_use = reader.in_use()
    if undelayed and in_use is not None:
        shown = view_at(reader.standings(), in_use.rules, in_use.release_digest, now_us)
    elif last is None:
        return None
    else:
        shown = view_of(last)
    before = None if old is None else view_of(old)
    return explained(shown, hotkey, before, validator_hotkey, undelayed=undelayed)


def explained(
    view: View,
    hotkey: str,
    old: View | None,
    validator_hotkey: str,
    *,
    undelayed: bool = False,
) -> Explanation:
    """The explanation of one hotkey, known or not; `old` is a view that is a day old."""
    rules, standing = view.rules, view.standings.get(hotkey)
    if standing is None:
        standing = fresh_standing(hotkey, view.release_digest, rules.evidence)
        score = score_miner(
            standing, view.quality_ppm, rules.scoring, rules.evidence, rules.capacity
        )
    else:
        score = view.scores[hotkey]
    return explanation_of(
        standing,
        score,
        rules,
        None if old is None else _day_old(old, hotkey, view.release_digest),
        rules_digest=view.rules_digest,
        validator_hotkey=validator_hotkey,
        at_us=view.at_us,
        priors=view.priors,
        undelayed=undelayed,
    )


class Explanations:
    """Signed explanations as of the last closed epoch, each made once."""

    def __init__(self, reader: StateReader, signer: Signer) -> None:
        self._reader = reader
        self._signer = signer
        self._views: OrderedDict[int, View] = OrderedDict()
        self._viewing = asyncio.Lock()
        self._made: OrderedDict[tuple[int | None, int | None, str], bytes] = OrderedDict()

    async def of(self, hotkey: str, old_us_max: int) -> bytes | None:
        """The `SignedExplanation`, delayed figures as of `old_us_max`; None before any epoch."""
        last, old = await self._view(NEVER_US), await self._view(old_us_max)
        if last is None:
            return None
        key = (last.epoch_block, None if old is None else old.epoch_block, hotkey)
        if key not in self._made:
            found = explained(last, hotkey, old, self._signer.hotkey)
            signature = self._signer.sign(found.signing_bytes())
            signed = SignedExplanation(explanation=found, signature=signature)
            self._made[key] = signed.to_bytes()
        self._made.move_to_end(key)
        if len(self._made) > EXPLANATIONS_KEPT:
            self._made.popitem(last=False)
        return self._made[key]

    async def _view(self, at_us_max: int) -> View | None:
        """The latest that was closed by then."""
        blocks = self._reader.closed_epochs(at_us_max)
        if not blocks:
            return None
        async with self._viewing:
            if blocks[-1] not in self._views:
                self._views[blocks[-1]] = await asyncio.to_thread(self._read, at_us_max)
            self._views.move_to_end(blocks[-1])
            if len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
            return self._views[blocks[-1]]

    def _read(self, at_us_max: int) -> View:
        found = self._reader.last_closed(at_us_max)
        assert found is not None, "statements are only dropped when there are later ones"
        return view_of(found)


def _day_old(view: View, hotkey: str, release_digest: str) -> DayOld | None:
    """None for a hotkey that was not known then, or of another release."""
    if hotkey not in view.standings or view.release_digest != release_digest:
        return None
    assert view.epoch_block is not None, "only closed epochs grow old"
    return DayOld(
        epoch_block=view.epoch_block,
        at_us=view.at_us,
        standing=view.standings[hotkey],
        score=view.scores[hotkey],
        priors=view.priors,
    )


def _priors(standings: Iterable[MinerStanding], rules: RuleParams, at_us: int) -> dict[str, float]:
    params, masses = rules.reputation, defaultdict(list)
    for one in standings:
        for family, mass in one.reputation.items():
            masses[family].append(mass.at(at_us, params))
    return {family: prior_mean(known, params) for family, known in masses.items()}
