"""statement, records -> REPLAY -> checks: anybody computes an epoch's weights again, bit for bit.

What a replay cannot prove stands in docs/replay.md: that an answer's times, grade and margins are
what the validator measured (evidence bundles prove margins, two validators' records compare times),
and that it asked as soon as its draws were due.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from protocol.inference import InferenceResponse
from subnet.core.book import StandingBook
from subnet.core.checks import Check, EpochFile, FailedError, OpenError, Outcome, Verify
from subnet.core.draws import Anchor
from subnet.core.earnings import pays_of, scores_of, weights_of
from subnet.core.records import RECORD, Faulted, Lost, PassedOver, Record, Started
from subnet.core.replay_draws import (
    check_audits,
    check_draws,
    check_due,
    check_secrets,
    check_signatures,
)
from subnet.core.rules import RuleParams
from subnet.core.scoring import Score
from subnet.core.statement import (
    EpochStatement,
    miner_pays,
    records_root,
    shares_of,
    standings_digest,
)

UNANSWERED = frozenset({"TIMEOUT", "UNREACHABLE", "BROKEN_STREAM"})
"""Faults that only the validator saw."""
CHAIN_STEP: Final = 1 / 65_535


def replay(file: EpochFile, verify: Verify) -> list[Check]:
    """Every check on one epoch, in order; those that rest on a failed one are left out."""
    said = file.signed.statement
    checks: list[Check] = []

    def passes(name: str, check: Callable[[], str]) -> bool:
        try:
            checks.append(Check(name, Outcome.HELD, check()))
        except FailedError as error:
            checks.append(Check(name, Outcome.FAILED, str(error)))
        except OpenError as error:
            checks.append(Check(name, Outcome.OPEN, str(error)))
        return checks[-1].outcome is not Outcome.FAILED

    passes("statement", lambda: _statement(file, verify))
    passes("rules", lambda: _rules(file.rules, said))
    if passes("records", lambda: _records(file)):
        records = [RECORD.validate_json(line) for line in file.lines]
        passes("due", lambda: check_due(file, records))
        passes("secrets", lambda: check_secrets(file))
        passes("draws", lambda: check_draws(records, file.rules.draws, file.secrets))
        passes("audits", lambda: check_audits(records, file))
        passes("signatures", lambda: check_signatures(records, said, verify))
        passes("standings", lambda: _standings(records, file))
        passes("factors", lambda: _factors(records, file))
    passes("weights", lambda: _weights(said))
    return checks


def chain_checks(
    said: EpochStatement,
    secrets: Mapping[int, bytes],
    anchor: Anchor | None,
    weights: Mapping[int, float],
) -> list[Check]:
    """What the chain now holds of this validator: its anchor, and its weights as shares by uid."""
    return [_anchored(said, secrets, anchor), _on_chain(said, weights)]


def _anchored(said: EpochStatement, secrets: Mapping[int, bytes], anchor: Anchor | None) -> Check:
    name = "anchor"
    if anchor is None:
        return Check(name, Outcome.OPEN, "the chain holds no anchor of this validator")
    revealed = secrets.get(anchor.period - 1)
    if None not in (revealed, anchor.revealed_secret) and revealed != anchor.revealed_secret:
        return Check(name, Outcome.FAILED, "the chain reveals another secret of the same period")
    if anchor.period != said.period + 1:
        detail = f"the chain holds the anchor of period {anchor.period}, after another statement"
        return Check(name, Outcome.OPEN, detail)
    if anchor.statement_digest != bytes.fromhex(said.digest()):
        return Check(name, Outcome.FAILED, "the chain holds the digest of another statement")
    return Check(name, Outcome.HELD, "the chain holds this statement's digest")


def _on_chain(said: EpochStatement, weights: Mapping[int, float]) -> Check:
    """The chain keeps u16 numbers scaled to the largest; so both are compared as shares of it."""
    name = "chain"
    ours = {one.uid: one.share for one in said.weights}
    top, peak = max(ours.values(), default=0), max(weights.values(), default=0.0)
    uids = ours.keys() | weights.keys()
    if (
        top
        and peak
        and all(
            abs(ours.get(uid, 0) / top - weights.get(uid, 0.0) / peak) <= CHAIN_STEP for uid in uids
        )
    ):
        return Check(name, Outcome.HELD, f"the chain holds these {len(ours)} weights")
    detail = "the chain holds other weights: earlier or later ones, or these are not revealed yet"
    return Check(name, Outcome.OPEN, detail)


def contradicted(
    records: Sequence[Record],
    log: Mapping[str, tuple[InferenceResponse, str]],
    verify: Verify,
) -> list[Faulted]:
    """Faults that only the validator saw, and of which the miner's log holds a signed answer.

    `log` is response and signature by request digest. It is one word against another: who asks for
    both sides' records of many requests sees which of them is contradicted by other peers too.
    """
    found = []
    for record in records:
        if isinstance(record, Faulted) and record.word in UNANSWERED:
            response, signature = log.get(record.request_digest, (None, ""))
            if response is not None and verify(
                response.signing_bytes(), signature, record.miner_hotkey
            ):
                found.append(record)
    return found


def _statement(file: EpochFile, verify: Verify) -> str:
    signed, previous = file.signed, file.previous
    said = signed.statement
    if not verify(said.signing_bytes(), signed.signature, said.validator_hotkey):
        raise FailedError(f"{said.validator_hotkey} did not sign this statement")
    before = None if previous is None else previous.statement
    if said.previous != (None if before is None else before.digest()):
        raise FailedError("the statement before is another one than this one follows")
    if previous is not None and before is not None:
        if before.validator_hotkey != said.validator_hotkey:
            raise FailedError("the statement before is of another validator")
        if not verify(before.signing_bytes(), previous.signature, before.validator_hotkey):
            raise FailedError("the statement before has a false signature")
    expected = standings_digest([]) if before is None else before.standings_digest
    if standings_digest(file.before) != expected:
        raise FailedError("the standings before are not those that the statement before names")
    return f"signed by {said.validator_hotkey}, follows {(said.previous or 'nothing')[:12]}"


def _rules(rules: RuleParams, said: EpochStatement) -> str:
    if rules.digest() != said.rules_digest:
        raise FailedError(f"these rules have digest {rules.digest()[:12]}")
    return f"digest {said.rules_digest[:12]}, version {said.rules_version}"


def _records(file: EpochFile) -> str:
    said = file.signed.statement
    if len(file.lines) != said.records:
        raise FailedError(f"{len(file.lines)} records, the statement counts {said.records}")
    if records_root(file.lines) != said.records_root:
        raise FailedError("a record was changed, exchanged or moved: the root is another one")
    for number, line in enumerate(file.lines, 1):
        try:
            record = RECORD.validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise FailedError(f"record {number} is of no known kind: {problem}") from error
        if record.to_bytes() != line:
            raise FailedError(f"record {number} is written in another way than we write it")
    return f"{said.records} under root {said.records_root[:12]}"


def _standings(records: Sequence[Record], file: EpochFile) -> str:
    _assert_one_set_of_rules(records, file.signed.statement)
    book = _folded(records, file)
    if standings_digest(book.remembered()) != file.signed.statement.standings_digest:
        raise FailedError("the records lead to other standings than the statement names")
    return f"{len(book.remembered())} miners, as the records lead to"


def _factors(records: Sequence[Record], file: EpochFile) -> str:
    said = file.signed.statement
    _assert_one_set_of_rules(records, said)
    known = _folded(records, file).known()
    if not said.weights and said.own_uid is not None and any(one.audited for one in known):
        raise FailedError("answers were audited, and no weights were set")
    scores = scores_of(known, file.rules)
    uids = {miner.hotkey: miner.uid for miner in said.miners if miner.uid is not None}
    computed = {one.hotkey: one for one in miner_pays(scores, pays_of(known, scores), uids)}
    named = {one.hotkey: one for one in said.miners}
    for hotkey in sorted(computed.keys() | named.keys()):
        if computed.get(hotkey) != named.get(hotkey):
            raise FailedError(f"{hotkey}: {_difference(computed.get(hotkey), named.get(hotkey))}")
    return f"{len(named)} miners' factors, each as the records lead to"


def _difference(computed: object, named: object) -> str:
    return f"the records lead to {computed}, the statement names {named}"


def _weights(said: EpochStatement) -> str:
    """From the named factors to the named weights: integers only."""
    pays, uids = {}, {}
    for miner in said.miners:
        score = Score.model_validate(miner.factors)
        if score.total_ppm != miner.score_ppm:
            raise FailedError(f"{miner.hotkey}: the factors' product is {score.total_ppm} ppm")
        pays[miner.hotkey] = miner.pay_ppm
        if miner.uid is not None:
            uids[miner.hotkey] = miner.uid
    weights = weights_of(pays, uids, said.own_uid, is_any_audited=bool(said.weights))
    if shares_of(weights) != said.weights:
        raise FailedError("the factors lead to other weights")
    return f"{len(said.weights)} weights, bit for bit"


def _assert_one_set_of_rules(records: Sequence[Record], said: EpochStatement) -> None:
    for record in records:
        if isinstance(record, Started) and record.rules_digest != said.rules_digest:
            raise OpenError("the validator was started with other rules within this epoch")


def _folded(records: Sequence[Record], file: EpochFile) -> StandingBook:
    """The book as the validator kept it: a record that moves nothing puts nothing in."""
    book = StandingBook(file.before, file.signed.statement.release_digest, file.rules)
    for record in records:
        if not isinstance(record, Lost | Started | PassedOver):
            book.put([book.after(record)])
    return book
