"""A chain in this process, and the SDK on top of it without a socket."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import bittensor as bt
import pytest

from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.params import DevnetParams

GENESIS_MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def sdk_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(tmp_path / "symbols.json"))


@pytest.fixture
def params() -> DevnetParams:
    return DevnetParams(
        tempo_blocks=5, immunity_period_blocks=6, max_allowed_uids=3, burn_initial_rao=10**9
    )


@pytest.fixture
def chain(tmp_path: Path, params: DevnetParams) -> Iterator[Chain]:
    chain = Chain(tmp_path / "chain.sqlite", params, GENESIS_MS)
    yield chain
    chain.close()


@pytest.fixture
def substrate(chain: Chain) -> DevnetSubstrate:
    return DevnetSubstrate(chain)


@pytest.fixture
async def client(substrate: DevnetSubstrate) -> AsyncIterator[bt.Client]:
    async with bt.Client("ws://in-process", substrate=substrate) as opened:
        yield opened
