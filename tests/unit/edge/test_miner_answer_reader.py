"""Every lie that a stream can tell, without a socket."""

import pytest

from protocol.errors import Refusal, RejectedError, RejectionReason
from protocol.inference import ChunkLine, EndLine, ErrorLine, OutputHash
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from subnet.edge.btauth import verify_signature
from subnet.ports import Fault
from tests.miner_support import (
    CALLER,
    MINER,
    STRANGER,
    ScriptedEngine,
    make_miner,
    make_request,
)


async def honest(tokens_max=40, step_tokens=7):
    request = make_request(tokens_max=tokens_max)
    miner = await make_miner(ScriptedEngine(step_tokens=step_tokens))
    return request, [
        line async for line in miner.serve(request, CALLER.hotkey, miner._clock.monotonic_us())
    ]


def read(request, lines, miner=MINER.hotkey) -> AnswerReader:
    reader = AnswerReader(request, miner, CALLER.hotkey, verify_signature)
    for now_us, line in enumerate(lines):
        reader.read_line(line if isinstance(line, bytes) else line.to_bytes(), now_us)
    return reader


def fault_of(request, lines, **options) -> Fault:
    with pytest.raises(StreamFaultError) as caught:
        read(request, lines, **options)
    return caught.value.fault


def resigned(end: EndLine, signer=MINER, **changes) -> EndLine:
    """The end line with other claims, signed anew."""
    response = end.response.model_copy(update=changes)
    return EndLine(response=response, signature=signer.sign(response.signing_bytes()))


def signed_refusal(request, error: RejectedError) -> ErrorLine:
    """As the miner sends it."""
    refusal = Refusal(
        request_id=request.request_id,
        request_digest=request.digest(),
        miner_hotkey=MINER.hotkey,
        caller_hotkey=CALLER.hotkey,
        rejection=error.rejection,
    )
    signature = MINER.sign(refusal.signing_bytes())
    return ErrorLine(rejection=error.rejection, signature=signature)


async def test_an_honest_stream_is_read_whole():
    request, lines = await honest()
    reader = read(request, lines)
    assert reader.response == lines[-1].response
    assert reader.token_ids == list(range(10, 50))
    assert len(reader.logprobs) == len(reader.token_times_us) == 40
    assert reader.token_times_us == sorted(reader.token_times_us)


@pytest.mark.parametrize(
    "changes",
    [
        {"output_tokens": 41},
        {"output_tokens": 39},
        {"prompt_tokens": 99},
        {"output_hash": "0" * 64},
        {"request_digest": "0" * 64},
        {"release_digest": "0" * 64},
        {"miner_hotkey": STRANGER.hotkey},
        {"caller_hotkey": STRANGER.hotkey},
    ],
)
async def test_a_signed_lie_about_counts_or_identity_is_a_false_claim(changes):
    request, lines = await honest()
    lines[-1] = resigned(lines[-1], **changes)
    assert fault_of(request, lines) is Fault.FALSE_CLAIM


async def test_a_signature_by_another_key_is_a_false_claim():
    request, lines = await honest()
    assert fault_of(request, [*lines[:-1], resigned(lines[-1], STRANGER)]) is Fault.FALSE_CLAIM
    checkpoint = next(n for n, line in enumerate(lines) if line.type == "checkpoint")
    lines[checkpoint] = lines[checkpoint].model_copy(update={"signature": "0" * 128})
    assert fault_of(request, lines) is Fault.FALSE_CLAIM


async def test_an_answer_to_another_request_is_a_false_claim():
    _, lines = await honest()
    request, _ = await honest()
    assert fault_of(request, lines) is Fault.FALSE_CLAIM


async def test_a_changed_token_or_logprob_is_a_false_claim():
    request, lines = await honest()
    chunk = lines[0]
    for change in ({"token_ids": (999, *chunk.token_ids[1:])}, {"logprobs": (0xBC00,) * 7}):
        assert fault_of(request, [chunk.model_copy(update=change), *lines[1:]]) is Fault.FALSE_CLAIM


async def test_an_empty_answer_is_a_false_claim():
    request, lines = await honest(tokens_max=1)
    nothing = OutputHash(request.digest()).hexdigest()
    empty = resigned(lines[-1], output_tokens=0, output_hash=nothing)
    assert fault_of(request, [empty]) is Fault.FALSE_CLAIM


@pytest.mark.parametrize("bits", [0x7C00, 0x7E00, 0xFC00, 0xFE00, 0x3C00])
async def test_a_logprob_that_is_none_is_a_false_claim(bits):
    request, _ = await honest(tokens_max=1)
    line = ChunkLine(token_ids=(10,), logprobs=(bits,))
    assert fault_of(request, [line]) is Fault.FALSE_CLAIM


async def test_more_tokens_than_asked_for_break_the_stream():
    request, lines = await honest(tokens_max=5)
    more = ChunkLine(token_ids=(1,), logprobs=(0,))
    assert fault_of(request, [lines[0], more]) is Fault.BROKEN_STREAM


async def test_a_missing_checkpoint_breaks_the_stream():
    request, lines = await honest()
    without = [line for line in lines if line.type != "checkpoint"]
    assert fault_of(request, without) is Fault.BROKEN_STREAM


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"{",
        b'{"type":"chunk"}',
        b'{"type":"chunk","token_ids":[],"logprobs":[]}',
        b'{"type":"chunk","token_ids":[-1],"logprobs":[0]}',
        b'{"type":"chunk","token_ids":[1,2],"logprobs":[0]}',
        b'{"type":"chunk","token_ids":[1],"logprobs":[0],"text":"x"}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
async def test_a_line_that_is_not_of_the_protocol_breaks_the_stream(line):
    request, _ = await honest()
    assert fault_of(request, [line]) is Fault.BROKEN_STREAM


async def test_nothing_may_follow_the_end():
    request, lines = await honest()
    assert fault_of(request, [*lines, lines[0]]) is Fault.BROKEN_STREAM


@pytest.mark.parametrize(
    "reason", [RejectionReason.CAPACITY_FULL, RejectionReason.TOKEN_BUDGET_EXCEEDED]
)
async def test_back_pressure_after_the_first_line_is_the_miners_fault(reason):
    request, lines = await honest()
    refusal = signed_refusal(request, RejectedError(reason, "full"))
    assert fault_of(request, [refusal]) is Fault.BROKEN_STREAM
    assert fault_of(request, [lines[0], refusal]) is Fault.BROKEN_STREAM


async def test_a_refusal_in_the_stream_keeps_its_reason():
    request, lines = await honest()
    refusal = RejectedError(RejectionReason.STOPPING, "going")
    with pytest.raises(StreamFaultError) as caught:
        read(request, [lines[0], signed_refusal(request, refusal)])
    assert caught.value.fault is Fault.REFUSED
    assert caught.value.rejection_reason is RejectionReason.STOPPING


async def test_a_refusal_that_the_miner_did_not_sign_is_a_broken_stream():
    request, _ = await honest()
    error = RejectedError(RejectionReason.STOPPING, "going")
    other, _ = await honest()
    for line in (
        ErrorLine(rejection=error.rejection),
        ErrorLine(rejection=error.rejection, signature="0" * 128),
        signed_refusal(other.model_copy(update={"nonce": "f" * 64}), error),
    ):
        assert fault_of(request, [line]) is Fault.BROKEN_STREAM
