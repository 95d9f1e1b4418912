"""request -> RUNNING ANSWER -> response: what a miner keeps of an answer while it grows."""

import asyncio

from protocol.errors import Refusal, Rejection
from protocol.inference import InferenceRequest, OutputHash


class RunningAnswer:
    """An answer while it grows."""

    __slots__ = (
        "arrived_at_us",
        "caller_hotkey",
        "deadline_us",
        "first_token_at_us",
        "hash",
        "last_token_at_us",
        "queued_us",
        "request",
        "request_digest",
        "wait",
    )

    def __init__(self, request: InferenceRequest, caller_hotkey: str, arrived_at_us: int) -> None:
        self.request = request
        self.caller_hotkey = caller_hotkey
        self.arrived_at_us = arrived_at_us
        self.deadline_us = arrived_at_us + request.timeout_ms * 1000
        self.request_digest = request.digest()
        self.hash = OutputHash(self.request_digest)
        self.queued_us = 0
        self.first_token_at_us = arrived_at_us
        self.last_token_at_us = arrived_at_us
        self.wait: asyncio.Timeout | None = None
        """The running wait for the engine's next tokens."""

    def refusal(self, miner_hotkey: str, rejection: Rejection) -> Refusal:
        """What the miner signs when the answer breaks off."""
        return Refusal(
            request_id=self.request.request_id,
            request_digest=self.request_digest,
            miner_hotkey=miner_hotkey,
            caller_hotkey=self.caller_hotkey,
            rejection=rejection,
        )

    def shorten_wait(self, seconds_max: float) -> None:
        """Let a wait that is under way end within `seconds_max`."""
        if self.wait is None:
            return
        end = asyncio.get_running_loop().time() + seconds_max
        self.wait.reschedule(min(end, self.wait.when() or end))

    def note_time(self, now_us: int) -> None:
        """Tokens came now."""
        if self.hash.tokens == 0:
            self.first_token_at_us = now_us
        self.last_token_at_us = now_us
