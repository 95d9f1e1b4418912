"""request -> admit -> seed -> engine -> signed STREAM: one miner, one release, one engine.

The seed is derived here and nowhere else from the caller's one-time nonce, so that nobody can
choose it. Everything a caller pays for is signed: a checkpoint every 32 tokens, then the response.
"""

import asyncio
import logging
import struct
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from protocol import PROTOCOL_VERSION
from protocol.errors import RejectedError, RejectionReason
from protocol.handshake import HandshakeRequest, HandshakeResponse, MinerCard
from protocol.inference import (
    CHECKPOINT_TOKENS,
    CheckpointLine,
    ChunkLine,
    EndLine,
    ErrorLine,
    FinishReason,
    InferenceRequest,
    InferenceResponse,
    StreamCheckpoint,
    StreamLine,
)
from protocol.sampling import derive_seed
from subnet.config import MinerSettings
from subnet.core.admission import AdmissionParams, Caller, Load, admit_request, permitted
from subnet.ports import (
    Chain,
    ChainError,
    Clock,
    Endpoint,
    Engine,
    EngineError,
    EngineRequest,
    Metagraph,
    Signer,
    UnsupportedRequestError,
)
from subnet.roles.running_answer import RunningAnswer

_log = logging.getLogger(__name__)
_HALF: Final = struct.Struct("<e")
_BITS: Final = struct.Struct("<H")
_FLOAT16_MAX: Final = 65504.0


class NotRegisteredError(ChainError):
    """The miner's hotkey is not on the subnet, so nobody could find or pay it."""


