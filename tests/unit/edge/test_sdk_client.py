"""A connection of the SDK ends, whatever its own `close` does."""

import asyncio

import pytest

from subnet.edge import sdk_client
from subnet.edge.sdk_client import close_client, connected


class Client:
    """A `bt.Client` whose close loses some cancellations, and then ends as it is told to."""

    def __init__(self, lost: int = 0, end: BaseException | None = None) -> None:
        self._lost = lost
        self._end = end
        self.is_closed = False

    async def connect(self) -> None:
        """A network that is there."""

    async def close(self) -> None:
        while self._lost:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self._lost -= 1
        self.is_closed = True
        if self._end:
            raise self._end


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk_client, "CLOSE_SECONDS", 0.01)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_close_that_lost_its_cancellation_gets_another(lost: int) -> None:
    client = Client(lost)

    await close_client(client)

    assert client.is_closed


@pytest.mark.parametrize("end", [OSError("gone"), TimeoutError(), asyncio.CancelledError()])
async def test_a_connection_that_broke_is_closed_too(end: BaseException) -> None:
    await close_client(Client(end=end))


async def test_a_defect_in_closing_is_not_hidden() -> None:
    with pytest.raises(AssertionError):
        await close_client(Client(end=AssertionError()))


@pytest.mark.timeout(10)
async def test_a_cancelled_task_closes_its_client_before_it_ends() -> None:
    client = Client(1)

    async def use() -> None:
        async with connected(client):
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    using.cancel()
    await asyncio.wait({using})

    assert using.cancelled() and client.is_closed
