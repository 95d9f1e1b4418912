"""epochs, prompts -> HISTORY: what a validator remembers of what was asked and what was paid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.structure import Structure
from subnet.core.records import prompt_digest


@dataclass(frozen=True, slots=True)
class UserPrompt:
    """A user's own prompt and, once a miner gave one, its answer."""

    prompt_id: int
    text: str
    answer: str | None = None
    answered_by: str | None = None
    request_id: str | None = None
    has_consent: bool = False
    """Whether prompt and answer may be shown to others as evidence, and other miners asked it."""
    structure: Structure | None = None
    """What the answer must look like."""

    @property
    def digest(self) -> str:
        """What names it in records, if its user agreed."""
        return prompt_digest(self.text, self.structure)


@dataclass(frozen=True, slots=True)
class EpochIncome:
    """What one epoch paid to one neuron, read back from the chain."""

    hotkey: str
    incentive: float
    emission_rao: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch as this validator lived it."""

    epoch_block: int
    """When consensus ran."""
    incomes: tuple[EpochIncome, ...]
    submitted_block: int | None = None
    """The block whose metagraph our weights rest on; None if the chain did not accept any."""
    version_key: int = 0
    weights: Mapping[int, int] = field(default_factory=dict)
    """Shares by uid."""
    scores_ppm: Mapping[str, int] = field(default_factory=dict)
    """Scores by hotkey that the weights came from."""
    is_settled: bool = False
    """Whether no miner with an open gate was on probation when the weights were computed."""
