"""structure -> GRAMMAR -> token masks: the same masks for whoever samples and whoever checks.

xgrammar compiles the text against the release's vocabulary and says before each token which ones
may follow. A mask is a row of bits, least significant first, in int32 words. Where nothing may
follow, as in a schema that no token can begin, the stop tokens may: both sides must agree even on
nonsense.
"""

import importlib.metadata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import xgrammar
from transformers import AutoTokenizer

from protocol.release import Release
from protocol.structure import Structure
from subnet.config import ConfigError

COMPILED_MAX: Final = 256
"""Structures that stay compiled; one of the largest takes some MB at a vocabulary of 128k."""
TOKENS_AT_ONCE: Final = 4096
"""The backend recurses once a token: 50,000 at once overflowed its stack."""
ALL_ALLOWED: Final = -1
"""A word of a mask that bars nothing."""


class StructureError(Exception):
    """The backend cannot compile this structure; the message says why."""


class Grammars:
    """Structures compiled for one vocabulary; the latest stay compiled."""

    def __init__(self, folder: Path, vocab_size: int, stop_token_ids: Sequence[int]) -> None:
        """Load the tokenizer in `folder`. Raises ConfigError if xgrammar does not know its kind."""
        self._vocab_size = vocab_size
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            vocabulary = xgrammar.TokenizerInfo.from_huggingface(
                tokenizer, vocab_size=vocab_size, stop_token_ids=list(stop_token_ids)
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ConfigError(
                f"cannot load a grammar backend for {folder}: {_first_line(error)}; "
                'without structured output: grammar = "none" under [release] in subnet.toml'
            ) from error
        self._compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1, cache_enabled=False)
        self._compiled = lru_cache(maxsize=COMPILED_MAX)(self._compile)
        bits = np.zeros(32 * empty_masks(1, vocab_size).shape[1], np.bool_)
        bits[list(stop_token_ids)] = True
        self._stops = torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))

    def walk(self, structure: Structure) -> "Walk":
        """A fresh walk through the structure. Raises StructureError."""
        return Walk(xgrammar.GrammarMatcher(self._compiled(structure.text)), self._stops)

    def _compile(self, text: str) -> Any:
        try:
            return self._compiler.compile_json_schema(text, any_whitespace=False)
        except (RuntimeError, ValueError) as error:
            raise StructureError(_first_line(error)) from error

    def masks(self, structure: Structure, token_ids: Sequence[int]) -> torch.Tensor:
        """The mask [n, words] under which each token was sampled, int32 on the CPU.

        From the token after the first barred one on, nothing is barred. Raises StructureError.
        """
        return self._replay(structure, token_ids)[0]

    def refused_at(self, structure: Structure, token_ids: Sequence[int]) -> int | None:
        """The index of the first token that the structure bars, or None. Raises StructureError."""
        return self._replay(structure, token_ids)[1]

    def _replay(
        self, structure: Structure, token_ids: Sequence[int]
    ) -> tuple[torch.Tensor, int | None]:
        masks = empty_masks(len(token_ids), self._vocab_size)
        self.walk(structure).fill_all(token_ids, masks)
        allowed = is_allowed(masks, np.array(token_ids, np.int64)[:, None])[:, 0]
        if allowed.all():
            return masks, None
        refused = int(np.argmin(allowed))
        masks[refused + 1 :] = ALL_ALLOWED
        return masks, refused


class Walk:
    """One answer's way through a compiled structure."""

    def __init__(self, matcher: Any, stops: torch.Tensor) -> None:
        self._matcher = matcher
        self._stops = stops
        self.tokens = 0
        """Accepted so far."""

    def accept(self, token_id: int) -> None:
        """Go on by a token that was not barred; a stop token may end what can not go on."""
        self._matcher.accept_token(token_id)
        self.tokens += 1

    def fill(self, mask: torch.Tensor) -> None:
        """Write which tokens may follow into `mask` [1, words]."""
        if self._matcher.is_terminated():
            mask.fill_(ALL_ALLOWED)
            return
        self._matcher.fill_next_token_bitmask(mask, 0)
        if not mask.any():
            mask[0] = self._stops

    def fill_all(self, token_ids: Sequence[int], masks: torch.Tensor) -> None:
        """`fill` before each of the tokens [n] at once, into `masks` [n, words].

        What it writes after a barred token means nothing.
        """
        for start in range(0, len(token_ids), TOKENS_AT_ONCE):
            part = token_ids[start : start + TOKENS_AT_ONCE]
            self._fill_part(part, masks[start : start + len(part)])
            if start + len(part) < len(token_ids):
                for token in part:
                    self.accept(token)

    def _fill_part(self, token_ids: Sequence[int], masks: torch.Tensor) -> None:
        count = len(token_ids)
        masks.fill_(ALL_ALLOWED)
        if self._matcher.is_terminated():
            return
        # A draft tree that is a chain: node k stands for what the first k tokens leave open.
        following = torch.arange(1, count + 1)
        following[-1] = -1
        nodes = torch.tensor([0, *token_ids[:-1]])
        self._matcher.traverse_draft_tree(following, torch.full((count,), -1), nodes, masks)
        masks[~masks.any(dim=1)] = self._stops


@lru_cache(maxsize=4)
def grammars_of(folder: Path, vocab_size: int, stop_token_ids: tuple[int, ...]) -> Grammars:
    """Shared by all who mask for this vocabulary in one process. Raises ConfigError."""
    return Grammars(folder, vocab_size, stop_token_ids)


def release_grammars(release: Release, folder: Path) -> Grammars | None:
    """Those of a release; None if it verifies no structured output.

    Raises ConfigError when another version than the pinned one is installed.
    """
    if release.grammar is None:
        return None
    installed = f"xgrammar-{importlib.metadata.version('xgrammar')}"
    if installed != release.grammar:
        raise ConfigError(
            f"the release pins {release.grammar}, this machine has {installed}; run `make setup`"
        )
    return grammars_of(folder, release.vocab_size, tuple(sorted(release.stop_token_ids)))


def is_allowed(masks: torch.Tensor, token_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether row by row `masks` [n, words] allow `token_ids` [n, k]; those they lack, never."""
    words = masks.numpy().view(np.uint32)
    is_known = (token_ids >= 0) & (token_ids < 32 * words.shape[1])
    known = np.where(is_known, token_ids, 0)
    bits = np.take_along_axis(words, known // 32, axis=1) >> (known % 32).astype(np.uint32) & 1
    found: npt.NDArray[np.bool_] = bits.astype(bool) & is_known
    return found


def mask_logits(logits: torch.Tensor, masks: torch.Tensor) -> None:
    """Set barred logits of [n, vocab] to -inf, in place, by masks [n, words]."""
    on_device = masks.to(logits.device, non_blocking=True)
    xgrammar.apply_token_bitmask_inplace(logits, on_device, vocab_size=logits.shape[1])


def empty_masks(rows: int, vocab_size: int) -> torch.Tensor:
    """Masks [rows, words] that bar nothing."""
    return xgrammar.allocate_token_bitmask(rows, vocab_size)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].partition(": ")[2] or lines[0] if lines else type(error).__name__
