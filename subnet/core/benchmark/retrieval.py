"""Family `retrieval`: find one fact in a context.

An answer that names more than one place names none: listing every place earns nothing. From tier 3
on it is the place in the line `Answer: ...`.
"""

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.haystack import story
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import final_answer, words
from subnet.core.benchmark.words import KEPT, NAMES, PLACES, REQUESTS, remark, sentence

STATEMENTS = (
    "The {thing} is in the {place}.",
    "{who} keeps the {thing} in the {place}.",
    "The {thing} of {who} is in the {place}.",
    "{who} left the {thing} in the {place}.",
)
ANSWERS = (
    "The {thing} is in the {place}.",
    "It is in the {place}.",
    "Look in the {place}.",
    "You will find it in the {place}.",
    "In the {place}.",
    "Try the {place}.",
    "The {place} holds the {thing}.",
)
STATEMENTS_COUNT = {1: 1, 2: 12}
DECOYS = ("The {place} is empty.", "The {place} was sold.", "The {place} needs paint.")


class Retrieval:
    """Tier 1: one fact beside another place and free text. Tier 2: one among twelve alike.

    Tiers 3 to 5: see `haystack`; the last of many facts that change, over up to three hops.
    """

    name = "retrieval"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier not in STATEMENTS_COUNT:
            return self._long(draws, tier)
        count = STATEMENTS_COUNT[tier]
        facts = tuple(
            zip(
                draws.sample(NAMES, count),
                draws.sample(KEPT, count),
                draws.sample(PLACES, count),
                strict=True,
            )
        )
        said = [
            draws.choice(STATEMENTS).format(who=who, thing=thing, place=place)
            for who, thing, place in facts
        ]
        if tier == 1:
            spare = [place for place in PLACES if place != facts[0][2]]
            said += [draws.choice(DECOYS).format(place=draws.choice(spare)), sentence(draws)]
        context = " ".join(draws.sample(said, len(said)))
        _, thing, place = draws.choice(facts)
        answer = draws.favoured(ANSWERS).format(thing=thing, place=place)
        return Task(
            family=self.name,
            tier=tier,
            prompt=f"{context}\nWhere is the {thing}? {draws.choice(REQUESTS)}",
            max_tokens=64,
            reference=f"{answer} {remark(draws)}",
            facts=(Fact("place", place),),
        )

    def grade(self, task: Task, answer: str) -> float:
        if task.tier not in STATEMENTS_COUNT:
            found = final_answer(answer)
            return float(found is not None and found.removeprefix("the ") == task.value("place"))
        named = set(words(answer)) & set(PLACES)
        return float(named == {task.value("place")})

    def _long(self, draws: Draws, tier: int) -> Task:
        told = story(draws, tier)
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                f"{told.text}\nIn which place is the {told.thing} at the end? Begin with a short "
                "remark and end with the line `Answer: ` and the place, such as blue attic."
            ),
            max_tokens=512,
            reference=f"{remark(draws)}\nAnswer: {told.place}",
            facts=(Fact("place", told.place),),
        )
