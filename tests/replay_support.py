"""Epoch files told otherwise by a validator that signs its lies, and what a replay says of them."""

from dataclasses import replace

from subnet.core.checks import Outcome
from subnet.core.records import RECORD, Answered, Measured
from subnet.core.replay import replay
from subnet.core.statement import SignedStatement, records_root
from tests.validator_support import FakeSigner, is_signed


def verify(message, signature, hotkey):
    """The validator signs; what fake miners sign is a row of zeros."""
    return signature == "0" * 128 or is_signed(message, signature, hotkey)


def signed(file, **changes):
    """The same file, its statement changed and signed by the validator itself."""
    statement = file.signed.statement.model_copy(update=changes)
    signature = FakeSigner().sign(statement.signing_bytes())
    return replace(file, signed=SignedStatement(statement=statement, signature=signature))


def restated(file, lines):
    """A validator that signs other records."""
    lines = tuple(lines)
    changed = signed(file, records=len(lines), records_root=records_root(lines))
    return replace(changed, lines=lines)


def failed(file):
    return {one.name for one in replay(file, verify) if one.outcome is Outcome.FAILED}


def has(file, kind, which):
    records = map(RECORD.validate_json, file.lines)
    return any(isinstance(record, kind) and which(record) for record in records)


def place_of(file, kind, which=lambda record: True):
    return next(
        n
        for n, line in enumerate(file.lines)
        if isinstance(record := RECORD.validate_json(line), kind) and which(record)
    )


def changed(file, at, **changes):
    """The validator's own file with one record told otherwise, signed again."""
    lines = [*file.lines]
    lines[at] = RECORD.validate_json(lines[at]).model_copy(update=changes).to_bytes()
    return restated(file, lines)


def records_of(file):
    return [RECORD.validate_json(line) for line in file.lines]


def problem(file):
    """What the replay says against the bursts."""
    return next(
        (
            one.detail
            for one in replay(file, verify)
            if one.name == "bursts" and one.outcome is Outcome.FAILED
        ),
        "",
    )


def of_burst(number, kind):
    def is_its_own(record):
        if isinstance(record, Measured):
            return isinstance(record, kind) and record.result.burst == number
        if isinstance(record, Answered):
            told = record.in_burst
            return isinstance(record, kind) and told is not None and told.burst == number
        return isinstance(record, kind) and record.burst == number

    return is_its_own


def behind(file, at, *lines):
    """The same with other lines behind that place."""
    return restated(file, [*file.lines[: at + 1], *lines, *file.lines[at + 1 :]])
