"""Fetches the drand pulses that sealed weights wait for, where the internet is there.

Nothing is asked while nothing waits. Without the internet it fails quietly, and tries again ever
more rarely; commits then expire as they do on the public chain when a pulse stays out.
"""

import asyncio
import json
import time
from collections.abc import Sequence

import aiohttp
from bittensor.timelock import current_round

from subnet.devnet.drand import Pulses, PulseSource
from subnet.devnet.state import Reader

QUICKNET_CHAIN = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
DRAND_URLS = ("https://api.drand.sh", "https://drand.cloudflare.com")
ROUNDS_PER_TURN_MAX = 16
_FETCH_TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 1.0, 64.0
_ANSWER_BYTES_MAX = 4096


async def follow_drand(reader: Reader, pulses: Pulses, urls: Sequence[str]) -> None:
    """Keep fetching what the chain's commits wait for, until cancelled."""
    pause = _PAUSE_SECONDS
    timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            wanted = wanted_rounds(reader, pulses, current_round(time.time()))
            learned = [await _learn(session, pulses, urls, number) for number in wanted]
            pause = _PAUSE_SECONDS if all(learned) else min(2 * pause, _PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause)


def wanted_rounds(reader: Reader, pulses: PulseSource, published_round: int) -> list[int]:
    """The oldest rounds that commits wait for, that are published and whose pulse is unknown."""
    rounds = {
        row[3]
        for _, commits in reader.entries("SubtensorModule.TimelockedWeightCommits")
        for row in commits
    }
    unknown = (number for number in rounds if pulses.signature(number) is None)
    return sorted(number for number in unknown if 0 < number <= published_round)[
        :ROUNDS_PER_TURN_MAX
    ]


async def _learn(
    session: aiohttp.ClientSession, pulses: Pulses, urls: Sequence[str], round_number: int
) -> bool:
    """Ask one relay after the other; whether one had the round's genuine pulse."""
    for url in urls:
        signature = await _fetch(session, f"{url}/{QUICKNET_CHAIN}/public/{round_number}")
        if signature is not None and pulses.add(round_number, signature):
            return True
    return False


async def _fetch(session: aiohttp.ClientSession, url: str) -> bytes | None:
    try:
        async with session.get(url, allow_redirects=False) as response:
            body = await response.content.read(_ANSWER_BYTES_MAX)
        return bytes.fromhex(json.loads(body)["signature"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        return None
