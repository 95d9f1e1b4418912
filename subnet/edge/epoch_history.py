"""epochs -> TOTALS -> status: what remains of epochs whose records were dropped.

A validator lives through more epochs than anybody wants to keep; what they paid since its first
accepted weights must stay right all the same. The totals of the dropped records and the kept ones
fold into the totals of all.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from subnet.core.history import EpochRecord


class EpochTotals(BaseModel):
    """Sums over epochs, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    submissions: int = 0
    """Weights that the chain accepted."""
    submitted_block: int | None = None
    """Of the first of them."""
    settled_block: int | None = None
    """Of the first in which nobody was on probation."""
    epochs: int = 0
    """Epochs that ran after the first accepted weights: those that these weights paid."""
    settled_epochs: int = 0
    """Epochs that ran after the first weights in which nobody was on probation."""
    emission_rao: dict[str, int] = {}
    """What each hotkey earned in `epochs`, as the chain told."""


def total_of(records: Iterable[EpochRecord], before: EpochTotals | None = None) -> EpochTotals:
    """The totals with these records, which follow those in `before`."""
    totals = before or EpochTotals()
    submissions, epochs, settled_epochs = (
        totals.submissions,
        totals.epochs,
        totals.settled_epochs,
    )
    submitted_block, settled_block = totals.submitted_block, totals.settled_block
    emission = dict(totals.emission_rao)
    for record in records:
        if submitted_block is not None and record.epoch_block > submitted_block:
            epochs += 1
            for income in record.incomes:
                emission[income.hotkey] = emission.get(income.hotkey, 0) + income.emission_rao
        if settled_block is not None and record.epoch_block > settled_block:
            settled_epochs += 1
        if record.submitted_block is not None:
            submissions += 1
            if submitted_block is None:
                submitted_block = record.submitted_block
            if settled_block is None and record.is_settled:
                settled_block = record.submitted_block
    return EpochTotals(
        submissions=submissions,
        submitted_block=submitted_block,
        settled_block=settled_block,
        epochs=epochs,
        settled_epochs=settled_epochs,
        emission_rao=emission,
    )
