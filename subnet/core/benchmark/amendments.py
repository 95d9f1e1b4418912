"""Tiers 3 to 5 of `contract`: a long agreement with clauses that later ones override.

What is asked is how things stand on a given day. Tier 3: amendments replace terms. Tier 4: they
come out of order, take effect on days of their own, some are revoked, and a total must be worked
out. Tier 5: more than a hundred clauses, changes relative to what was in force, amendments that
count only if both sides signed, and a party that is replaced.
"""

from dataclasses import dataclass
from typing import Final

from subnet.core.benchmark.contract_words import (
    ADDITIONS,
    CHANGES,
    FILLERS,
    LABELS,
    OPENINGS,
    SERVICES_LONG,
    TERMS,
    UNITS,
)
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.words import CITIES, NAMES, person

CLAUSES: Final = {3: 10, 4: 35, 5: 120}
AMENDMENTS: Final = {3: 2, 4: 6, 5: 14}
FIRST_DAY, LAST_DAY = 30, 400


@dataclass
class Amendment:
    """A change of one term: to a value, or by an amount."""

    number: int
    day: int
    term: str
    value: str
    is_added: bool = False
    is_revoked: bool = False
    is_signed: bool = True


@dataclass
class Agreement:
    """The whole text, when its state is asked for, and what stands then, by label."""

    text: str
    when: str
    stands: dict[str, str]


def agreement(draws: Draws, tier: int) -> Agreement:
    """An agreement of that tier."""
    client, provider = (person(draws) for _ in range(2))
    start = _start(draws) | {"Client": client, "Provider": provider}
    amendments = _amendments(draws, tier, start)
    day = draws.between(150, 350)
    clauses = [_clause(draws, term, start[term]) for term in TERMS]
    clauses += [
        draws.choice(FILLERS).format(
            n=draws.between(2, 99), who=draws.choice(NAMES), city=draws.choice(CITIES)
        )
        for _ in range(CLAUSES[tier] - len(clauses))
    ]
    clauses = list(draws.sample(clauses, len(clauses)))
    text = [draws.choice(OPENINGS).format(**start)]
    text += [f"Clause {number}. {clause}" for number, clause in enumerate(clauses, 1)]
    text += [_said(one, tier) for one in draws.sample(amendments, len(amendments))]
    text += [f"Amendment {one.number} is revoked." for one in amendments if one.is_revoked]
    if tier > 4:
        unsigned = [one.number for one in amendments if not one.is_signed]
        signed = [one.number for one in amendments if one.is_signed]
        text.append(f"Both sides signed amendments {_listed(signed)}.")
        text.append(f"Only one side signed amendments {_listed(unsigned)}.")
    stands = _on(day, start, amendments)
    stands["Total"] = str(int(stands["Fee"]) * int(stands["Term"]))
    shown = {label: stands[label] + UNITS.get(label, "") for label in LABELS[tier]}
    when = "after all amendments" if tier == 3 else f"as it stands on day {day}"
    return Agreement(" ".join(text), when, shown)


def _start(draws: Draws) -> dict[str, str]:
    return {
        "Service": draws.choice(SERVICES_LONG),
        "Fee": str(draws.between(20, 99)),
        "Term": str(draws.between(6, 36)),
        "Notice": str(draws.between(2, 20)),
        "Penalty": str(draws.between(2, 20)),
        "Court": draws.choice(CITIES),
    }


def _clause(draws: Draws, term: str, value: str) -> str:
    return draws.choice(TERMS[term]).format(value=value)


def _amendments(draws: Draws, tier: int, start: dict[str, str]) -> list[Amendment]:
    """In the order of their numbers; in tier 3 a higher number is later, and none has a day."""
    count = AMENDMENTS[tier]
    days = draws.sample(range(FIRST_DAY, LAST_DAY), count)
    if tier == 3:
        days = tuple(range(count))
    terms = ["Fee", "Term", "Notice", "Penalty", "Court", "Service"]
    made = []
    for number, day in enumerate(days, 1):
        term = draws.choice(["Provider", "Client", *terms] if tier > 4 else terms)
        is_added = tier > 4 and term in ADDITIONS and draws.chance(1, 2)
        value = str(draws.between(2, 9)) if is_added else _value(draws, term)
        made.append(Amendment(number, day, term, value, is_added=is_added))
    if tier > 3:
        for one in draws.sample(made, count // 4):
            one.is_revoked = True
    if tier > 4:
        for one in draws.sample(made, count // 3):
            one.is_signed = False
    return made


def _value(draws: Draws, term: str) -> str:
    if term in ("Client", "Provider"):
        return person(draws)
    return _start(draws)[term]


def _said(one: Amendment, tier: int) -> str:
    change = (ADDITIONS if one.is_added else CHANGES)[one.term].format(value=one.value)
    when = "" if tier == 3 else f", with effect from day {one.day}"
    return f"Amendment {one.number}{when}: {change}"


def _on(day: int, start: dict[str, str], amendments: list[Amendment]) -> dict[str, str]:
    """How things stand on that day."""
    stands = dict(start)
    for one in sorted(amendments, key=lambda one: one.day):
        if one.is_revoked or not one.is_signed or one.day > day:
            continue
        if one.is_added:
            stands[one.term] = str(int(stands[one.term]) + int(one.value))
        else:
            stands[one.term] = one.value
    return stands


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
