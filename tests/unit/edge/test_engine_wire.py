"""Messages between the miner's process and the engine's survive any cut of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnet.edge.engine_wire import (
    FROM_ENGINE,
    TO_ENGINE,
    Abort,
    Ask,
    Dead,
    Emitted,
    FrameBuffer,
    Refused,
    Start,
    Started,
    Unusable,
    frame,
)

TO = [
    Start(b"{}", "/models/tiny", 32, {"tensor_parallel_size": 2, "block_size": None}),
    Ask(7, [1, 2, 3], 1000, 950, 50, 128, 2**64 - 1),
    Abort(7),
]
FROM = [
    Started(b"{}"),
    Unusable("no such argument"),
    Dead("out of memory"),
    Refused(7, "top_k"),
    Emitted([(7, [5], [-0.25], None), (8, [0], [], 0)]),
]


@given(st.lists(st.sampled_from(TO), max_size=8), st.lists(st.integers(min_value=1, max_value=40)))
def test_frames_come_out_whole_however_the_bytes_come_in(messages, cuts):
    data = b"".join(map(frame, messages))
    buffer, found = FrameBuffer(), []
    for cut in cuts:
        found += buffer.feed(data[:cut])
        data = data[cut:]
    found += buffer.feed(data)
    assert [TO_ENGINE.decode(body) for body in found] == messages


@pytest.mark.parametrize("message", FROM, ids=lambda message: type(message).__name__)
def test_every_message_of_the_engine_is_itself_again(message):
    (body,) = FrameBuffer().feed(frame(message))
    assert FROM_ENGINE.decode(body) == message
