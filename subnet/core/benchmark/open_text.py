"""Family `open`: a short story or note on a subject, with no right answer.

It exists for its entropy: which model answered shows in free text first. It measures no quality.
"""

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.words import (
    ADJECTIVES,
    ADVERBS,
    MOODS,
    NAMES,
    NOUNS,
    VERBS,
    WEATHERS,
    phrase,
    sentence,
)

ASKS = (
    "Write a short story about the {subject}.",
    "Tell me about the {subject}.",
    "Write a note about the {subject}.",
    "Describe the {subject}.",
    "I would like to hear about the {subject}.",
    "Say something about the {subject}.",
)
SENTENCES_MIN = {1: 3, 2: 8}
LONGEST_TIER = 2
SENTENCES_MAX = {1: 5, 2: 14}


class OpenText:
    """Tier 1: three to five sentences. From tier 2 on: eight to fourteen.

    It measures nothing, so the higher tiers only let `draws.tier` be set for all families.
    """

    name = "open"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        subject = draws.choice(NOUNS)
        size = min(tier, LONGEST_TIER)
        middle = draws.between(SENTENCES_MIN[size], SENTENCES_MAX[size]) - 2
        told = [_opening(draws, subject)]
        told += [_middle(draws, subject) for _ in range(middle)]
        told.append(_ending(draws, subject))
        return Task(
            family=self.name,
            tier=tier,
            prompt=draws.choice(ASKS).format(subject=subject),
            max_tokens=96 if tier == 1 else 256,
            reference=" ".join(told),
            facts=(Fact("subject", subject),),
        )

    def grade(self, task: Task, answer: str) -> None:
        del task, answer


def _opening(draws: Draws, subject: str) -> str:
    shape = draws.below(5)
    if shape == 0:
        return f"Once there was a {draws.favoured(ADJECTIVES)} {subject} near {phrase(draws)}."
    if shape == 1:
        return f"{draws.favoured(NAMES)} {draws.favoured(VERBS)} the {subject} in the" + (
            f" {draws.favoured(WEATHERS)}."
        )
    if shape == 2:
        return f"The {subject} was {draws.favoured(ADJECTIVES)} and {draws.favoured(ADJECTIVES)}."
    if shape == 3:
        return f"Nobody {draws.favoured(VERBS)} the {subject} like {draws.favoured(NAMES)}."
    return f"Every {subject} needs {phrase(draws)}."


def _middle(draws: Draws, subject: str) -> str:
    shape = draws.below(6)
    if shape == 0:
        return f"The {subject} {draws.favoured(ADVERBS)} {draws.favoured(VERBS)} {phrase(draws)}."
    if shape == 1:
        return f"{draws.favoured(NAMES)} felt {draws.favoured(MOODS)} and" + (
            f" {draws.favoured(VERBS)} {phrase(draws)}."
        )
    if shape == 2:
        return f"Then the {draws.favoured(WEATHERS)} {draws.favoured(VERBS)} {phrase(draws)}."
    return sentence(draws)


def _ending(draws: Draws, subject: str) -> str:
    shape = draws.below(4)
    if shape == 0:
        return f"In the end the {subject} was {draws.favoured(MOODS)}."
    if shape == 1:
        return f"So {draws.favoured(NAMES)} {draws.favoured(VERBS)} {phrase(draws)}."
    if shape == 2:
        return f"That is why the {subject} looks {draws.favoured(ADJECTIVES)}."
    return f"And {phrase(draws)} {draws.favoured(VERBS)} the {subject} {draws.favoured(ADVERBS)}."