class Miner:
    """Serves permitted callers; everything about the outside world comes in through ports."""

    def __init__(
        self,
        *,
        chain: Chain,
        engine: Engine,
        signer: Signer,
        clock: Clock,
        settings: MinerSettings,
        admission: AdmissionParams,
    ) -> None:
        self._chain = chain
        self._engine = engine
        self._signer = signer
        self._clock = clock
        self._settings = settings
        self._admission = admission
        self._metagraph: Metagraph | None = None
        self._budget_window = -1
        self._tokens_spent: Counter[str] = Counter()
        """Of this window; an answer settles with the window in which it was admitted."""
        self._served_nonces: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._answers: set[RunningAnswer] = set()
        self._stop_at_us: int | None = None
        self.release = engine.release

    @property
    def requests_running(self) -> int:
        """Answers in progress."""
        return len(self._answers)

    @property
    def hotkey(self) -> str:
        """Whose signature stands under the answers."""
        return self._signer.hotkey

    # --- the chain ---------------------------------------------------------------------------

    async def run(self, host: str, port: int) -> None:
        """Publish the address and keep the permits fresh, until cancelled. Call `refresh` before.

        Raises EngineError when the engine dies, NotRegisteredError when the hotkey loses its slot.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._engine.failed())
            group.create_task(self._follow_chain(host, port))

    async def refresh(self) -> None:
        """Read permits and stakes. Raises ChainError, NotRegisteredError."""
        metagraph = await self._chain.metagraph()
        if metagraph.neuron(self.hotkey) is None:
            raise NotRegisteredError(
                f"hotkey {self.hotkey} is not registered on subnet {metagraph.netuid}; register it "
                f"with `btcli subnets register --netuid {metagraph.netuid}`"
            )
        self._metagraph = metagraph
        window = metagraph.block // max(1, metagraph.tempo)
        if window != self._budget_window:
            self._budget_window = window
            self._tokens_spent = Counter()

    async def publish(self, host: str, port: int) -> None:
        """Put the address on the chain, unless the chain holds it. Raises ChainError."""
        assert self._metagraph is not None, "refresh first"
        row = self._metagraph.neuron(self.hotkey)
        if row is not None and row.endpoint == Endpoint(self.hotkey, host, port):
            return
        if await self._chain.publish_endpoint(host, port):
            _log.info("published %s:%d on subnet %d", host, port, self._metagraph.netuid)

    async def _follow_chain(self, host: str, port: int) -> None:
        """Publish once, refresh for ever; while the chain is away the last permits stay."""
        is_published = False
        while True:
            try:
                if not is_published:
                    await self.publish(host, port)
                    is_published = True
                await asyncio.sleep(self._settings.metagraph_refresh_seconds)
                await self.refresh()
            except NotRegisteredError:
                raise
            except ChainError as error:
                _log.warning("the chain does not answer, trying again: %s", error)
                await asyncio.sleep(self._settings.metagraph_refresh_seconds)

    # --- requests ----------------------------------------------------------------------------

    def card(self, request: HandshakeRequest) -> HandshakeResponse:
        """What this miner promises, signed. Raises RejectedError for a version we do not speak."""
        if PROTOCOL_VERSION not in request.protocol_versions:
            raise RejectedError(
                RejectionReason.PROTOCOL_VERSION_UNSUPPORTED,
                f"this node speaks version {PROTOCOL_VERSION}, "
                f"you offered {list(request.protocol_versions)}",
            )
        card = MinerCard(
            nonce=request.nonce,
            miner_hotkey=self.hotkey,
            release=self.release,
            environment=self._engine.environment,
            concurrent_requests_max=self._engine.concurrent_requests_max,
        )
        return HandshakeResponse(card=card, signature=self._signer.sign(card.signing_bytes()))

    def check_caller(self, caller_hotkey: str) -> None:
        """Raises RejectedError for a hotkey without a permit, whose body is not worth parsing."""
        permitted(self._caller(caller_hotkey))

    async def serve(
        self, request: InferenceRequest, caller_hotkey: str, arrived_at_us: int
    ) -> AsyncGenerator[StreamLine, None]:
        """The lines of one answer to an authenticated request.

        Raises RejectedError at the first step if the request is not admitted. Later trouble (a
        missed deadline, a shutdown, an engine fault) is an ErrorLine; else the last line is an
        EndLine. Closing the iterator aborts the answer.
        """
        tokens_reserved = self._admit(request, caller_hotkey)
        answer = RunningAnswer(request, caller_hotkey, arrived_at_us)
        self._answers.add(answer)
        spent = self._tokens_spent
        spent[caller_hotkey] += tokens_reserved
        try:
            async with aclosing(self._engine.generate(self._engine_request(answer))) as deltas:
                answer.queued_us = self._clock.monotonic_us() - arrived_at_us
                finish: FinishReason | None = None
                while finish is None:
                    try:
                        async with asyncio.timeout(self._seconds_left(answer)) as answer.wait:
                            delta = await anext(deltas)
                    finally:
                        answer.wait = None
                    finish = delta.finish_reason
                    answer.note_time(self._clock.monotonic_us())
                    for line in self._lines(answer, delta.token_ids, delta.logprobs):
                        yield line
            yield self._end(answer, finish)
        except TimeoutError:
            yield self._error(answer, self._why_late(answer))
        except RejectedError as error:
            yield self._error(answer, error)
        except UnsupportedRequestError as error:
            unsupported = RejectedError(RejectionReason.PARAMETER_NOT_VERIFIED, str(error))
            yield self._error(answer, unsupported)
        except (EngineError, StopAsyncIteration) as error:
            _log.error("request %s: %s", request.request_id, error or "the engine ended early")
            failed = RejectedError(RejectionReason.ENGINE_FAILED, "the engine failed; try again")
            yield self._error(answer, failed)
        finally:
            self._answers.remove(answer)
            tokens_used = len(request.prompt_token_ids) + answer.hash.tokens
            spent[caller_hotkey] += tokens_used - tokens_reserved

    def sign_refusal(
        self, request: InferenceRequest, caller_hotkey: str, error: RejectedError
    ) -> str:
        """The signature that proves to others that this miner refused, and did not go silent.

        Takes a tenth of a second for the longest prompts: for callers with a permit only.
        """
        refused = RunningAnswer(request, caller_hotkey, 0)
        return self._error(refused, error).signature or ""

    def stop(self) -> None:
        """Take no new requests; running ones end within the grace time."""
        grace_us = int(self._settings.stop_grace_seconds * 1_000_000)
        self._stop_at_us = self._clock.monotonic_us() + grace_us
        for answer in self._answers:
            answer.shorten_wait(self._settings.stop_grace_seconds)

    def _admit(self, request: InferenceRequest, caller_hotkey: str) -> int:
        if self._stop_at_us is not None:
            raise self._stopping()
        nonce = (caller_hotkey, request.nonce)
        tokens = admit_request(
            request,
            self._caller(caller_hotkey),
            self._load(caller_hotkey, is_nonce_served=nonce in self._served_nonces),
            self.release,
            self._admission,
        )
        self._served_nonces[nonce] = None
        if len(self._served_nonces) > self._admission.sampling_nonces_kept:
            self._served_nonces.popitem(last=False)
        return tokens

    def _engine_request(self, answer: RunningAnswer) -> EngineRequest:
        request = answer.request
        sampling = request.sampling
        return EngineRequest(
            request_id=request.request_id,
            prompt_token_ids=request.prompt_token_ids,
            temperature_milli=sampling.temperature_milli,
            top_p_milli=sampling.top_p_milli,
            top_k=sampling.top_k,
            tokens_max=sampling.tokens_max,
            seed=derive_seed(
                request.nonce,
                request.request_id,
                answer.caller_hotkey,
                self.hotkey,
                request.prompt_token_ids,
            ),
            structure=sampling.structure,
        )

    def _lines(
        self, answer: RunningAnswer, token_ids: Sequence[int], logprobs: Sequence[float]
    ) -> list[StreamLine]:
        """Chunks, cut so that a checkpoint stands at every multiple of CHECKPOINT_TOKENS."""
        lines: list[StreamLine] = []
        start = 0
        while start < len(token_ids):
            room = CHECKPOINT_TOKENS - answer.hash.tokens % CHECKPOINT_TOKENS
            stop = start + room
            chunk = ChunkLine(
                token_ids=tuple(token_ids[start:stop]),
                logprobs=tuple(map(float16_bits, logprobs[start:stop])),
            )
            answer.hash.update(chunk.token_ids, chunk.logprobs)
            lines.append(chunk)
            if answer.hash.tokens % CHECKPOINT_TOKENS == 0:
                checkpoint = StreamCheckpoint(
                    request_digest=answer.request_digest,
                    output_tokens=answer.hash.tokens,
                    running_hash=answer.hash.hexdigest(),
                )
                signature = self._signer.sign(checkpoint.signing_bytes())
                lines.append(CheckpointLine(checkpoint=checkpoint, signature=signature))
            start = stop
        return lines

    def _end(self, answer: RunningAnswer, finish: FinishReason) -> EndLine:
        request = answer.request
        first_token_us = max(0, answer.first_token_at_us - answer.arrived_at_us)
        response = InferenceResponse(
            request_digest=answer.request_digest,
            miner_hotkey=self.hotkey,
            caller_hotkey=answer.caller_hotkey,
            release_digest=request.release_digest,
            output_hash=answer.hash.hexdigest(),
            prompt_tokens=len(request.prompt_token_ids),
            output_tokens=answer.hash.tokens,
            finish_reason=finish,
            queued_us=answer.queued_us,
            first_token_us=first_token_us,
            total_us=max(first_token_us, answer.last_token_at_us - answer.arrived_at_us),
            environment=self._engine.environment,
        )
        return EndLine(response=response, signature=self._signer.sign(response.signing_bytes()))

    def _error(self, answer: RunningAnswer, error: RejectedError) -> ErrorLine:
        refusal = answer.refusal(self.hotkey, error.rejection)
        return ErrorLine(
            rejection=error.rejection, signature=self._signer.sign(refusal.signing_bytes())
        )

    # --- bookkeeping -------------------------------------------------------------------------

    def _caller(self, hotkey: str) -> Caller | None:
        row = None if self._metagraph is None else self._metagraph.neuron(hotkey)
        return None if row is None else Caller(hotkey, row.has_validator_permit, row.stake_rao)

    def _load(self, caller_hotkey: str, *, is_nonce_served: bool) -> Load:
        assert self._metagraph is not None, "refresh first"
        permitted = [row for row in self._metagraph.neurons if row.has_validator_permit]
        tempo = max(1, self._metagraph.tempo)
        return Load(
            permitted_callers=len(permitted),
            permitted_stake_rao=sum(row.stake_rao for row in permitted),
            caller_tokens_spent=self._tokens_spent[caller_hotkey],
            blocks_left=tempo - self._metagraph.block % tempo,
            is_nonce_served=is_nonce_served,
            caller_requests_running=sum(
                answer.caller_hotkey == caller_hotkey for answer in self._answers
            ),
            requests_running=len(self._answers),
            requests_running_max=self._engine.concurrent_requests_max,
        )

    def _seconds_left(self, answer: RunningAnswer) -> float:
        """Until this answer must end. Raises RejectedError when that has passed."""
        end_us = answer.deadline_us
        if self._stop_at_us is not None:
            end_us = min(end_us, self._stop_at_us)
        left_us = end_us - self._clock.monotonic_us()
        if left_us <= 0:
            raise self._why_late(answer)
        return left_us / 1_000_000

    def _stopping(self) -> RejectedError:
        return RejectedError(
            RejectionReason.STOPPING,
            "this node is shutting down",
            retry_after_ms=self._admission.stopping_retry_after_ms,
        )

    def _why_late(self, answer: RunningAnswer) -> RejectedError:
        if self._stop_at_us is not None and self._stop_at_us < answer.deadline_us:
            return self._stopping()
        return RejectedError(
            RejectionReason.DEADLINE_EXCEEDED,
            f"the answer did not finish within {answer.request.timeout_ms} ms",
        )


def float16_bits(value: float) -> int:
    """A log-probability as the bit pattern of the nearest finite half-precision number <= 0."""
    bounded = max(-_FLOAT16_MAX, min(0.0, value))
    bits: int = _BITS.unpack(_HALF.pack(bounded))[0]
    return bits
