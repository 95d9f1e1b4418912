"""Family `instructions`: write free text under constraints that a machine can check.

The required word is also the topic: an answer without it is off-topic and scores 0, whatever
other constraints it meets by luck.
"""

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact, Task
from subnet.core.benchmark.text import words
from subnet.core.benchmark.words import ADVERBS, NOUNS, OPENERS, VERBS, phrase, sentence

MARKS = {".": "a full stop", "!": "an exclamation mark", "?": "a question mark"}
SENTENCE_ENDS = ".!?"


class Instructions:
    """Tier 1: first word, required word, last mark. Tier 2: a number of sentences as well."""

    name = "instructions"
    version = "1"
    tiers = (1, 2)

    def generate(self, draws: Draws, tier: int) -> Task:
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
        return sum(_is_met(fact, answer.strip()) for fact in task.facts) / len(task.facts)


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
