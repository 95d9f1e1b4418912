"""What the roles ask of the world, as narrow protocols; `subnet.edge` answers them.

A role cannot know whether its chain is real, its engine a GPU, or its clock virtual.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from protocol.errors import Refusal
from protocol.handshake import MinerCard
from protocol.inference import Environment, FinishReason, InferenceRequest, InferenceResponse
from protocol.release import Release
from protocol.structure import Structure
from subnet.core.benchmark.program import Outcome, Program
from subnet.core.second_opinion import SecondScores
from subnet.core.verification.claim import Claim, ClaimScore


class Clock(Protocol):
    """Wall time and a monotonic timer. Sleeping is asyncio's business."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds on a timer that never jumps."""
        ...


class Signer(Protocol):
    """A hotkey that signs. The key itself never leaves the edge."""

    @property
    def hotkey(self) -> str:
        """The ss58 address."""
        ...

    def sign(self, message: bytes) -> str:
        """An sr25519 signature, lower-case hex without 0x."""
        ...


class SignatureVerifier(Protocol):
    """Authenticates a signature; forged, malformed and foreign ones are all False."""

    def __call__(self, message: bytes, signature: str, hotkey: str) -> bool: ...


# --- inference ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation, fully determined: same engine, same request, same tokens."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    temperature_milli: int
    top_p_milli: int
    top_k: int
    tokens_max: int
    seed: int
    structure: Structure | None = None


@dataclass(frozen=True, slots=True)
class EngineDelta:
    """Tokens that one or more engine steps emitted for one request."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Raw log-probability of each token, before any sampling parameter."""
    finish_reason: FinishReason | None


class EngineError(Exception):
    """The engine failed on a request, or died; the message says which."""


class UnsupportedRequestError(EngineError):
    """Raised before the first token: the caller asks for what this engine cannot do."""


class Engine(Protocol):
    """An inference engine that serves exactly one release with seeded sampling."""

    @property
    def release(self) -> Release: ...

    @property
    def environment(self) -> Environment: ...

    @property
    def concurrent_requests_max(self) -> int: ...

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        """Stream one answer. Closing the iterator aborts the request. Raises EngineError."""
        ...

    async def failed(self) -> None:
        """Return only by raising EngineError when the engine as a whole has died."""
        ...


class ClosableEngine(Engine, Protocol):
    """An engine whose resources can be given back."""

    def close(self) -> None: ...


# --- the miner as validators see it --------------------------------------------------------------


class Fault(StrEnum):
    """Why there is no verified answer. Counted apart: the blame differs."""

    UNREACHABLE = "UNREACHABLE"
    """No connection, or the address is one that we do not call."""
    TIMEOUT = "TIMEOUT"
    BROKEN_STREAM = "BROKEN_STREAM"
    """The stream ended early, overflowed a bound, or held lines that are not of the protocol."""
    REFUSED = "REFUSED"
    """A typed rejection; honest back-pressure is told apart by its reason."""
    FALSE_CLAIM = "FALSE_CLAIM"
    """Signature, hash, counts, finish or identity do not fit the tokens that came."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a hotkey says that it listens: claimed by the miner, so distrusted."""

    hotkey: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One finished conversation with a miner, as the measuring end saw it."""

    request: InferenceRequest
    miner_hotkey: str
    sent_at_ns: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    token_times_us: tuple[int, ...]
    """When each token arrived, since the request was sent. Same length as `token_ids`."""
    total_us: int
    response: InferenceResponse | None
    """Present when the signed response came and authenticated; its claims are still unchecked."""
    response_signature: str | None
    fault: Fault | None
    fault_detail: str
    rejection_reason: str | None = None
    refusal: Refusal | None = None
    """What the miner signed when it refused; authenticated, or not there."""
    refusal_signature: str | None = None


class MinerClient(Protocol):
    """Talks to miners. A bad miner is a result, never an exception."""

    async def handshake(self, endpoint: Endpoint, timeout_seconds: float) -> MinerCard | Fault: ...

    async def infer(self, endpoint: Endpoint, request: InferenceRequest) -> Exchange: ...


class Referee(Protocol):
    """Teacher-forced scoring of claims under one release's own weights. Blocking and heavy."""

    @property
    def environment(self) -> Environment:
        """Where it computes; `engine` names the backend and its version."""
        ...

    def score(self, claims: Sequence[Claim]) -> list[ClaimScore]: ...


