"""prompt -> TOKEN IDS -> miner -> token ids -> TEXT: `ports.Tokenizer` by transformers.

Only callers use it. Miners see ids, so nobody can slip another template in between.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

from subnet.config import ConfigError


class HubTokenizer:
    """The tokenizer in a model's folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when the folder holds no tokenizer."""
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise ConfigError(f"cannot load a tokenizer from {folder}: {first_line}") from error

    def render(self, prompt: str) -> tuple[int, ...]:
        """Token ids of one user turn in the model's chat template; plain ids without a template."""
        if self._tokenizer.chat_template:
            rendered = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            return tuple(self._tokenizer.encode(rendered, add_special_tokens=False))
        return tuple(self._tokenizer.encode(prompt))

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))
