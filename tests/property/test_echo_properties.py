"""Which users' prompts are asked again: drawn evenly, of others, seldom, and never too soon."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subnet.core.audit import Traffic
from subnet.core.draws import DrawParams
from subnet.core.echoes import EchoPool, EchoPrompt, PeriodEchoes, Taker, next_pool
from subnet.core.records import Answered, Faulted, prompt_digest
from subnet.core.rules import RuleParams
from tests.validator_support import miner_hotkey

RELEASE = "f" * 64


def secret_of(seed):
    return np.random.default_rng(seed).bytes(32)


def rules_of(**draws):
    return RuleParams(draws=DrawParams(**draws))


def hotkey_of(number):
    return miner_hotkey(number)


def owner_of(number):
    return miner_hotkey(30 + number)


def taker_of(number, owners):
    return Taker(hotkey=hotkey_of(number), owner=owner_of(number % owners))


def prompt_of(number, seen_by=(), left=1):
    return EchoPrompt(digest=prompt_digest(f"prompt {number}"), seen_by=seen_by, periods_left=left)


def pool_of(rules, takers, prompts, turns=0):
    return EchoPool(
        release_digest=RELEASE,
        rules_digest=rules.digest(),
        turns=turns,
        takers=tuple(takers),
        prompts=tuple(prompts),
    )


def record_of(kind, traffic, hotkey, digest):
    return kind.model_construct(traffic=traffic, miner_hotkey=hotkey, prompt_digest=digest)


def echoes_of(seed, rules, pool, first=1000):
    return PeriodEchoes(secret_of(seed), first, pool, rules, RELEASE)


def test_every_prompt_falls_on_every_turn_equally_often():
    rules = rules_of(window_requests=3, echo_percent=50)
    prompts = [prompt_of(number) for number in range(4)]
    pool = pool_of(rules, [taker_of(0, 1)], prompts)
    met = Counter()
    runs = 4000
    for seed in range(runs):
        echoes = echoes_of(seed, rules, pool)
        drawn = {turn: echoes.drawn(turn, hotkey_of(0)) for turn in range(990, 1030)}
        drawn = {turn: digest for turn, digest in drawn.items() if digest is not None}
        assert sorted(drawn.values()) == sorted(one.digest for one in prompts), "each once"
        met.update(drawn.items())
    assert {turn for turn, _ in met} == set(range(1003, 1011)), "4 of 8 turns, after the window"
    assert len(met) == 4 * 8
    expected = runs / 8
    deviation = sum((count - expected) ** 2 / expected for count in met.values())
    assert deviation < 53.5, "chi-squared of at most 31 degrees of freedom, .007"


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    percent=st.integers(1, 100),
    window=st.integers(0, 40),
    times=st.integers(1, 4),
    owners=st.integers(1, 6),
)
def test_prompts_are_asked_of_others_within_the_cap_and_never_within_a_window(
    seed, percent, window, times, owners
):
    """Periods in a row, as a validator lives them: users' prompts of many turns, some unanswered,
    and turns that are still taken while an epoch closes."""
    dice = np.random.default_rng([seed, 1])
    rules = rules_of(window_requests=window, echo_percent=percent, echo_times_max=times)
    takers = [taker_of(number, owners) for number in range(8)]
    owners_of = {one.hotkey: one.owner for one in takers}
    pool, counter = EchoPool(), 0
    asked = defaultdict(list)
    users = 0
    for period in range(6):
        first, records = counter, []
        echoes = PeriodEchoes(secret_of([seed, period]), first, pool, rules, RELEASE)
        for _ in range(int(dice.integers(0, 3 * window + 60))):
            hotkey = hotkey_of(int(dice.integers(8)))
            if dice.random() < 0.4:
                users += 1
                kinds = [Faulted, Answered] if dice.random() < 0.2 else [Answered]
                digest = prompt_digest(f"user's {users}")
                for kind in kinds:
                    hotkey = hotkey_of(int(dice.integers(8)))
                    records.append(record_of(kind, Traffic.ORGANIC, hotkey, digest))
                    asked[digest].append((counter, hotkey, Traffic.ORGANIC))
                    counter += 1
                continue
            digest = echoes.drawn(counter, hotkey)
            if digest is not None:
                kind = Answered if dice.random() < 0.9 else Faulted
                records.append(record_of(kind, Traffic.ECHO, hotkey, digest))
                asked[digest].append((counter, hotkey, Traffic.ECHO))
            counter += 1
        turns = counter - first
        counter += int(dice.integers(0, 5))
        pool = next_pool(
            pool, records, takers,
            turns=turns, rules=rules, release_digest=RELEASE, owners=owners_of,
        )  # fmt: skip
    for turns in asked.values():
        again = [turn for turn in turns if turn[2] is Traffic.ECHO]
        assert len(again) <= times
        for place, (counter, hotkey, _) in enumerate(turns):
            if turns[place][2] is Traffic.ECHO:
                before = turns[:place]
                assert owners_of[hotkey] not in {owners_of[one] for _, one, _ in before}
                assert counter - before[-1][0] > window


@pytest.mark.parametrize("percent", [10, 50, 92, 100])
def test_the_share_of_echoes_is_the_rules_at_most_and_fewer_where_prompts_are_few(percent):
    rules = rules_of(window_requests=10, echo_percent=percent)
    takers = [taker_of(number, 20) for number in range(20)]
    prompts = [prompt_of(number, (hotkey_of(number % 20),)) for number in range(600)]
    for turns, share in ((0, 0.01 * percent), (10_010, 0.95 * 600 / 10_000)):
        pool = pool_of(rules, takers, prompts, turns)
        drawn = met = 0
        for seed in range(8):
            echoes = echoes_of(seed, rules, pool, 0)
            span = max(600, turns - 10, -(-100 * 600 * 19 // (percent * 20)))
            met += span
            drawn += sum(
                echoes.drawn(10 + turn, hotkey_of(turn * 7 % 20)) is not None
                for turn in range(span)
            )
        # One taker of twenty must not see a prompt, so no more than .95 can be reached.
        assert drawn / met == pytest.approx(min(share, 0.95), rel=0.1)


def test_nobody_is_asked_without_a_pool_of_these_rules_this_release_and_its_takers():
    rules = rules_of(window_requests=0, echo_percent=100)
    pool = pool_of(rules, [taker_of(0, 1)], [prompt_of(0)])
    assert echoes_of(0, rules, pool).drawn(1000, hotkey_of(0)) == prompt_digest("prompt 0")
    newcomer = echoes_of(0, rules, pool).drawn(1000, hotkey_of(1))
    other_rules = echoes_of(0, rules_of(window_requests=0), pool).drawn(1000, hotkey_of(0))
    other_release = PeriodEchoes(secret_of(0), 1000, pool, rules, "e" * 64)
    assert newcomer is other_rules is other_release.drawn(1000, hotkey_of(0)) is None
    assert echoes_of(0, rules, pool_of(rules, [], [prompt_of(0)])).drawn(1000, hotkey_of(0)) is None
    off = rules_of(window_requests=0, echo_percent=0)
    quiet = pool_of(off, [taker_of(0, 1)], [prompt_of(0)])
    assert echoes_of(0, off, quiet).drawn(1000, hotkey_of(0)) is None


def test_a_pool_holds_answered_prompts_of_users_who_agreed_and_nothing_else():
    rules = rules_of(echo_times_max=2)
    made = {
        "answered": (Answered, Traffic.ORGANIC, 1),
        "unanswered": (Faulted, Traffic.ORGANIC, 2),
        "task": (Answered, Traffic.BENCHMARK, 3),
    }
    records = [
        record_of(kind, traffic, hotkey_of(number), prompt_digest(word))
        for word, (kind, traffic, number) in made.items()
    ]
    records += [
        record_of(Answered, Traffic.ORGANIC, hotkey_of(4), None),
        record_of(Faulted, Traffic.ORGANIC, hotkey_of(5), prompt_digest("answered")),
        record_of(Answered, Traffic.ECHO, hotkey_of(6), prompt_digest("old")),
    ]
    left = {"old": 2, "over": 1}
    before = pool_of(
        rules,
        [],
        [
            EchoPrompt(digest=prompt_digest(word), seen_by=(hotkey_of(9),), periods_left=periods)
            for word, periods in left.items()
        ],
    )
    owners = {hotkey_of(1): owner_of(1), hotkey_of(5): owner_of(5)}

    def made_of(before):
        return next_pool(
            before, records, [], turns=7, rules=rules, release_digest=RELEASE, owners=owners
        )

    old, new = made_of(before).prompts
    assert (old.digest, old.periods_left) == (prompt_digest("old"), 1)
    assert set(old.seen_by) == {hotkey_of(9), hotkey_of(6)}
    assert (new.digest, new.periods_left) == (prompt_digest("answered"), 2)
    assert set(new.seen_by) == {hotkey_of(1), owner_of(1), hotkey_of(5), owner_of(5)}
    moved = made_of(before.model_copy(update={"release_digest": "e" * 64}))
    assert [one.digest for one in moved.prompts] == [prompt_digest("answered")]
