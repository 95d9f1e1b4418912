"""audited answers <-> ROWS: the transcripts that detectors rest on, bounded on the disk.

A window is what one detector saw of one hotkey on one release under the same rules since it last
started over; an alarm sets its window aside until the next one. Answers fall out of a window at
its old end only, and each keeps the detector's state before it, so that the rest of the path can
be replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from subnet.core.audit import Traffic
from subnet.core.audited import KeptAnswer
from subnet.core.bundle import AnswerEvidence, EvidenceRules
from subnet.core.second_opinion import AlarmWindow
from subnet.core.verification.evidence import EvidenceState
from subnet.edge.validator_schema import EVIDENCE_RULES, KEPT

_OPEN: Final = sa.and_(
    KEPT.c.miner_hotkey == sa.bindparam("window_hotkey"),
    KEPT.c.release_digest == sa.bindparam("window_release"),
    KEPT.c.traffic == sa.bindparam("window_traffic"),
    ~KEPT.c.led_to_alarm,
)
"""The answers of one window that led to no alarm."""
_DROP_OPEN: Final = KEPT.delete().where(_OPEN)
_DROP_STALE: Final = _DROP_OPEN.where(KEPT.c.rules_digest != sa.bindparam("rules"))
_TRIM: Final = _DROP_OPEN.where(
    KEPT.c.sequence
    <= sa.select(KEPT.c.sequence)
    .where(_OPEN)
    .order_by(KEPT.c.sequence.desc())
    .offset(sa.bindparam("answers_max"))
    .limit(1)
    .scalar_subquery()
)
_SET_ASIDE: Final = KEPT.update().where(_OPEN).values(led_to_alarm=True)
_TOKENS: Final = sa.select(sa.func.coalesce(sa.func.sum(KEPT.c.tokens), 0))


@dataclass(frozen=True, slots=True)
class KeptLimits:
    """How much of the past stays on the disk."""

    answers_max: int
    """In one window."""
    tokens_max: int
    """In all windows together; the oldest answers that led to no alarm go first."""


@dataclass(frozen=True, slots=True)
class KeptWindow:
    """One detector's latest path, or the one that led to the last alarm."""

    miner_hotkey: str
    traffic: Traffic
    led_to_alarm: bool
    rules: EvidenceRules
    start: EvidenceState
    answers: tuple[AnswerEvidence, ...]
    """In the order of their audits; users' words withheld where they did not consent."""


def save_rules(db: sa.Connection, rules: EvidenceRules) -> str:
    """Keep the rules for the answers that follow; their digest. Rules without answers go."""
    used = sa.select(KEPT.c.rules_digest)
    db.execute(EVIDENCE_RULES.delete().where(EVIDENCE_RULES.c.digest.not_in(used)))
    row = {"digest": rules.digest(), "body": rules.model_dump_json()}
    db.execute(insert(EVIDENCE_RULES).values(**row).on_conflict_do_nothing())
    return row["digest"]


def keep(
    db: sa.Connection, answers: Sequence[KeptAnswer], rules_digest: str, limits: KeptLimits
) -> None:
    """Append to the windows, and drop what no longer belongs or fits."""
    seen: set[tuple[str, str, Traffic]] = set()
    for answer in answers:
        key = (answer.miner_hotkey, answer.release_digest, answer.traffic)
        starts_over = answer.before.responses == 0
        if starts_over or key not in seen:
            if starts_over:
                db.execute(_DROP_OPEN, _window(answer))
            else:
                db.execute(_DROP_STALE, _window(answer) | {"rules": rules_digest})
            seen.add(key)
        response = answer.evidence.response
        db.execute(
            KEPT.insert(),
            {
                "miner_hotkey": answer.miner_hotkey,
                "release_digest": answer.release_digest,
                "traffic": answer.traffic,
                "rules_digest": rules_digest,
                "led_to_alarm": False,
                "has_consent": answer.has_consent,
                "tokens": response.prompt_tokens + response.output_tokens,
                "before": answer.before.model_dump_json(),
                "body": answer.evidence.model_dump_json(),
            },
        )
        if answer.is_alarm:
            _trim(db, answer, limits.answers_max)
            _set_aside(db, answer)
    last = {(one.miner_hotkey, one.release_digest, one.traffic): one for one in answers}
    for answer in last.values():
        _trim(db, answer, limits.answers_max)
    if answers:
        _drop_oldest(db, limits.tokens_max)


