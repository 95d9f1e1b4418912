"""promised release -> CHEAT -> plausible answers: engines that lie, for tests and the demo.

Each passes every check but the margin: right prompt, valid signature, honest lengths and speed.
They wrap an engine from outside, so that the production miner needs no flag for them.
"""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from protocol.inference import Environment
from protocol.release import Release
from subnet.ports import ClosableEngine, EngineDelta, EngineRequest

ANSWERS_KEPT: Final = 4096


class ClaimedReleaseEngine:
    """Serves another checkpoint under the promised release's name."""

    def __init__(self, inner: ClosableEngine, promised: Release) -> None:
        """`inner` serves the weaker release, with the same vocabulary and stop tokens."""
        assert inner.release.vocab_size == promised.vocab_size, "the cheat would be seen at once"
        assert inner.release.stop_token_ids == promised.stop_token_ids, "likewise"
        self._inner = inner
        self._promised = promised

    @property
    def release(self) -> Release:
        """The lie."""
        return self._promised

    @property
    def environment(self) -> Environment:
        """The wrapped engine's own."""
        return self._inner.environment

    @property
    def concurrent_requests_max(self) -> int:
        """The wrapped engine's own."""
        return self._inner.concurrent_requests_max

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """The weaker model's answer."""
        return self._inner.generate(request)

    async def failed(self) -> None:
        """As the wrapped engine."""
        await self._inner.failed()

    def close(self) -> None:
        """Stop the wrapped engine."""
        self._inner.close()


class ForeignSeedEngine(ClaimedReleaseEngine):
    """The right model with sampling noise of its own: what a copied or cached answer looks like."""

    def __init__(self, inner: ClosableEngine) -> None:
        super().__init__(inner, inner.release)

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """The right model's answer to a seed that nobody asked for."""
        digest = hashlib.sha256(b"foreign" + request.seed.to_bytes(8, "little")).digest()
        seed = int.from_bytes(digest[:8], "little") & (2**63 - 1)
        return self._inner.generate(dataclasses.replace(request, seed=seed))


class ReplayEngine(ClaimedReleaseEngine):
    """Answers a prompt that it has answered before from memory, and only then for free."""

    def __init__(self, inner: ClosableEngine) -> None:
        super().__init__(inner, inner.release)
        self._answers: OrderedDict[tuple[object, ...], EngineDelta] = OrderedDict()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """The first answer to this prompt and these parameters, whatever the seed."""
        key = dataclasses.astuple(dataclasses.replace(request, request_id="", seed=0))
        known = self._answers.get(key)
        if known is not None:
            yield known
            return
        token_ids: tuple[int, ...] = ()
        logprobs: tuple[float, ...] = ()
        async with aclosing(self._inner.generate(request)) as deltas:
            async for delta in deltas:
                token_ids += delta.token_ids
                logprobs += delta.logprobs
                if delta.finish_reason is not None:
                    self._answers[key] = EngineDelta(token_ids, logprobs, delta.finish_reason)
                yield delta
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
