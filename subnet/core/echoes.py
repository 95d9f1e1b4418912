"""records -> POOL, secret -> ECHO: which users' prompts are asked again, in which turn and of whom.

A miner that reads its prompts knows a generated task. So most of the validator's own requests ask
what users asked before, and agreed to: of another owner, in a later period. Each statement fixes
the pool of the coming period, which follows from its records; the period's secret, fixed earlier
still, draws a turn for each prompt of it. So a validator chooses neither what is asked again nor
of whom, and whoever has the records derives every echo. The trap: a rule that looked at what was
asked before in the same period would need requests of which nobody ever knew the end.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from protocol.units import Digest, Hotkey
from subnet.core.audit import Traffic
from subnet.core.benchmark.draws import Draws
from subnet.core.bundle import Whole
from subnet.core.draws import DrawParams
from subnet.core.records import Answered, Faulted, Record, Violated
from subnet.core.rules import RuleParams

PROMPTS_MAX: Final = 50_000
"""In one pool, about 300 bytes each; the newest stay."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EchoPrompt(_Frozen):
    """A user's prompt that may be asked again."""

    digest: Digest
    """`records.prompt_digest`."""
    seen_by: tuple[Hotkey, ...]
    """Whom it was sent to, as the records say: hotkeys and their coldkeys, in order."""
    periods_left: Annotated[int, Field(ge=1)]
    """In so many periods it may still be asked, once in each."""


class Taker(_Frozen):
    """A miner that may be asked echoes: past probation when the pool was made."""

    hotkey: Hotkey
    owner: Hotkey
    """Its coldkey."""

    def may_be_asked(self, prompt: EchoPrompt) -> bool:
        """Whether neither it nor a hotkey of the same owner was asked before."""
        return self.hotkey not in prompt.seen_by and self.owner not in prompt.seen_by


class EchoPool(_Frozen):
    """What may be asked again in one period, and of whom."""

    release_digest: Digest | None = None
    rules_digest: Digest | None = None
    """A process that starts with other rules, or another release, asks no echoes in this period."""
    turns: Whole = 0
    """As many as the period before had: the echoes are spread over them."""
    takers: tuple[Taker, ...] = ()
    """By hotkey."""
    prompts: tuple[EchoPrompt, ...] = ()
    """In the order in which their answers were recorded."""

    def digest(self) -> str:
        """SHA-256, lower-case hex: what a statement fixes."""
        return hashlib.sha256(b"assay/pool/1\n" + self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PeriodStart:
    """What echoes of a period derive from, beside its secret."""

    first_counter: int | None
    """The first draw of its secret; None until it begins."""
    pool: EchoPool


class PeriodEchoes:
    """The echoes of one period, by turn."""

    def __init__(
        self,
        secret: bytes,
        first_counter: int,
        pool: EchoPool,
        rules: RuleParams,
        release_digest: str,
    ) -> None:
        self._takers = {taker.hotkey: taker for taker in pool.takers}
        is_ours = (pool.rules_digest, pool.release_digest) == (rules.digest(), release_digest)
        self._prompts = _placed(secret, first_counter, pool, rules.draws) if is_ours else {}

    def drawn(self, counter: int, hotkey: str) -> str | None:
        """The digest of the user's prompt that this turn asks of this miner; None if it asks a
        generated task: no prompt was drawn, or this miner must not see the one that was."""
        prompt, taker = self._prompts.get(counter), self._takers.get(hotkey)
        if prompt is None or taker is None or not taker.may_be_asked(prompt):
            return None
        return prompt.digest


def next_pool(
    before: EchoPool,
    records: Iterable[Record],
    takers: Iterable[Taker],
    *,
    turns: int,
    rules: RuleParams,
    release_digest: str,
    owners: Mapping[str, str],
) -> EchoPool:
    """The pool of the coming period: what is left of the one in use, and the prompts whose answers
    were recorded since, by users who agreed. `owners` gives coldkeys by hotkey.

    Who is asked while an epoch closes is in the records of the next: it may be asked once more.
    """
    seen: defaultdict[str, set[str]] = defaultdict(set)
    answered: dict[str, None] = {}
    for record in records:
        if not isinstance(record, Answered | Violated | Faulted):
            continue
        digest, hotkey = record.prompt_digest, record.miner_hotkey
        if digest is None or not record.traffic.is_of_users:
            continue
        seen[digest] |= {hotkey, owners.get(hotkey, hotkey)}
        if record.traffic is Traffic.ORGANIC and isinstance(record, Answered):
            answered[digest] = None
    is_kept = before.release_digest == release_digest
    left = {one.digest: one for one in before.prompts if is_kept and one.periods_left > 1}
    carried = [
        EchoPrompt(
            digest=one.digest,
            seen_by=tuple(sorted({*one.seen_by, *seen[one.digest]})),
            periods_left=one.periods_left - 1,
        )
        for one in left.values()
    ]
    new = [
        EchoPrompt(
            digest=digest,
            seen_by=tuple(sorted(seen[digest])),
            periods_left=rules.draws.echo_times_max,
        )
        for digest in answered
        if digest not in left
    ]
    return EchoPool(
        release_digest=release_digest,
        rules_digest=rules.digest(),
        turns=turns,
        takers=tuple(sorted(takers, key=lambda one: one.hotkey)),
        prompts=tuple([*carried, *new][-PROMPTS_MAX:]),
    )


def _placed(
    secret: bytes, first_counter: int, pool: EchoPool, params: DrawParams
) -> dict[int, EchoPrompt]:
    """The prompt of each turn that has one: each prompt in one turn, all turns equally likely.

    The first window of the period has none, so that no prompt comes twice within a window.
    """
    count, takers = len(pool.prompts), len(pool.takers)
    if not (params.echo_percent and count and takers):
        return {}
    allowed = sum(takers - barred for barred in _barred(pool))
    needed = -(-100 * allowed // (params.echo_percent * takers))
    turns = max(count, needed, pool.turns - params.window_requests)
    first = first_counter + params.window_requests
    draws = Draws(b"assay/echo/1", secret)
    moved: dict[int, int] = {}
    placed = {}
    for number, prompt in enumerate(pool.prompts):
        # A shuffle of all turns, of which only the first places are dealt.
        drawn = number + draws.below(turns - number)
        placed[first + moved.get(drawn, drawn)] = prompt
        moved[drawn] = moved.get(number, number)
    return placed


def _barred(pool: EchoPool) -> Sequence[int]:
    """Of each prompt: how many of the takers must not be asked it."""
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    for taker in pool.takers:
        by_name[taker.hotkey].add(taker.hotkey)
        by_name[taker.owner].add(taker.hotkey)
    nobody: set[str] = set()
    return [
        len(nobody.union(*(by_name.get(name, nobody) for name in prompt.seen_by)))
        for prompt in pool.prompts
    ]
