"""standings, records -> WALK: the book as the validator kept it, and what it led to on the way.

A record that moves nothing puts nothing in.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from subnet.core.audit import answer_share_ppm
from subnet.core.book import StandingBook
from subnet.core.capacity import has_fallen
from subnet.core.checks import Segment
from subnet.core.cover import suspects_of
from subnet.core.records import Answered, Audited, Begun, Measured, Unmoving
from subnet.core.rules import RuleParams
from subnet.core.scoring import is_gate_open, is_suspect, is_verified
from subnet.core.standing import MinerStanding


@dataclass(frozen=True, slots=True)
class BurstView:
    """How miners stood when a burst began."""

    shortfalls_ppm: Mapping[str, int]
    """Of those that the burst names and whose rate depends on company."""
    closed: Set[str]
    """All whose gate was closed."""
    met_ppm: Mapping[str, int]
    """Of those of its cover: which share of the others each had met at most within one."""


@dataclass(frozen=True, slots=True)
class Walk:
    """An epoch's records, folded in their order."""

    book: StandingBook
    """After the last record."""
    shares_ppm: Mapping[int, int]
    """By counter: which share of such answers is audited, as the miner stood when it answered."""
    verified: Set[int]
    """Counters of the answers that were verified."""
    views: Mapping[int, BurstView]
    """By burst."""
    fallen: Mapping[int, Set[str]]
    """By burst: who gave so much less in it than it can that it may be tried again."""


def walk(segments: Sequence[Segment], before: Sequence[MinerStanding]) -> Walk:
    """Fold all records. What a hostile file breaks raises what the rules raise."""
    found = list(before)
    shares: dict[int, int] = {}
    verified: set[int] = set()
    views: dict[int, BurstView] = {}
    fallen: dict[int, set[str]] = {}
    for segment in segments:
        rules = segment.rules
        book = StandingBook(found, segment.release_digest, rules)
        for record in segment.records:
            if isinstance(record, Begun):
                views[record.burst] = _view(record, book, rules)
            if isinstance(record, Unmoving):
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
            elif isinstance(record, Measured):
                result = record.result
                if has_fallen(standing.capacity, result.rate_tps_milli, rules.capacity):
                    fallen.setdefault(result.burst, set()).add(record.miner_hotkey)
            book.put([after])
        found = book.remembered()
    return Walk(book, shares, verified, views, fallen)


def _view(begun: Begun, book: StandingBook, rules: RuleParams) -> BurstView:
    placed = {hotkey for block in begun.blocks for hotkey in block}
    hotkeys = placed | begun.group.keys()
    capacities = {hotkey: book.standing(hotkey).capacity for hotkey in hotkeys}
    everybody = [book.standing(one.hotkey) for one in book.remembered()]
    return BurstView(
        shortfalls_ppm=suspects_of(capacities, rules.capacity.shortfall_tolerated_ppm),
        met_ppm={hotkey: capacities[hotkey].met_ppm for hotkey in placed},
        closed={one.hotkey for one in everybody if not is_gate_open(one, rules.scoring)},
    )
