"""seed -> DICE -> draws: one stream for each purpose, so that a change in one moves no other."""

import hashlib

import numpy as np

_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def dice(seed: int, *labels: str | int) -> np.random.Generator:
    """The stream of these labels."""
    words = hashlib.sha256("\n".join(map(str, (seed, *labels))).encode()).digest()
    return np.random.default_rng(np.frombuffer(words, np.uint32).tolist())


def address(*labels: str | int) -> str:
    """A well-formed hotkey that belongs to nobody: signing is a port, and nobody signs here."""
    number = int.from_bytes(hashlib.sha512("\n".join(map(str, labels)).encode()).digest(), "big")
    letters = []
    for _ in range(47):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "5" + "".join(letters)
