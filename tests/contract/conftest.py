"""Contract fixtures: the SDK's caches kept out of the home directory, and fast devnets."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from subnet.devnet.params import DevnetParams
from subnet.devnet.server import run_devnet

FAST = DevnetParams(block_time_seconds=0.05, tempo_blocks=10)


@pytest.fixture(autouse=True)
def sdk_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(tmp_path / "symbols.json"))


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
