"""Family `instructions`: write free text under constraints that a machine can check.

The required word is also the topic: an answer without it is off-topic and scores 0, whatever
other constraints it meets by luck.
"""

from subnet.core.benchmark import constraints
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import words
from subnet.core.benchmark.words import ADVERBS, NOUNS, OPENERS, VERBS, phrase, sentence

MARKS = {".": "a full stop", "!": "an exclamation mark", "?": "a question mark"}
SENTENCE_ENDS = ".!?"
SENTENCES_TIER = 2
"""The last one that counts sentences; from the next on lines are asked for."""


class Instructions:
    """Tier 1: first word, required word, last mark. Tier 2: a number of sentences as well.

    Tiers 3 to 5: see `constraints`; up to 42 of them that touch each other.
    """

    name = "instructions"
    version = "1"
    tiers = (1, 2, 3, 4, 5)

    def generate(self, draws: Draws, tier: int) -> Task:
        if tier > SENTENCES_TIER:
            return self._lines(draws, tier)
        first, word = draws.choice(OPENERS), draws.choice(NOUNS[:60])
        mark = draws.choice(tuple(MARKS))
        facts = [Fact("word", word), Fact("first", first), Fact("mark", mark)]
        amount, before = "one sentence", ""
        body = f"{first}, {_clause_with(draws, word)}"
        if tier > 1:
            count = draws.between(2, 4)
            facts.append(Fact("sentences", str(count)))
            amount = f"exactly {count} sentences"
            before = f"{body}. "
            before += "".join(f"{sentence(draws)} " for _ in range(count - 2))
            body = f"In the end, {_clause_with(draws, word)}"
        return Task(
            family=self.name,
            tier=tier,
            prompt=(
                f"Write {amount}. Begin with the word {first}. Use the word {word}."
                f" End with {MARKS[mark]}."
            ),
            max_tokens=64 if tier == 1 else 128,
            reference=f"{before}{body}{mark}",
            facts=tuple(facts),
        )

    def grade(self, task: Task, answer: str) -> float:
        if task.value("word") not in words(answer):
            return 0.0
        if task.tier > SENTENCES_TIER:
            lines = [line.strip() for line in answer.splitlines() if line.strip()]
            wanted = int(task.value("lines"))
            met = sum(constraints.is_met(fact, lines, wanted) for fact in task.facts)
            return met / len(task.facts)
        return sum(_is_met(fact, answer.strip()) for fact in task.facts) / len(task.facts)

    def _lines(self, draws: Draws, tier: int) -> Task:
        made = constraints.plan(draws, tier)
        facts = constraints.facts(made, tier)
        asked = draws.sample(facts[2:], len(facts) - 2)
        return Task(
            family=self.name,
            tier=tier,
            prompt=" ".join(constraints.said(fact) for fact in (facts[1], facts[0], *asked)),
            max_tokens=512,
            reference=constraints.written(made),
            facts=facts,
        )


def _clause_with(draws: Draws, word: str) -> str:
    shape = draws.below(3)
    if shape == 0:
        return f"the {word} {draws.favoured(VERBS)} {phrase(draws)} {draws.favoured(ADVERBS)}"
    if shape == 1:
        return f"{phrase(draws)} {draws.favoured(VERBS)} the {word} and {phrase(draws)}"
    return f"{phrase(draws)} {draws.favoured(ADVERBS)} {draws.favoured(VERBS)} the {word}"


def _is_met(fact: Fact, answer: str) -> bool:
    match fact.name:
        case "word":
            return True
        case "first":
            return words(answer)[:1] == (fact.value.lower(),)
        case "mark":
            return answer.endswith(fact.value)
        case _:
            ends = sum(
                character in SENTENCE_ENDS and (answer[at + 1 : at + 2] in ("", " ", "\n"))
                for at, character in enumerate(answer)
            )
            return str(ends) == fact.value
