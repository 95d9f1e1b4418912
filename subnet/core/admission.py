"""request -> ADMISSION -> miner's engine: who may ask what, and how much.

A miner's capacity belongs to the validators that hold a permit, in proportion to their stake:
otherwise a cheap permit would buy free inference. That holds for tokens in a tempo and, once a
miner is busy, for slots at a moment: the last quarter of them is open only to callers that run
less than their share. Checks run from the caller to the load, so that
a stranger learns nothing about how busy the miner is.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from protocol import PROTOCOL_VERSION
from protocol.errors import RejectedError, RejectionReason
from protocol.inference import InferenceRequest
from protocol.release import Release


class AdmissionParams(BaseModel):
    """How freely a miner serves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens_per_tempo: int = Field(default=50_000_000, ge=1, le=2**53)
    """Prompt and answer tokens that all callers together get in one tempo, shared by stake.

    The default is about 11,000 tokens a second at the public tempo of 360 blocks of 12 s.
    """
    request_age_seconds_max: float = Field(default=10.0, gt=0, le=300)
    """Older requests are stale; the window in which a signed request could be replayed."""
    clock_skew_seconds_max: float = Field(default=2.0, ge=0, le=60)
    """How far a caller's clock may run ahead of ours."""
    signed_requests_kept: int = Field(default=100_000, ge=1, le=10_000_000)
    """Signed requests remembered against replay; about 200 bytes each."""
    sampling_nonces_kept: int = Field(default=65_536, ge=1, le=10_000_000)
    """Served nonces remembered against a second answer; about 200 bytes each."""
    block_ms: int = Field(default=12_000, ge=1, le=600_000)
    """Length of a block; only tells a caller without budget how long to wait."""
    capacity_retry_after_ms: int = Field(default=500, ge=1, le=3_600_000)
    """What a caller is told to wait when every slot that it may use is taken."""
    stopping_retry_after_ms: int = Field(default=10_000, ge=1, le=3_600_000)
    """What a caller is told to wait when the miner stops: as long as a start takes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the last metagraph."""

    hotkey: str
    has_validator_permit: bool
    stake_rao: int


@dataclass(frozen=True, slots=True)
class Load:
    """What the miner knows when a request arrives."""

    permitted_callers: int
    permitted_stake_rao: int
    """Total stake of all callers with a permit."""
    caller_tokens_spent: int
    """Used or reserved by this caller in this tempo."""
    blocks_left: int
    """Until budgets are fresh again."""
    is_nonce_served: bool
    caller_requests_running: int
    """Of this caller, among those below."""
    requests_running: int
    requests_running_max: int
    """Slots."""


def read_request(body: bytes) -> InferenceRequest:
    """Parse a body; raises RejectedError with the reason that a caller can act on.

    The version is judged first: another version's message may differ in any field.
    """
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        for problem in problems:
            if problem["loc"] == ("protocol_version",):
                raise RejectedError(
                    RejectionReason.PROTOCOL_VERSION_UNSUPPORTED,
                    f"this node speaks protocol version {PROTOCOL_VERSION}, "
                    f"the request is of version {str(problem['input'])[:20]}",
                ) from error
        for problem in problems:
            if problem["loc"][:1] == ("sampling",) and problem["type"] in _BEYOND_ENVELOPE:
                raise RejectedError(
                    RejectionReason.PARAMETER_NOT_VERIFIED, _problem_line(problem)
                ) from error
        raise RejectedError(
            RejectionReason.MALFORMED_REQUEST, _problem_line(problems[0])
        ) from error


_BEYOND_ENVELOPE = frozenset(
    {
        *("extra_forbidden", "less_than_equal", "greater_than_equal"),
        *("value_error", "string_too_long", "literal_error"),
    }
)


