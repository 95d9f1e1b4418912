"""exchanges, audits -> FINDINGS: signs that miners play the measurement instead of serving.

Read by people, never by the score: each finding names its null hypothesis and how often chance
alone would show any. `docs/gaming.md` says what each can and cannot see.
"""

from subnet.core.gaming.coincidence import Coincidence, coincidences
from subnet.core.gaming.mark import ExchangeMark, Observation, ids_digest, sketch_of
from subnet.core.gaming.near_duplicates import Likeness, near_duplicates
from subnet.core.gaming.organic_gap import Gap, organic_gaps

__all__ = [
    "Coincidence",
    "ExchangeMark",
    "Gap",
    "Likeness",
    "Observation",
    "coincidences",
    "ids_digest",
    "near_duplicates",
    "organic_gaps",
    "sketch_of",
]
