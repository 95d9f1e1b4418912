"""users' prompts -> WHO ANSWERS -> dispatcher: the best miner that has not failed on it.

Best by its marks, not by its capacity: a user wants a good answer soon, and one is enough.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Final

from subnet.core.book import StandingBook
from subnet.core.earnings import scores_of
from subnet.core.history import UserPrompt
from subnet.core.rules import RuleParams
from subnet.core.scoring import has_passed_probation
from subnet.roles.roster import Roster
from subnet.store import ValidatorStore

RANKING_SECONDS: Final = 10.0
"""How long a ranking holds; who has passed probation is looked at each time."""


class UserPrompts:
    """Users' prompts that wait, and who failed on them."""

    def __init__(
        self, *, store: ValidatorStore, book: StandingBook, roster: Roster, rules: RuleParams
    ) -> None:
        self._store = store
        self._book = book
        self._roster = roster
        self._rules = rules
        self._failed_at: defaultdict[int, set[str]] = defaultdict(set)
        """Prompt id -> miners that failed on it; the next one is asked."""
        self._sent: set[int] = set()
        """Prompts on their way."""
        self._ranking: list[str] = []
        self._ranked_at = float("-inf")

    def for_miner(self, hotkey: str) -> UserPrompt | None:
        """An open prompt, if this miner is the best that has not failed on it."""
        for prompt in self._store.open_prompts():
            if prompt.prompt_id not in self._sent:
                failed = self._failed_at[prompt.prompt_id]
                best = self.best_miner(failed) or self.best_miner(())
                if best == hotkey:
                    return prompt
        return None

    def begin(self, prompt: UserPrompt | None) -> None:
        """A prompt is on its way: nobody else is asked."""
        if prompt is not None:
            self._sent.add(prompt.prompt_id)

    def end(self, prompt: UserPrompt | None) -> None:
        """It came back, answered or not."""
        if prompt is not None:
            self._sent.discard(prompt.prompt_id)

    def note_failure(self, prompt: UserPrompt | None, hotkey: str) -> None:
        """A miner gave no answer to it."""
        if prompt is not None:
            self._failed_at[prompt.prompt_id].add(hotkey)

    def best_miner(self, without: Collection[str]) -> str | None:
        """The best that can be asked and has passed probation; None if none has."""
        now = asyncio.get_running_loop().time()
        if now - self._ranked_at >= RANKING_SECONDS or not self._ranking:
            self._ranking, self._ranked_at = self._ranked(), now
        return next(
            (
                hotkey
                for hotkey in self._ranking
                if hotkey not in without
                and hotkey in self._roster.peers
                and has_passed_probation(self._book.standing(hotkey), self._rules.scoring)
            ),
            None,
        )

    def _ranked(self) -> list[str]:
        standings = self._book.known()
        scores = scores_of(standings, self._rules)
        able = [one.hotkey for one in standings if has_passed_probation(one, self._rules.scoring)]
        return sorted(able, key=lambda hotkey: (scores[hotkey].marks_ppm, hotkey), reverse=True)
