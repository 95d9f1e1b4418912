"""standings, records -> WALK: the book as the validator kept it, and what it led to on the way.

A record that moves nothing puts nothing in.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from subnet.core.audit import answer_share_ppm
from subnet.core.book import StandingBook
from subnet.core.checks import Segment
from subnet.core.records import Answered, Audited, Lost, PassedOver, Started
from subnet.core.scoring import is_suspect, is_verified
from subnet.core.standing import MinerStanding


@dataclass(frozen=True, slots=True)
class Walk:
    """An epoch's records, folded in their order."""

    book: StandingBook
    """After the last record."""
    shares_ppm: Mapping[int, int]
    """By counter: which share of such answers is audited, as the miner stood when it answered."""
    verified: Set[int]
    """Counters of the answers that were verified."""


def walk(segments: Sequence[Segment], before: Sequence[MinerStanding]) -> Walk:
    """Fold all records. What a hostile file breaks raises what the rules raise."""
    found = list(before)
    shares: dict[int, int] = {}
    verified: set[int] = set()
    for segment in segments:
        rules = segment.rules
        book = StandingBook(found, segment.release_digest, rules)
        for record in segment.records:
            if isinstance(record, Lost | Started | PassedOver):
                continue
            standing = book.standing(record.miner_hotkey)
            after = book.after(record)
            if isinstance(record, Answered):
                shares[record.counter] = answer_share_ppm(
                    record.traffic,
                    is_in_burst=record.in_burst is not None,
                    is_suspect=is_suspect(standing, rules.scoring, rules.evidence),
                    params=rules.audit,
                )
            elif isinstance(record, Audited):
                is_covered = record.readings is not None
                if is_verified(standing, after, rules.scoring, is_covered=is_covered):
                    verified.add(record.draw.counter)
            book.put([after])
        found = book.remembered()
    return Walk(book, shares, verified)
