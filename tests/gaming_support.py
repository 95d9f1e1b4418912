"""Makers of exchanges: honest ones, and ones with something to find."""

import itertools

from subnet.core.audit import Traffic
from subnet.core.gaming import ExchangeMark, Observation, sketch_of

numbers = itertools.count()


def observation(
    hotkey,
    traffic=Traffic.BENCHMARK,
    *,
    fault=None,
    second=0.0,
    prompt=None,
    first_us=100_000,
    total_us=1_000_000,
    tokens=50,
    answer=(),
    family="open",
    is_loud=False,
    grade=None,
):
    number = next(numbers)
    return Observation(
        ExchangeMark(
            request_id=f"{number:032x}",
            miner_hotkey=hotkey,
            traffic=traffic,
            prompt_digest=prompt or f"{number:016x}",
            sent_at_ns=round(second * 1e9),
            fault=fault,
            first_token_us=first_us,
            total_us=total_us,
            tokens=tokens,
            sketch=sketch_of(answer),
        ),
        family,
        None if fault else is_loud,
        grade,
    )


def traffic_of(rng, hotkey, requests, *, organic_fault=0.05, organic_slow=1.0, organic_loud=0.01):
    """Users' answers are longer for everyone, as users ask other things."""
    for traffic in [Traffic.ORGANIC, Traffic.BENCHMARK] * (requests // 2):
        is_organic = traffic is Traffic.ORGANIC
        slow = organic_slow if is_organic else 1.0
        tokens = int(rng.lognormal(4.0 if is_organic else 3.5, 0.4))
        first = int(rng.lognormal(11, 0.5) * slow)
        yield observation(
            hotkey,
            traffic,
            fault="TIMEOUT" if rng.random() < (organic_fault if is_organic else 0.05) else None,
            first_us=first,
            total_us=first + int(tokens * rng.lognormal(9, 0.3) * slow),
            tokens=tokens,
            is_loud=rng.random() < (organic_loud if is_organic else 0.01),
        )


PHRASES = [list(range(100 * n, 100 * n + 12)) for n in range(1, 9)]


def answers_of(rng, hotkey, count=40):
    """A common phrase, then free text."""
    return [
        observation(hotkey, answer=PHRASES[rng.integers(8)] + list(rng.integers(1000, 30_000, 20)))
        for _ in range(count)
    ]


def copies(rng, seen, hotkey, count):
    """Another owner's answers with a few other tokens, to other prompts."""
    for one in seen[:count]:
        yield observation(hotkey, answer=[*one, *rng.integers(1000, 30_000, 2)])


def canned(words, count):
    """The very same answers, whoever gives them."""
    return [list(words.integers(1000, 30_000, 32)) for _ in range(count)]


def day(rng, *, miners=6, minutes=300, together=(), outage=0.0, hard=0.0):
    """A request a minute to each; `together` fail at the same minutes, an outage fails all."""
    for minute in range(minutes):
        is_down, is_shared = rng.random() < outage, rng.random() < 0.08
        for n in range(miners):
            fails = is_shared if n in together else rng.random() < 0.08
            is_wrong = rng.random() < (hard if minute % 2 else 0.1)
            yield observation(
                f"m{n}",
                second=60.0 * minute,
                fault="TIMEOUT" if fails or is_down else None,
                family="code" if minute % 2 else "open",
                grade=None if fails or is_down else float(not is_wrong),
            )
