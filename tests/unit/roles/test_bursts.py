"""What a burst adds up: the lower half of its window counts."""

from types import SimpleNamespace

import pytest

from subnet.core.audit import PPM
from subnet.core.capacity import rate_tps_milli
from subnet.roles.bursts import Burst, BurstLedger

SECOND = 1_000_000
WINDOW = range(10 * SECOND, 30 * SECOND)


def rate_of(token_seconds, share_ppm=PPM, is_verified=True):
    """Of a burst that one miner answered once, by the instants of its tokens."""
    ledger = BurstLedger()
    burst = Burst(
        number=0,
        period=1,
        cover=None,
        pair=None,
        is_retry=False,
        group={"miner": (0,)},
        window=WINDOW,
    )
    ledger.running = burst
    times = tuple(round(second * SECOND) for second in token_seconds)
    request = SimpleNamespace(request_id="one")
    exchange = SimpleNamespace(miner_hotkey="miner", request=request, token_times_us=times)
    ledger.note(exchange, 0, PPM)
    burst.end()
    assert not burst.settled.is_set()
    ledger.settle("one", share_ppm, is_verified=is_verified)
    assert burst.settled.is_set()
    return rate_tps_milli(burst.credits_ppm["miner"], burst.window)


def test_a_steady_engine_is_rated_by_all_that_it_gave():
    assert rate_of([10.25 + number / 2 for number in range(40)]) == 2_000


def test_an_engine_that_comes_when_the_burst_shows_is_rated_by_what_was_there_before():
    steady = [10.5 + number for number in range(20)]
    fetched = [20.1 + number / 10 for number in range(99)]
    assert rate_of(steady + fetched) == rate_of(steady) == 1_000


def test_one_that_leaves_early_is_rated_by_what_is_left():
    assert rate_of([10.1 + number / 10 for number in range(99)]) == 0


@pytest.mark.parametrize(("is_verified", "rate"), [(True, 4_000), (False, 0)])
def test_an_audited_answer_stands_for_those_that_were_not(is_verified, rate):
    tokens = [10.25 + number / 2 for number in range(40)]
    assert rate_of(tokens, share_ppm=PPM // 2, is_verified=is_verified) == rate
