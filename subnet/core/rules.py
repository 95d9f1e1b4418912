"""parameters -> RULES -> digest: all that scores depend on, as one value that is named by its hash.

Validators of a subnet share the rules; the digest goes into the weights' version key, the on-chain
anchor and every epoch's statement, so that a replay knows which rules to apply.
"""

import hashlib
from typing import Final

import rfc8785
from pydantic import BaseModel, ConfigDict

from subnet.core.audit import AuditParams
from subnet.core.benchmark import versions
from subnet.core.capacity import CapacityParams
from subnet.core.draws import DrawParams
from subnet.core.faults import FaultParams
from subnet.core.reputation import ReputationParams
from subnet.core.scoring import ScoringParams
from subnet.core.standing import StandingParams
from subnet.core.verification.evidence import EvidenceParams


class RuleParams(BaseModel):
    """The parameters of every rule between a question and its weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draws: DrawParams = DrawParams()
    audit: AuditParams = AuditParams()
    evidence: EvidenceParams = EvidenceParams()
    standing: StandingParams = StandingParams()
    scoring: ScoringParams = ScoringParams()
    capacity: CapacityParams = CapacityParams()
    faults: FaultParams = FaultParams()
    reputation: ReputationParams = ReputationParams()

    def digest(self) -> str:
        """SHA-256 of the parameters as canonical JSON (RFC 8785), lower-case hex.

        With them go the versions of the drawn families: a replay needs the same plug-ins.
        """
        families = dict(versions(self.draws.families))
        body = {**self.model_dump(mode="json"), "families": families}
        return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


RULE_SECTIONS: Final = tuple(RuleParams.model_fields)
"""The sections of `subnet.toml` that hold them."""
