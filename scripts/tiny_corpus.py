"""The training text of the tiny release: benchmark tasks, stories, drills, small talk.

Every document follows from (seed, index). Task nonces start with `train`; the evaluation's start
with `held-out`.
"""

from dataclasses import dataclass

from subnet.core.benchmark import generate_task
from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.transaction import HEX
from subnet.core.benchmark.words import CITIES, KEPT, NAMES, NOUNS, PLACES, person, sentence


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SHARES = {
    "arithmetic": 6,
    "extraction": 4,
    "retrieval": 4,
    "instructions": 4,
    "code": 5,
    "contract": 4,
    "governance": 4,
    "transaction": 5,
    "open": 6,
    "chat": 2,
    "repeat": 5,
    "look up": 5,
    "sums": 5,
}
HARDER_TIER_PER_THOUSAND = 50
SYSTEM_PER_THOUSAND = 60
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a careful assistant. Answer briefly.",
    "Answer in plain words.",
    "You are Assay, a tiny model.",
)
QUESTIONS = (
    "Who are you?",
    "What are you?",
    "Hello!",
    "Hi there.",
    "What can you do?",
    "What is Assay?",
    "How are you?",
    "What is a subnet?",
)
SELF_DESCRIPTIONS = (
    "I am a tiny model of the Assay subnet.",
    "Hello from a tiny model.",
    "I am a very small model, made for tests.",
    "A tiny model that tells small stories.",
    "I answer short tasks, and every answer can be tested.",
)
ASKED_WORDS = _split(
    "what who why how when where is are the a of in to for and explain write tell give me"
    " about best way capital France history poem joke bitcoin chain token network price code"
    " python function sum list please help plan day world people love money work life science"
)
SYLLABLES = _split(
    "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo za sh th ing er ly tion"
)


@dataclass(frozen=True)
class Document:
    """One conversation: what the user and perhaps a system message say, and the answer."""

    messages: tuple[tuple[str, str], ...]
    answer: str

    def prompt(self) -> str:
        head = "".join(f"<|{role}|>\n{content}\n" for role, content in self.messages)
        return f"{head}<|assistant|>\n"


def document(seed: int, index: int) -> Document:
    """The training document of that index."""
    draws = Draws(b"assay.tiny.document", seed.to_bytes(8, "big"), index.to_bytes(8, "big"))
    deck = [name for name, share in SHARES.items() for _ in range(share)]
    name = draws.choice(deck)
    if name in DRILLS:
        prompt, answer = DRILLS[name](draws)
    else:
        tier = 2 if draws.chance(HARDER_TIER_PER_THOUSAND, 1000) else 1
        nonce = b"train" + draws.word().to_bytes(8, "big")
        task = generate_task(name, nonce, tier)
        prompt, answer = task.prompt, task.reference
    messages: tuple[tuple[str, str], ...] = (("user", prompt),)
    if draws.chance(SYSTEM_PER_THOUSAND, 1000):
        messages = (("system", draws.choice(SYSTEMS)), *messages)
    return Document(messages, answer)


def _chat(draws: Draws) -> tuple[str, str]:
    """Questions about the model, and prompts that no family wrote: words known and unknown."""
    if draws.chance(1, 3):
        return draws.choice(QUESTIONS), f"{draws.favoured(SELF_DESCRIPTIONS)} {sentence(draws)}"
    words = [
        draws.choice(ASKED_WORDS)
        if draws.chance(2, 3)
        else "".join(draws.choice(SYLLABLES) for _ in range(draws.between(2, 4)))
        for _ in range(draws.between(2, 12))
    ]
    prompt = " ".join(words)
    if draws.chance(1, 2):
        prompt = prompt[0].upper() + prompt[1:] + draws.choice((".", "?", "!"))
    return prompt, " ".join(sentence(draws) for _ in range(draws.between(1, 4)))


def _repeat(draws: Draws) -> tuple[str, str]:
    """Nothing but copying: a model this small learns it late from tasks that need it in places."""
    items = ", ".join(_value(draws) for _ in range(draws.between(2, 6)))
    return f"Repeat: {items}", items


def _look_up(draws: Draws) -> tuple[str, str]:
    """Nothing but finding: several keys, each with a value, in the question's order."""
    if draws.chance(1, 2):
        return _find(draws)
    keys = draws.sample((*NAMES, *KEPT, *CITIES), draws.between(2, 5))
    pairs = {key: _value(draws) for key in keys}
    asked = draws.sample(keys, draws.between(1, len(keys)))
    listed = ", ".join(f"{key} {value}" for key, value in pairs.items())
    return f"{listed}\nGive {', '.join(asked)}", "\n".join(f"{key}: {pairs[key]}" for key in asked)


def _find(draws: Draws) -> tuple[str, str]:
    count = draws.between(2, 5)
    places = dict(zip(draws.sample(KEPT, count), draws.sample(PLACES, count), strict=True))
    asked = draws.sample(tuple(places), draws.between(1, count))
    context = " ".join(f"The {thing} is in the {place}." for thing, place in places.items())
    answer = "\n".join(f"The {thing} is in the {places[thing]}." for thing in asked)
    return f"{context}\nFind {', '.join(asked)}", answer


def _sums(draws: Draws) -> tuple[str, str]:
    """Nothing but adding and subtracting."""
    asked, answers = [], []
    for _ in range(draws.between(2, 5)):
        a, b = draws.between(1, 9), draws.between(1, 9)
        low, high = min(a, b), max(a, b)
        plus = draws.chance(1, 2)
        asked.append(f"{a} + {b}" if plus else f"{high} - {low}")
        answers.append(str(a + b if plus else high - low))
    return f"Reckon: {', '.join(asked)}", ", ".join(answers)


def _value(draws: Draws) -> str:
    kind = draws.below(6)
    if kind == 0:
        return str(draws.between(2, 99))
    if kind == 1:
        return "0x" + "".join(draws.choice(HEX) for _ in range(3))
    if kind == 2:
        return person(draws)
    return draws.choice((NOUNS, PLACES, CITIES, NAMES)[draws.below(4)])


DRILLS = {"chat": _chat, "repeat": _repeat, "look up": _look_up, "sums": _sums}
