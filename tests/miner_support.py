"""Fakes for the miner's tests: an engine with a script, a chain that stands still, known keys."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bittensor.keyfiles import Keypair

from protocol.inference import Environment, FinishReason, InferenceRequest, Sampling
from protocol.release import Release
from protocol.structure import Structure
from subnet.config import MinerSettings
from subnet.core.admission import AdmissionParams
from subnet.edge.btauth import HotkeySigner
from subnet.edge.http_server import bind_socket
from subnet.edge.miner_server import MinerApp, serve_app
from subnet.edge.system import SystemClock
from subnet.ports import (
    ChainError,
    Endpoint,
    EngineDelta,
    EngineError,
    EngineRequest,
    Metagraph,
    Neuron,
)
from subnet.roles.miner import Miner

CALLER = HotkeySigner(Keypair.create_from_uri("//Alice"))
MINER = HotkeySigner(Keypair.create_from_uri("//Bob"))
STRANGER = HotkeySigner(Keypair.create_from_uri("//Charlie"))
RELEASE = Release(
    model="scripted",
    revision="main",
    weights_digest="a" * 64,
    tokenizer_digest="b" * 64,
    dtype="float32",
    runtime="script-1",
    vocab_size=1000,
    context_tokens_max=256,
    stop_token_ids=(2,),
)
ENVIRONMENT = Environment(engine="script-1", torch="none", device="none", dtype="float32")


def make_request(
    *,
    tokens_max: int = 8,
    prompt: tuple[int, ...] = (5, 6, 7),
    nonce: str | None = None,
    timeout_ms: int = 20_000,
    top_k: int = 50,
    release_digest: str | None = None,
    structure: Structure | None = None,
) -> InferenceRequest:
    """A request that an idle miner admits."""
    return InferenceRequest(
        request_id=secrets.token_hex(16),
        release_digest=release_digest or RELEASE.digest(),
        nonce=nonce or secrets.token_hex(32),
        prompt_token_ids=prompt,
        sampling=Sampling(
            temperature_milli=700,
            top_p_milli=950,
            top_k=top_k,
            tokens_max=tokens_max,
            structure=structure,
        ),
        timeout_ms=timeout_ms,
    )


class ScriptedEngine:
    """Emits `10 + k` as the k-th token, `step_tokens` at a time; fails or hangs when told to."""

    def __init__(
        self,
        *,
        step_tokens: int = 1,
        fail_after: int | None = None,
        hang_after: int | None = None,
        concurrent_requests_max: int = 4,
        release: Release = RELEASE,
    ) -> None:
        self.release = release
        self.environment = ENVIRONMENT
        self.concurrent_requests_max = concurrent_requests_max
        self.step_tokens = step_tokens
        self.fail_after = fail_after
        self.hang_after = hang_after
        self.requests: list[EngineRequest] = []
        self.aborted = 0
        self.asked = asyncio.Event()
        self.closed_early = asyncio.Event()
        self.hanging = asyncio.Event()
        self.death = asyncio.Event()
        self.closed = False

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        self.requests.append(request)
        self.asked.set()
        done = 0
        try:
            while True:
                if self.fail_after is not None and done >= self.fail_after:
                    raise EngineError("scripted failure")
                if self.hang_after is not None and done >= self.hang_after:
                    self.hanging.set()
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                count = min(self.step_tokens, request.tokens_max - done)
                ids = tuple(10 + done + k for k in range(count))
                done += count
                finish: FinishReason | None = "length" if done == request.tokens_max else None
                yield EngineDelta(ids, tuple(-0.5 * k for k in range(count)), finish)
                if finish:
                    return
        finally:
            if done < request.tokens_max:
                self.aborted += 1
                self.closed_early.set()

    async def failed(self) -> None:
        await self.death.wait()
        raise EngineError("scripted death")

    def close(self) -> None:
        self.closed = True


class StaticChain:
    """CALLER holds the only permit."""

    def __init__(self, *, stake_rao: int = 10**12, endpoint: Endpoint | None = None) -> None:
        self.published: list[tuple[str, int]] = []
        self.endpoint = endpoint
        self.stake_rao = stake_rao
        self.is_registered = True
        self.is_away = False
        self.block = 100

    async def metagraph(self) -> Metagraph:
        self._answer()
        rows = [
            Neuron(0, CALLER.hotkey, CALLER.hotkey, None, self.stake_rao, True, 0, 0, 0, 0, 0),
            Neuron(2, STRANGER.hotkey, STRANGER.hotkey, None, 10**15, False, 0, 0, 0, 0, 0),
        ]
        if self.is_registered:
            rows.append(
                Neuron(1, MINER.hotkey, MINER.hotkey, self.endpoint, 0, False, 0, 0, 0, 0, 0)
            )
        return Metagraph(1, self.block, 360, CALLER.hotkey, tuple(rows))

    def _answer(self) -> None:
        if self.is_away:
            raise ChainError("scripted silence")

    async def publish_endpoint(self, host: str, port: int) -> bool:
        self._answer()
        self.published.append((host, port))
        self.endpoint = Endpoint(MINER.hotkey, host, port)
        return True


async def make_miner(
    engine: ScriptedEngine,
    chain: StaticChain | None = None,
    admission: AdmissionParams | None = None,
    settings: MinerSettings | None = None,
) -> Miner:
    """A miner that has read its metagraph."""
    miner = Miner(
        chain=chain or StaticChain(),  # type: ignore[arg-type]
        engine=engine,
        signer=MINER,
        clock=SystemClock(),
        settings=settings or MinerSettings(),
        admission=admission or AdmissionParams(),
    )
    await miner.refresh()
    return miner


@asynccontextmanager
async def running_miner(
    engine: ScriptedEngine,
    settings: MinerSettings | None = None,
    admission: AdmissionParams | None = None,
) -> AsyncIterator[Endpoint]:
    """A miner's server on a free port of this machine."""
    settings = settings or MinerSettings()
    miner = await make_miner(engine, admission=admission, settings=settings)
    app = MinerApp(miner, SystemClock(), settings, admission or AdmissionParams())
    bound = bind_socket("127.0.0.1", 0)
    port = bound.getsockname()[1]
    bound.listen()
    serving = asyncio.create_task(serve_app(app, bound, settings))
    try:
        yield Endpoint(MINER.hotkey, "127.0.0.1", port)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def make_tiny_model(
    folder: Path, seed: int = 0, *, is_endless: bool = False, vocab_size: int = 512
) -> Path:
    """A randomly initialised Llama that ends its answers after about 30 tokens.

    An endless one has a stop token that is never among the 50 likeliest, and a window of 1024.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024 if is_endless else 128,
        initializer_range=0.12,
        eos_token_id=[0] if is_endless else list(range(16)),
        dtype="float32",
    )
    model = LlamaForCausalLM(config).float()
    if is_endless:
        model.lm_head.weight.data[0] = 0
    model.save_pretrained(folder)
    return folder
