"""Tiers 3 to 5 of `instructions`: lines of free text under constraints that touch each other.

Every constraint is a fact: its kind, and its arguments apart by spaces. The word list that a
reference is written from is larger than any constraint leaves, so one can always be written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.task import Fact
from subnet.core.benchmark.text import words
from subnet.core.benchmark.words import ADJECTIVES, ADVERBS, MOODS, NOUNS, VERBS, WEATHERS

VOCABULARY: Final = tuple(
    dict.fromkeys(
        word.lower() for word in (*ADJECTIVES, *NOUNS, *VERBS, *ADVERBS, *MOODS, *WEATHERS)
    )
)
FORBIDDEN: Final = "bcdfghkmpvwy"
LINES: Final = {3: 3, 4: 5, 5: 8}
LETTERS_BARRED: Final = {3: 1, 4: 1, 5: 2}
ENDINGS: Final = {3: 1, 4: 3, 5: 8}
HOLDINGS: Final = {3: 0, 4: 2, 5: 4}
WORDS_MIN, WORDS_MAX = 5, 9
FIRST_WORDS_MIN: Final = 8
"""So many free words a letter needs to begin lines: all of them might."""
MARKS: Final = {".": "a full stop", "!": "an exclamation mark", "?": "a question mark"}
ORDINALS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


@dataclass
class Plan:
    """The words of a reference, line by line, with what is asked of each line."""

    lines: list[list[str]]
    marks: list[str]
    letters_barred: str
    topic: str
    ends: list[int]
    holds: list[tuple[int, str]]


def plan(draws: Draws, tier: int) -> Plan:
    """A reference with its constraints: all its words differ, no barred letter occurs."""
    barred = "".join(draws.sample(FORBIDDEN, LETTERS_BARRED[tier]))
    free = [word for word in VOCABULARY if not set(word) & set(barred)]
    pool = list(draws.sample(free, len(free)))
    initials = Counter(word[0] for word in pool)
    letters = sorted(one for one, count in initials.items() if count >= FIRST_WORDS_MIN)
    lines: list[list[str]] = []
    for _ in range(LINES[tier]):
        letter = draws.choice(letters)
        lines.append([next(word for word in pool if word.startswith(letter))])
        pool.remove(lines[-1][0])
    for line in lines:
        line += [pool.pop() for _ in range(draws.between(WORDS_MIN, WORDS_MAX) - 1)]
    numbers = range(len(lines))
    held = draws.sample(numbers, HOLDINGS[tier])
    return Plan(
        lines=lines,
        marks=[draws.choice(tuple(MARKS)) for _ in lines],
        letters_barred=barred,
        topic=lines[draws.choice(numbers)][2],
        ends=sorted(draws.sample(numbers, ENDINGS[tier])),
        holds=[(number, lines[number][1]) for number in sorted(held)],
    )


def written(made: Plan) -> str:
    """The reference."""
    return "\n".join(
        f"{' '.join(line).capitalize()}{mark}"
        for line, mark in zip(made.lines, made.marks, strict=True)
    )


def facts(made: Plan, tier: int) -> tuple[Fact, ...]:
    """What is asked for, the topic first."""
    found = [Fact("word", made.topic), Fact("lines", str(len(made.lines)))]
    for number, (line, mark) in enumerate(zip(made.lines, made.marks, strict=True)):
        found.append(Fact("count", f"{number} {len(line)}"))
        if tier > 3:
            found.append(Fact("initial", f"{number} {line[0][0]}"))
        if tier > 4 or number == len(made.lines) - 1:
            found.append(Fact("mark", f"{number} {mark}"))
    found += [Fact("end", f"{number} {made.lines[number][-1]}") for number in made.ends]
    found += [Fact("hold", f"{number} {word}") for number, word in made.holds]
    found += [Fact("barred", letter) for letter in made.letters_barred]
    if tier > 3:
        found.append(Fact("distinct", ""))
    if tier > 4:
        found.append(Fact("total", str(sum(map(len, made.lines)))))
    return tuple(found)


def said(fact: Fact) -> str:
    """The constraint as an instruction."""
    number, _, value = fact.value.partition(" ")
    line = f"the {ORDINALS[int(number)]} line" if value else ""
    match fact.name:
        case "word":
            return f"Use the word {fact.value}."
        case "lines":
            return f"Write exactly {fact.value} lines, each one sentence."
        case "count":
            return f"Give {line} exactly {value} words."
        case "initial":
            return f"Begin {line} with the letter {value}."
        case "mark":
            return f"Close {line} with {MARKS[value]}."
        case "end":
            return f"Make {value} the last word of {line}."
        case "hold":
            return f"Put the word {value} into {line}."
        case "barred":
            return f"Use the letter {fact.value} nowhere."
        case "distinct":
            return "Use no word twice."
        case _:
            return f"Use {fact.value} words in all."


def is_met(fact: Fact, lines: Sequence[str], lines_wanted: int) -> bool:
    """Whether these lines keep to the constraint.

    What forbids something is only met by a text of the right length: silence meets nothing.
    """
    number, _, value = fact.value.partition(" ")
    line = lines[int(number)] if value and int(number) < len(lines) else ""
    there = words(line)
    is_whole = len(lines) == lines_wanted
    match fact.name:
        case "word":
            return True  # Else nothing of it is graded.
        case "lines":
            return is_whole
        case "count":
            return len(there) == int(value)
        case "initial":
            return there != () and there[0].startswith(value)
        case "mark":
            return line.endswith(value)
        case "end":
            return there[-1:] == (value,)
        case "hold":
            return value in there
        case "barred":
            return is_whole and all(fact.value not in one.lower() for one in lines)
        case "distinct":
            every = [word for one in lines for word in words(one)]
            return is_whole and len(set(every)) == len(every)
        case _:
            return sum(len(words(one)) for one in lines) == int(fact.value)