def _problem_line(problem: ErrorDetails) -> str:
    where = ".".join(str(part)[:60] for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def tokens_budget(caller: Caller, load: Load, params: AdmissionParams) -> int:
    """Tokens that the caller may use in one tempo.

    Proportional to stake. While nobody has stake, as on a fresh chain, permits share equally.
    """
    if load.permitted_stake_rao > 0:
        return params.tokens_per_tempo * caller.stake_rao // load.permitted_stake_rao
    return params.tokens_per_tempo // max(1, load.permitted_callers)


def slots_share(caller: Caller, load: Load) -> int:
    """Requests that the caller may run however busy the miner is: by stake, rounded up, never 0."""
    if load.permitted_stake_rao > 0:
        part, whole = caller.stake_rao, load.permitted_stake_rao
    else:
        part, whole = 1, max(1, load.permitted_callers)
    return max(1, -(-load.requests_running_max * part // whole))


def answer_tokens_max(request: InferenceRequest, release: Release) -> int:
    """The longest answer that the request and the release's context window allow."""
    room = release.context_tokens_max - len(request.prompt_token_ids)
    return min(request.sampling.tokens_max, room)


def permitted(caller: Caller | None) -> Caller:
    """The caller, if it may ask at all; None is a hotkey that is not registered.

    Raises RejectedError. Needs no request, so that a stranger's is not even parsed.
    """
    if caller is None or not caller.has_validator_permit:
        raise RejectedError(
            RejectionReason.NOT_PERMITTED, "the caller holds no validator permit on this subnet"
        )
    return caller


def admit_request(
    request: InferenceRequest,
    caller: Caller | None,
    load: Load,
    release: Release,
    params: AdmissionParams,
) -> int:
    """The tokens to reserve for this request: prompt plus the longest answer.

    `caller` is None for a hotkey that is not registered. Raises RejectedError.
    """
    caller = permitted(caller)
    _check_envelope(request, release)
    if load.is_nonce_served:
        raise RejectedError(
            RejectionReason.NONCE_REUSED, "this nonce was served before; draw a fresh one"
        )
    tokens = len(request.prompt_token_ids) + answer_tokens_max(request, release)
    budget = tokens_budget(caller, load, params)
    if load.caller_tokens_spent + tokens > budget:
        raise RejectedError(
            RejectionReason.TOKEN_BUDGET_EXCEEDED,
            f"{load.caller_tokens_spent} of {budget} tokens of this tempo are used or reserved, "
            f"the request may take {tokens}",
            retry_after_ms=min(load.blocks_left * params.block_ms, 3_600_000),
        )
    _check_slots(caller, load, params)
    return tokens


def _check_slots(caller: Caller, load: Load, params: AdmissionParams) -> None:
    free = load.requests_running_max - load.requests_running
    share = slots_share(caller, load)
    if free <= 0:
        detail = f"all {load.requests_running_max} slots are taken"
    elif 4 * free < load.requests_running_max and load.caller_requests_running >= share:
        detail = (
            f"you run {load.caller_requests_running} requests, your share by stake is {share} of "
            f"{load.requests_running_max}, and the {free} free slots are kept for others"
        )
    else:
        return
    raise RejectedError(
        RejectionReason.CAPACITY_FULL, detail, retry_after_ms=params.capacity_retry_after_ms
    )


def _check_envelope(request: InferenceRequest, release: Release) -> None:
    if request.release_digest != release.digest():
        raise RejectedError(
            RejectionReason.UNKNOWN_RELEASE,
            f"this node serves {release.model} as release {release.digest()}",
        )
    if request.sampling.top_k > release.top_k_max:
        raise RejectedError(
            RejectionReason.PARAMETER_NOT_VERIFIED,
            f"sampling.top_k: the release verifies at most {release.top_k_max}",
        )
    if request.sampling.structure is not None and release.grammar is None:
        raise RejectedError(
            RejectionReason.PARAMETER_NOT_VERIFIED,
            "sampling.structure: the release verifies no structured output",
        )
    if max(request.prompt_token_ids) >= release.vocab_size:
        raise RejectedError(
            RejectionReason.MALFORMED_REQUEST,
            f"prompt_token_ids: the vocabulary has {release.vocab_size} tokens",
        )
    if len(request.prompt_token_ids) >= release.context_tokens_max:
        raise RejectedError(
            RejectionReason.CONTEXT_EXCEEDED,
            f"the prompt of {len(request.prompt_token_ids)} tokens leaves no room in a context "
            f"of {release.context_tokens_max}",
        )
