"""Tiers 3 to 5 of `retrieval`: where a thing is at the end of a long story.

Things move, so that only the last statement counts. Tier 3: things lie in places. Tier 4: things
lie in boxes, and boxes stand in places. Tier 5: boxes ride on carts, too, the contents of boxes are
swapped, and the story has tens of thousands of tokens.
"""

from dataclasses import dataclass
from typing import Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.words import KEPT, NAMES, PLACES, sentence

COLOURS: Final = ("red", "grey", "golden", "pale", "rusty", "green", "blue", "yellow")
FILLERS: Final = {3: (40, 250), 4: (400, 1200), 5: (1500, 4000)}
"""Least and most sentences that say nothing, about ten tokens each."""
MOVES: Final = {3: 20, 4: 60, 5: 150}
MOVED = (
    "{who} carried the {what} to the {where}.",
    "The {what} was taken to the {where}.",
    "Then {who} brought the {what} to the {where}.",
)
PUT = (
    "{who} put the {what} into the {where}.",
    "The {what} went into the {where}.",
    "Later the {what} lay in the {where}.",
)
LOADED = ("{who} loaded the {what} onto the {where}.", "The {what} was lifted onto the {where}.")
SWAPPED = "{who} swapped all that was in the {one} with all that was in the {other}."


@dataclass(frozen=True)
class Story:
    """The whole text, the thing that is asked for, and the place where it ends up."""

    text: str
    thing: str
    place: str


def story(draws: Draws, tier: int) -> Story:
    """A story of that tier."""
    things = _things(draws, KEPT, 12)
    boxes = _things(draws, ("box", "crate", "chest", "trunk"), 8 if tier > 3 else 0)
    carts = _things(draws, ("cart", "wagon"), 4 if tier > 4 else 0)
    places = _things(draws, PLACES, 24)
    is_in: dict[str, str] = {}
    said: list[str] = []

    def move(what: str, where: str, wordings: tuple[str, ...]) -> None:
        is_in[what] = where
        who = draws.choice(NAMES)
        said.append(draws.choice(wordings).format(who=who, what=what, where=where))

    for one in (*carts, *(boxes if not carts else ()), *(things if not boxes else ())):
        move(one, draws.choice(places), MOVED)
    for box in boxes if carts else ():
        move(box, draws.choice(carts), LOADED)
    for thing in things if boxes else ():
        move(thing, draws.choice(boxes), PUT)
    for _ in range(MOVES[tier]):
        kind = draws.below(8)
        if tier > 4 and kind == 0:
            one, other = draws.sample(boxes, 2)
            swapped = {one: other, other: one}
            is_in.update({t: swapped.get(is_in[t], is_in[t]) for t in things})
            said.append(SWAPPED.format(who=draws.choice(NAMES), one=one, other=other))
        elif carts and kind < 3:
            move(draws.choice(boxes), draws.choice(carts), LOADED)
        elif boxes and kind < 5:
            move(draws.choice(carts or boxes), draws.choice(places), MOVED)
        elif boxes:
            move(draws.choice(things), draws.choice(boxes), PUT)
        else:
            move(draws.choice(things), draws.choice(places), MOVED)
    thing = draws.choice(things)
    place = thing
    while place in is_in:
        place = is_in[place]
    return Story(" ".join(_scattered(draws, said, draws.between(*FILLERS[tier]))), thing, place)


def _things(draws: Draws, nouns: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Things told apart by their colours alone, or by their nouns alone, as needles should be."""
    return draws.sample([f"{colour} {noun}" for colour in COLOURS for noun in nouns], count)


def _scattered(draws: Draws, said: list[str], fillers: int) -> list[str]:
    """The statements in their order, at random depths among sentences that say nothing."""
    text = [sentence(draws) for _ in range(fillers)]
    depths = sorted((draws.below(fillers + 1) for _ in said), reverse=True)
    for depth, statement in zip(depths, reversed(said), strict=True):
        text.insert(depth, statement)
    return text