def kept_windows(db: sa.Connection, miner_hotkey: str) -> list[KeptWindow]:
    """All windows of a hotkey, the latest last."""
    query = (
        sa.select(KEPT, EVIDENCE_RULES.c.body.label("rules"))
        .join(EVIDENCE_RULES, EVIDENCE_RULES.c.digest == KEPT.c.rules_digest)
        .where(KEPT.c.miner_hotkey == miner_hotkey)
        .order_by(KEPT.c.sequence)
    )
    windows: dict[tuple[Any, ...], list[Any]] = {}
    for row in db.execute(query):
        key = (row.release_digest, row.traffic, row.led_to_alarm)
        windows.setdefault(key, []).append(row)
    return [
        KeptWindow(
            miner_hotkey=miner_hotkey,
            traffic=Traffic(rows[0].traffic),
            led_to_alarm=rows[0].led_to_alarm,
            rules=EvidenceRules.model_validate_json(rows[0].rules),
            start=EvidenceState.model_validate_json(rows[0].before),
            answers=tuple(_answer(row) for row in rows),
        )
        for rows in sorted(windows.values(), key=lambda rows: rows[-1].sequence)
    ]


def alarm_window(db: sa.Connection, miner_hotkey: str, release_digest: str) -> AlarmWindow | None:
    """The window that led to a hotkey's last alarm, words included; None if it is not there."""
    query = (
        sa.select(KEPT.c.traffic, KEPT.c.body, EVIDENCE_RULES.c.body.label("rules"))
        .join(EVIDENCE_RULES, EVIDENCE_RULES.c.digest == KEPT.c.rules_digest)
        .where(KEPT.c.miner_hotkey == miner_hotkey, KEPT.c.led_to_alarm)
        .where(KEPT.c.release_digest == release_digest)
        .order_by(KEPT.c.sequence)
    )
    rows = db.execute(query).all()
    if not rows:
        return None
    return AlarmWindow(
        traffic=Traffic(rows[0].traffic),
        rules=EvidenceRules.model_validate_json(rows[0].rules),
        answers=tuple(AnswerEvidence.model_validate_json(row.body) for row in rows),
    )


def drop_alarm_window(db: sa.Connection, miner_hotkey: str) -> None:
    """Forget what led to a hotkey's last alarm."""
    db.execute(KEPT.delete().where(KEPT.c.miner_hotkey == miner_hotkey, KEPT.c.led_to_alarm))


def _answer(row: Any) -> AnswerEvidence:
    answer = AnswerEvidence.model_validate_json(row.body)
    return answer if row.has_consent else answer.withheld()


def _window(answer: KeptAnswer) -> dict[str, Any]:
    return {
        "window_hotkey": answer.miner_hotkey,
        "window_release": answer.release_digest,
        "window_traffic": answer.traffic,
    }


def _trim(db: sa.Connection, answer: KeptAnswer, answers_max: int) -> None:
    """Drop the oldest answers of the open window; once a batch, as it walks the whole window."""
    db.execute(_TRIM, _window(answer) | {"answers_max": answers_max})


def _set_aside(db: sa.Connection, answer: KeptAnswer) -> None:
    """The open window led to an alarm; it takes the place of that of the last alarm."""
    of_miner = KEPT.c.miner_hotkey == answer.miner_hotkey
    db.execute(KEPT.delete().where(of_miner, KEPT.c.led_to_alarm))
    db.execute(_SET_ASIDE, _window(answer))


def _drop_oldest(db: sa.Connection, tokens_max: int) -> None:
    tokens = db.execute(_TOKENS).scalar_one()
    if tokens <= tokens_max:
        return
    dropped: list[int] = []
    query = sa.select(KEPT.c.sequence, KEPT.c.tokens).order_by(KEPT.c.led_to_alarm, KEPT.c.sequence)
    for sequence, size in db.execute(query):
        dropped.append(sequence)
        tokens -= size
        if tokens <= tokens_max:
            break
    db.execute(
        KEPT.delete().where(KEPT.c.sequence == sa.bindparam("one")),
        [{"one": sequence} for sequence in dropped],
    )