class Grammars(Protocol):
    """The release's grammar backend."""

    def refused_at(self, structure: Structure, token_ids: Sequence[int]) -> int | None:
        """The index of the first token that the structure bars, or None."""
        ...


class SamplingReferee(Referee, Protocol):
    """A referee that can also answer, so that its self-test has a truth to know."""

    def continued(self, claims: Sequence[Claim], tokens: int) -> list[Claim]:
        """The claims with `tokens` more tokens as an honest sampler emits them, past any stop."""
        ...


class SandboxError(Exception):
    """The sandbox itself failed, whatever was to run in it; the message says how."""


class Sandbox(Protocol):
    """Runs untrusted code where it can reach nothing."""

    def run(self, program: Program) -> Outcome:
        """What the calls returned. Blocking, for seconds at most. Raises SandboxError."""
        ...


class OpinionUnavailableError(Exception):
    """The second engine could not be loaded, failed, or took too long; the message says which."""


class SecondEngine(Protocol):
    """Another engine with the same weights; loaded for one opinion and gone after it."""

    @property
    def name(self) -> str:
        """Such as `vllm`."""
        ...

    async def score(self, claims: Sequence[Claim], slack_logits: float) -> SecondScores:
        """Raises OpinionUnavailableError."""
        ...


class Tokenizer(Protocol):
    """Renders the chat template and turns token ids back into text."""

    def render(self, prompt: str) -> tuple[int, ...]: ...

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text without special tokens."""
        ...


# --- the chain -----------------------------------------------------------------------------------


class ChainError(Exception):
    """The chain was unreachable or refused; the message carries its own word for it."""


class DeregisteredError(Exception):
    """Our own hotkey is on the subnet no more: trying again helps nobody, the operator must act."""


@dataclass(frozen=True, slots=True)
class Neuron:
    """One row of the metagraph."""

    uid: int
    hotkey: str
    coldkey: str
    endpoint: Endpoint | None
    stake_rao: int
    has_validator_permit: bool
    incentive: float
    """Share of the miners' emission at the last epoch, in [0, 1]."""
    dividends: float
    emission_rao: int
    """Earned at the last epoch."""
    last_update_block: int
    registered_at_block: int


@dataclass(frozen=True, slots=True)
class Metagraph:
    """The subnet at one block."""

    netuid: int
    block: int
    tempo: int
    owner_hotkey: str
    neurons: tuple[Neuron, ...]

    def neuron(self, hotkey: str) -> Neuron | None:
        """The row of a hotkey, if registered."""
        return next((row for row in self.neurons if row.hotkey == hotkey), None)


class Chain(Protocol):
    """One subnet on one chain, read and written with one hotkey.

    Every call may raise ChainError.
    """

    async def block_number(self) -> int: ...

    async def block_hash(self, block: int) -> bytes: ...

    async def metagraph(self) -> Metagraph: ...

    async def wait_for_block(self, block: int) -> int:
        """Return the final block's number once it is at least `block`: its hash then stands."""
        ...

    async def wait_for_epoch(self) -> int:
        """Return the block of the next epoch, once it has run."""
        ...

    async def publish_endpoint(self, host: str, port: int) -> bool:
        """Serve this address; False when the chain already held it and nothing was sent."""
        ...

    async def set_weights(self, weights: Mapping[int, int], version_key: int) -> None:
        """Shares by uid, any positive scale; quantised by the SDK."""
        ...

    async def commit(self, data: bytes) -> None:
        """Replace this hotkey's commitment (at most 128 bytes)."""
        ...

    async def commitment(self, hotkey: str) -> bytes | None: ...
