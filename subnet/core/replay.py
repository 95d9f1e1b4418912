"""statement, records -> REPLAY -> checks: anybody computes an epoch's weights again, bit for bit.

What a replay cannot prove stands in docs/replay.md: that an answer's times, grade and margins are
what the validator measured (evidence bundles prove margins, two validators' records compare times),
and that it asked as soon as its draws were due.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from pydantic import ValidationError

from protocol.inference import InferenceResponse
from subnet.core.book import StandingBook
from subnet.core.checks import (
    Check,
    EpochFile,
    FailedError,
    OpenError,
    Outcome,
    Segment,
    Verify,
    segments_of,
)
from subnet.core.draws import PARAMS_PREFIX_BYTES, REVEALED_AFTER, Anchor
from subnet.core.earnings import (
    is_any_judged,
    owed_paid_of,
    pays_of,
    scores_of,
    weights_of,
    withheld_of,
)
from subnet.core.records import RECORD, Faulted, Paid, Record
from subnet.core.replay_bursts import check_bursts
from subnet.core.replay_draws import (
    check_audits,
    check_draws,
    check_due,
    check_secrets,
    check_signatures,
)
from subnet.core.replay_echoes import check_pool
from subnet.core.replay_walk import walk
from subnet.core.scoring import Score
from subnet.core.statement import (
    EpochStatement,
    MinerPay,
    head_after,
    miner_pays,
    records_root,
    shares_of,
    standings_digest,
)

CHAIN_STEP: Final = 1 / 65_535


class _Checks:
    """Checks in order; what a hostile file breaks is a failure of the file, not of ours."""

    def __init__(self) -> None:
        self.made: list[Check] = []

    def held(self, name: str, check: Callable[[], str]) -> bool:
        """Make one; whether it did not fail."""
        try:
            found = Check(name, Outcome.HELD, check())
        except FailedError as error:
            found = Check(name, Outcome.FAILED, str(error))
        except OpenError as error:
            found = Check(name, Outcome.OPEN, str(error))
        except (AssertionError, ValidationError, KeyError) as error:
            found = Check(name, Outcome.FAILED, f"it breaks a rule: {str(error)[:200]}")
        self.made.append(found)
        return found.outcome is not Outcome.FAILED


def replay(file: EpochFile, verify: Verify) -> list[Check]:
    """Every check on one epoch, in order; those that rest on a failed one are left out."""
    checks = _Checks()
    checks.held("statement", lambda: _statement(file, verify))
    if checks.held("records", lambda: _records(file)):
        records = [RECORD.validate_json(line) for line in file.lines]
        if checks.held("rules", lambda: _rules(file, records)):
            _replay_records(file, records, verify, checks)
    checks.held("weights", lambda: _weights(file.said))
    return checks.made


def _replay_records(
    file: EpochFile, records: list[Record], verify: Verify, checks: _Checks
) -> None:
    segments = segments_of(file, records)
    walked = cache(lambda: walk(segments, file.before))
    checks.held("due", lambda: check_due(file, records))
    checks.held("secrets", lambda: check_secrets(file, records))
    checks.held("draws", lambda: check_draws(segments, file))
    checks.held("audits", lambda: check_audits(segments, file, walked().shares_ppm))
    checks.held("bursts", lambda: check_bursts(segments, file, walked()))
    checks.held("signatures", lambda: check_signatures(segments, file.said, verify))
    checks.held("paid", lambda: _paid(file, records))
    if checks.held("standings", lambda: _standings(walked().book, file.said)):
        checks.held("factors", lambda: _factors(segments[-1], file.said, walked().book))
        checks.held("pool", lambda: check_pool(file, records, segments[-1], walked().book.known()))


def chain_checks(
    file: EpochFile,
    anchor: Anchor | None,
    weights: Mapping[int, float],
    hashes: Mapping[int, bytes],
) -> list[Check]:
    """What the chain now holds of this validator: its anchor, its weights as shares by uid, and the
    hashes of the blocks that decided draws."""
    return [_anchored(file, anchor), _on_chain(file.said, weights), _blocks(file, hashes)]


def draw_blocks(file: EpochFile) -> dict[int, str]:
    """The blocks whose hashes decided draws, with the hashes that the records name."""
    draws = (one.draw for one in map(RECORD.validate_json, file.lines) if hasattr(one, "draw"))
    return {draw.block: draw.block_hash or "" for draw in draws if draw.block is not None}


def contradicted(
    records: Sequence[Record],
    log: Mapping[str, tuple[InferenceResponse, str]],
    validator_hotkey: str,
    verify: Verify,
) -> list[Faulted]:
    """Faults that only the validator saw, and of which the miner's log holds a signed answer.

    `log` is response and signature by request digest. It is one word against another: who asks for
    both sides' records of many requests sees which of them is contradicted by other peers too.
    """
    found = []
    for record in records:
        if not isinstance(record, Faulted) or record.refusal is not None:
            continue
        response, signature = log.get(record.request_digest, (None, ""))
        if (
            response is not None
            and response.request_digest == record.request_digest
            and response.caller_hotkey == validator_hotkey
            and verify(response.signing_bytes(), signature, record.miner_hotkey)
        ):
            found.append(record)
    return found


def _statement(file: EpochFile, verify: Verify) -> str:
    said, before = file.said, file.said_before
    if not verify(said.signing_bytes(), file.signed.signature, said.validator_hotkey):
        raise FailedError(f"{said.validator_hotkey} did not sign this statement")
    if not {said.period, said.period + 1} <= {one.period for one in said.periods}:
        raise FailedError("the draws of this period and of the next are not fixed")
    if said.previous != (None if before is None else before.digest()):
        raise FailedError("the statement before is another one than this one follows")
    if file.previous is not None and before is not None:
        if not verify(before.signing_bytes(), file.previous.signature, before.validator_hotkey):
            raise FailedError("the statement before has a false signature")
        _assert_follows(said, before)
    expected = standings_digest([]) if before is None else before.standings_digest
    if standings_digest(file.before) != expected:
        raise FailedError("the standings before are not those that the statement before names")
    return f"signed by {said.validator_hotkey}, follows {(said.previous or 'nothing')[:12]}"


def _assert_follows(said: EpochStatement, before: EpochStatement) -> None:
    if (said.validator_hotkey, said.netuid) != (before.validator_hotkey, before.netuid):
        raise FailedError("the statement before is of another validator or subnet")
    if said.epoch_block <= before.epoch_block or said.at_us < before.at_us:
        raise FailedError("the statement before is not older")
    if said.period - before.period not in (0, 1):
        raise FailedError(f"period {before.period} is followed by period {said.period}")
    fixed = {one.period: one for one in before.periods}
    for one in said.periods:
        known = fixed.get(one.period, one)
        if known != one and known != one.model_copy(update={"first_counter": None}):
            raise FailedError(f"the draws of period {one.period} were fixed otherwise before")


def _records(file: EpochFile) -> str:
    said = file.said
    if len(file.lines) != said.records:
        cut = "; the file may be cut short" if len(file.lines) < said.records else ""
        raise FailedError(f"{len(file.lines)} records, the statement counts {said.records}{cut}")
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


def _rules(file: EpochFile, records: Sequence[Record]) -> str:
    said, before = file.said, file.said_before
    if before is not None and (file.rules is None or file.rules.digest() != before.rules_digest):
        raise FailedError("the epoch does not begin by the rules of the statement before")
    if before is None and file.rules is not None:
        raise FailedError("no statement before this one names rules")
    last = segments_of(file, records)[-1]
    if last.rules.digest() != said.rules_digest or last.release_digest != said.release_digest:
        raise FailedError("the epoch does not end by the rules and the release that it names")
    return f"digest {said.rules_digest[:12]}, version {said.rules_version}"


def _paid(file: EpochFile, records: Sequence[Record]) -> str:
    """What the weights before withheld or made good follows from the statement before."""
    before = file.said_before
    expected: set[tuple[str, int | None, int]] = set()
    if before is not None and before.weights:
        standings = {one.hotkey: one for one in file.before}
        for miner in before.miners:
            score = Score.model_validate(miner.factors)
            withheld, owed = withheld_of(score), owed_paid_of(standings[miner.hotkey], score)
            if withheld is not None or owed:
                expected.add((miner.hotkey, withheld, owed))
    paid = [record for record in records if isinstance(record, Paid)]
    named = {(one.miner_hotkey, one.withheld_ppm, one.owed_ppm) for one in paid}
    if named != expected or len(paid) != len(expected):
        raise FailedError("what was withheld or made good does not follow from the weights before")
    return f"{len(paid)} miners were paid late or not yet"


def _standings(book: StandingBook, said: EpochStatement) -> str:
    found = book.remembered()
    if standings_digest(found) != said.standings_digest:
        raise FailedError("the records lead to other standings than the statement names")
    return f"{len(found)} miners, as the records lead to"


def _factors(last: Segment, said: EpochStatement, book: StandingBook) -> str:
    known = book.known()
    if not said.weights and said.own_uid is not None and is_any_judged(known, last.rules):
        raise FailedError("miners were judged, and no weights were set")
    scores = scores_of(known, last.rules)
    uids = {miner.hotkey: miner.uid for miner in said.miners if miner.uid is not None}
    owners = {miner.hotkey: miner.owner for miner in said.miners if miner.owner is not None}
    pays = miner_pays(scores, pays_of(known, scores), uids, owners)
    computed = {one.hotkey: one for one in pays}
    named = {one.hotkey: one for one in said.miners}
    for hotkey in sorted(computed.keys() | named.keys()):
        if computed.get(hotkey) != named.get(hotkey):
            raise FailedError(f"{hotkey}: {_difference(computed.get(hotkey), named.get(hotkey))}")
    return f"{len(named)} miners' factors, each as the records lead to"


def _difference(computed: MinerPay | None, named: MinerPay | None) -> str:
    return f"the records lead to {computed}, the statement names {named}"


def _weights(said: EpochStatement) -> str:
    """From the named factors to the named weights: integers only."""
    pays: dict[str, int] = {}
    uids: dict[str, int] = {}
    for miner in said.miners:
        score = Score.model_validate(miner.factors)
        if score.total_ppm != miner.score_ppm:
            raise FailedError(f"{miner.hotkey}: the factors' product is {score.total_ppm} ppm")
        if miner.hotkey in pays or miner.uid in uids.values():
            raise FailedError(f"{miner.hotkey} or its uid stands there twice")
        pays[miner.hotkey] = miner.pay_ppm
        if miner.uid is not None:
            uids[miner.hotkey] = miner.uid
    weights = weights_of(pays, uids, said.own_uid, is_any_judged=bool(said.weights))
    if shares_of(weights) != said.weights:
        raise FailedError("the factors lead to other weights")
    return f"{len(said.weights)} weights, bit for bit"


def _anchored(file: EpochFile, anchor: Anchor | None) -> Check:
    name, said = "anchor", file.said
    if anchor is None:
        return Check(name, Outcome.OPEN, "the chain holds no anchor of this validator")
    revealed = file.secrets.get(anchor.period - REVEALED_AFTER)
    if None not in (revealed, anchor.revealed_secret) and revealed != anchor.revealed_secret:
        return Check(name, Outcome.FAILED, "the chain reveals another secret of the same period")
    heads = [head_after(file.head_before, said.digest())]
    for digest in file.later:
        heads.append(head_after(heads[-1], digest))
    prefix = bytes.fromhex(said.rules_digest)[:PARAMS_PREFIX_BYTES]
    if anchor.statements_head in heads:
        if anchor.statements_head == heads[0] and anchor.params_prefix != prefix:
            return Check(name, Outcome.FAILED, "the chain names other rules")
        return Check(name, Outcome.HELD, "this statement stands under the chain's anchor")
    if anchor.statements_head == file.head_before:
        return Check(name, Outcome.OPEN, "the chain's anchor is the one before this statement")
    if anchor.period <= said.period + len(heads):
        return Check(name, Outcome.FAILED, "the chain's anchor is over other statements")
    return Check(name, Outcome.OPEN, "the chain's anchor is younger than this file: fetch it again")


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


def _blocks(file: EpochFile, hashes: Mapping[int, bytes]) -> Check:
    name, named = "blocks", draw_blocks(file)
    for block, digest in named.items():
        if block in hashes and hashes[block].hex() != digest:
            return Check(name, Outcome.FAILED, f"block {block} has another hash on the chain")
    if named.keys() - hashes.keys():
        return Check(name, Outcome.OPEN, "the chain was not asked for every block's hash")
    return Check(name, Outcome.HELD, f"{len(named)} blocks' hashes are the chain's")
