"""what a validator remembers <-> ROWS: how its dataclasses lie in the columns of its store."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocol.inference import InferenceRequest, InferenceResponse
from protocol.structure import Structure
from subnet.core.audit import Traffic
from subnet.core.audited import AuditRecord, PendingAudit, SignedAnswer
from subnet.core.history import EpochIncome, EpochRecord, UserPrompt
from subnet.core.verification.claim import Claim


def fields(row: PendingAudit | Claim | UserPrompt | AuditRecord) -> dict[str, Any]:
    """A flat dataclass as a dict; `asdict` would copy every token id."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def pending_row(pending: PendingAudit) -> dict[str, Any]:
    """Columns of `validator_schema.PENDING`."""
    row = {**fields(pending), "claim": json.dumps(_claim_fields(pending.claim))}
    signed = row.pop("signed")
    return {
        **row,
        "request": signed.request.model_dump_json(),
        "response": signed.response.model_dump_json(),
        "signature": signed.signature,
    }


def _claim_fields(claim: Claim) -> dict[str, Any]:
    structure = claim.structure
    return fields(claim) | {"structure": None if structure is None else structure.model_dump()}


def pending_of(row: Mapping[str, Any]) -> PendingAudit:
    """The inverse of `pending_row`."""
    claim = json.loads(row["claim"])
    for name in ("prompt_token_ids", "output_token_ids", "logprobs"):
        claim[name] = None if claim[name] is None else tuple(claim[name])
    if claim["structure"] is not None:
        claim["structure"] = Structure.model_validate(claim["structure"])
    names = PendingAudit.__dataclass_fields__.keys() - {"claim", "signed", "traffic"}
    return PendingAudit(
        **{name: row[name] for name in names},
        traffic=Traffic(row["traffic"]),
        claim=Claim(**claim),
        signed=SignedAnswer(
            InferenceRequest.model_validate_json(row["request"]),
            InferenceResponse.model_validate_json(row["response"]),
            row["signature"],
        ),
    )


def counts_of(record: AuditRecord) -> str | None:
    """Tokens per bucket as JSON."""
    return None if record.counts is None else json.dumps(record.counts)


def epoch_of(body: dict[str, Any]) -> EpochRecord:
    """One epoch from its JSON."""
    record = EpochRecord(**body)
    return replace(
        record,
        incomes=tuple(EpochIncome(**income) for income in body["incomes"]),
        weights={int(uid): share for uid, share in body["weights"].items()},
    )
