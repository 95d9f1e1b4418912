"""Contract fixtures: a chain per transport, fast devnets, the SDK's caches out of the home.

Without ASSAY_CHAIN, `chain` is a devnet behind a socket and a devnet in this process; with
ASSAY_CHAIN=ws://..., it is also that chain, on which `//Alice` must have money and be root.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import bittensor as bt
import pytest

from subnet.devnet.chain import Chain
from subnet.devnet.inprocess import DevnetSubstrate
from subnet.devnet.params import DevnetParams
from subnet.devnet.server import run_devnet
from subnet.edge.sdk_client import sdk_client
from tests.contract.chains import TEMPO, ChainUnderTest

FAST = DevnetParams(block_time_seconds=0.05, tempo_blocks=TEMPO)
REAL_CHAIN = os.environ.get("ASSAY_CHAIN", "")
TRANSPORTS = ["wire", "in process", *(["real"] if REAL_CHAIN else [])]
DEVNET_WAIT_SECONDS, REAL_WAIT_SECONDS = 30.0, 3600.0
GENESIS_MS = 1_700_000_000_000


@pytest.fixture(scope="session", autouse=True)
def sdk_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("sdk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(path / "runtime"))
        patch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(path / "symbols.json"))
        yield


@contextmanager
def _devnet_in_thread(path: Path, params: DevnetParams = FAST) -> Iterator[str]:
    """A wire node on a free port in a thread of its own; yields its endpoint."""
    listening = threading.Event()
    endpoints: list[str] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def on_listening(endpoint: str) -> None:
        endpoints.append(endpoint)
        listening.set()

    def run() -> None:
        try:
            loop.run_until_complete(
                run_devnet(
                    path,
                    0,
                    params,
                    on_listening=on_listening,
                    stop=stop,
                    handle_signals=False,
                    drand_urls=(),
                )
            )
        except BaseException as error:
            failures.append(error)
            listening.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert listening.wait(20) and not failures, failures
    try:
        yield endpoints[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
        assert not failures, failures


@pytest.fixture(scope="session")
def devnet_in_thread() -> Callable[..., AbstractContextManager[str]]:
    return _devnet_in_thread


@contextmanager
def _chain_in_process(path: Path) -> Iterator[ChainUnderTest]:
    chain = Chain(path, FAST, GENESIS_MS)
    blocks = DevnetSubstrate(chain)

    def open_client() -> bt.Client:
        return bt.Client("ws://in-process", substrate=DevnetSubstrate(chain))

    yield ChainUnderTest(open_client, "devnet", DEVNET_WAIT_SECONDS, blocks.advance)
    chain.close()


@pytest.fixture(scope="module", params=TRANSPORTS)
def chain(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChainUnderTest]:
    """The chain that a contract is checked on; shared by the tests of a module."""
    path = tmp_path_factory.mktemp("chain") / "chain.sqlite"
    if request.param == "wire":
        with _devnet_in_thread(path) as url:
            yield ChainUnderTest(lambda: sdk_client(url), "devnet", DEVNET_WAIT_SECONDS)
    elif request.param == "in process":
        with _chain_in_process(path) as chain:
            yield chain
    else:
        run = f"{time.time_ns()}"
        yield ChainUnderTest(lambda: sdk_client(REAL_CHAIN), run, REAL_WAIT_SECONDS)


@pytest.fixture
async def client(chain: ChainUnderTest) -> AsyncIterator[bt.Client]:
    """A connected client of the chain."""
    async with chain.connected() as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A real chain's blocks and epochs take their time."""
    for item in items:
        if "chain" in getattr(item, "fixturenames", ()) and "[real" in item.name:
            item.add_marker(pytest.mark.timeout(REAL_WAIT_SECONDS))
