import json

import pytest
from pydantic import ValidationError

from protocol.errors import HTTP_STATUS, RejectedError, Rejection, RejectionReason
from protocol.inference import (
    STREAM_LINE,
    ChunkLine,
    EndLine,
    InferenceRequest,
    OutputHash,
    StreamCheckpoint,
)
from tests.miner_support import make_request


def test_messages_are_frozen():
    with pytest.raises(ValidationError):
        make_request().timeout_ms = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extra", 1),
        ("timeout_ms", "5000"),
        ("timeout_ms", 5000.0),
        ("timeout_ms", True),
        ("timeout_ms", 99),
        ("nonce", "A" * 64),
        ("nonce", "a" * 63),
        ("request_id", ""),
        ("prompt_token_ids", [-1]),
        ("prompt_token_ids", [2**31]),
        ("protocol_version", 0),
    ],
)
def test_nothing_is_coerced_and_nothing_unknown_is_kept(key, value):
    message = {**json.loads(make_request().to_bytes()), key: value}
    with pytest.raises(ValidationError):
        InferenceRequest.model_validate_json(json.dumps(message))


def test_two_types_never_share_signing_bytes():
    checkpoint = StreamCheckpoint(request_digest="a" * 64, output_tokens=1, running_hash="b" * 64)
    assert checkpoint.signing_bytes().startswith(b"assay/1\nStreamCheckpoint\n")
    assert make_request().signing_bytes().startswith(b"assay/1\nInferenceRequest\n")


def test_every_reason_has_a_status_of_refusal():
    assert set(HTTP_STATUS) == set(RejectionReason)
    assert all(status >= 400 for status in HTTP_STATUS.values())


def test_a_rejection_survives_the_wire_and_its_detail_is_bounded():
    error = RejectedError(RejectionReason.CAPACITY_FULL, "x" * 900, retry_after_ms=5)
    read = Rejection.model_validate_json(error.rejection.to_bytes())
    assert read == error.rejection
    assert (read.reason, len(read.detail)) == (RejectionReason.CAPACITY_FULL, 500)


def test_stream_lines_are_told_apart_by_type():
    line = STREAM_LINE.validate_json(b'{"type":"chunk","token_ids":[1],"logprobs":[0]}')
    assert isinstance(line, ChunkLine)
    with pytest.raises(ValidationError):
        STREAM_LINE.validate_json(b'{"type":"end","token_ids":[1],"logprobs":[0]}')
    with pytest.raises(ValidationError):
        EndLine.model_validate_json(b'{"type":"chunk"}')


def test_equal_answers_to_different_requests_hash_differently():
    one, two = OutputHash("a" * 64), OutputHash("b" * 64)
    for running in (one, two):
        running.update([1, 2], [3, 4])
    assert one.hexdigest() != two.hexdigest()


def test_tokens_without_logprobs_cannot_be_hashed():
    with pytest.raises(ValueError, match="shorter"):
        OutputHash("a" * 64).update([1, 2], [3])
