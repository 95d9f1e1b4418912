"""requests -> TRANSCRIPTS -> scores: answers by real engines, as the referee sees them.

Whatever loads torch is imported late: it reads its thread count when loaded, and more threads
than idle cores slow an engine down twentyfold.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from protocol.inference import Environment, FinishReason
from subnet.core.verification.claim import Claim, ClaimScore
from subnet.edge.release_files import ReleaseFiles
from subnet.edge.vllm_engine import VllmEngine
from subnet.ports import EngineRequest, Referee

if TYPE_CHECKING:
    from subnet.edge.torch_referee import TorchReferee

REFEREE_CHUNK: Final = 256
ENGINES: Final[dict[str, dict[str, Any]]] = {"eager": {"enforce_eager": True}, "compiled": {}}
"""The ways that an honest miner may run the model; each answers its share of the prompts."""
Advance = Callable[[int], None]
"""Told how many requests or claims are done."""
Watch = Callable[[str, int], Advance]
"""Opens a progress bar: a title and how much there is to do."""


def claim_to(
    request: EngineRequest,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    finish_reason: FinishReason,
) -> Claim:
    """What an answer to an engine's request claims."""
    return Claim(
        prompt_token_ids=request.prompt_token_ids,
        output_token_ids=tuple(token_ids),
        temperature_milli=request.temperature_milli,
        top_p_milli=request.top_p_milli,
        top_k=request.top_k,
        seed=request.seed,
        logprobs=tuple(logprobs),
        finish_reason=finish_reason,
        structure=request.structure,
    )


async def serve(
    engine: VllmEngine, requests: Sequence[EngineRequest], batch: int, advance: Advance
) -> dict[str, Claim]:
    """Serve the requests, `batch` at a time; claims by request id, as a validator has them."""
    claims: dict[str, Claim] = {}
    queue = list(reversed(requests))

    async def serve_next() -> None:
        while queue:
            request = queue.pop()
            token_ids: list[int] = []
            logprobs: list[float] = []
            async for delta in engine.generate(request):
                token_ids += delta.token_ids
                logprobs += np.array(delta.logprobs, np.float16).tolist()  # As on the wire.
            assert delta.finish_reason is not None
            claims[request.request_id] = claim_to(request, token_ids, logprobs, delta.finish_reason)
            advance(1)

    await asyncio.gather(*(serve_next() for _ in range(batch)))
    return claims


@dataclass(frozen=True, slots=True)
class Served:
    """What one engine answered, in the requests' order, where, and how fast."""

    environment: Environment
    claims: list[Claim]
    tokens_per_second: dict[int, float]
    """By batch size."""


def served(
    files: ReleaseFiles,
    requests: Sequence[EngineRequest],
    batch_shares: Mapping[int, float],
    engine_arguments: Mapping[str, Any],
    advance: Advance,
) -> Served:
    """Start an engine and have it answer. Raises EngineError.

    `batch_shares` gives each batch size its share of the requests, the last one what is left.
    """
    claims: dict[str, Claim] = {}
    rates: dict[int, float] = {}

    async def serve_all() -> None:
        start = 0
        for batch, share in batch_shares.items():
            is_last = batch == list(batch_shares)[-1]
            stop = len(requests) if is_last else start + max(1, int(share * len(requests)))
            begun = time.perf_counter()
            found = await serve(engine, requests[start:stop], batch, advance)
            tokens = sum(len(claim.output_token_ids) for claim in found.values())
            rates[batch] = tokens / (time.perf_counter() - begun)
            claims.update(found)
            start = stop

    engine = VllmEngine(files.release, files.folder, max(batch_shares), dict(engine_arguments))
    try:
        asyncio.run(serve_all())  # One loop: the engine belongs to the first that it sees.
    finally:
        engine.close()
    ordered = [claims[request.request_id] for request in requests]
    return Served(engine.environment, ordered, rates)


def served_honestly(
    files: ReleaseFiles,
    requests: Sequence[EngineRequest],
    batch_shares: Mapping[int, float],
    watch: Watch,
    engines: Mapping[str, Mapping[str, Any]] = ENGINES,
) -> Served:
    """What the engines answered, each every n-th request, and the best rate of any at each batch
    size. Raises EngineError.
    """
    claims: dict[str, Claim] = {}
    rates: dict[int, float] = {}
    for place, (name, arguments) in enumerate(engines.items()):
        share = requests[place :: len(engines)]
        advance = watch(f"honest answers, {name}", len(share))
        found = served(files, share, batch_shares, arguments, advance)
        claims |= zip((request.request_id for request in share), found.claims, strict=True)
        for batch, rate in found.tokens_per_second.items():
            rates[batch] = max(rates.get(batch, 0.0), rate)
    ordered = [claims[request.request_id] for request in requests]
    return Served(found.environment, ordered, rates)


def make_referee(files: ReleaseFiles, slack_logits: float) -> "TorchReferee":
    """A referee of the release on all cores: no engine runs while the lab scores."""
    from subnet.edge.grammar import release_grammars
    from subnet.edge.torch_referee import TorchReferee

    return TorchReferee(
        files.folder,
        dtype=files.release.dtype,
        slack_logits=slack_logits,
        threads=os.cpu_count() or 1,
        grammars=release_grammars(files.release, files.folder),
    )


def scored(referee: Referee, claims: Sequence[Claim], advance: Advance) -> list[ClaimScore]:
    """The referee's margins and gaps, in the order of the claims."""
    # Similar lengths go together, so that little of a batch is padding.
    order = sorted(
        range(len(claims)),
        key=lambda i: len(claims[i].prompt_token_ids) + len(claims[i].output_token_ids),
    )
    scores: list[ClaimScore] = [ClaimScore((), ())] * len(claims)
    for start in range(0, len(order), REFEREE_CHUNK):
        part = order[start : start + REFEREE_CHUNK]
        for index, found in zip(part, referee.score([claims[i] for i in part]), strict=True):
            scores[index] = found
        advance(len(part))
    return scores
