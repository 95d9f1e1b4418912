"""The engine's loop over a scripted core: what is asked, refused, stepped, handed on, aborted."""

import socket
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from subnet.config import ConfigError
from subnet.edge import vllm_process
from subnet.edge.engine_wire import (
    FROM_ENGINE,
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
from subnet.edge.vllm_process import Link, run_engine
from tests.miner_support import ENVIRONMENT, RELEASE

START = Start(RELEASE.to_bytes(), "/models/tiny", 4, {})


class Core:
    """Emits one token a step to every request; the last of `tokens` ends it with `finish`."""

    def __init__(self, tokens: int = 2, finish: int = 1) -> None:
        self.tokens, self.finish = tokens, finish
        self.left: dict[str, int] = {}
        self.aborted: list[str] = []
        self.is_shut = False
        self.before_step = lambda: None

    def add_request(self, request):
        self.left[request.request_id] = self.tokens

    def abort_requests(self, names):
        self.aborted += names
        for name in names:
            self.left.pop(name, None)

    def get_output(self):
        self.before_step()
        outputs = []
        for name in list(self.left):
            self.left[name] -= 1
            is_last = self.left[name] == 0
            outputs.append(
                SimpleNamespace(
                    request_id=name,
                    new_token_ids=[10 + self.left[name]],
                    new_logprobs=SimpleNamespace(logprobs=np.array([[-0.5, -9.0]])),
                    finish_reason=self.finish if is_last else None,
                )
            )
            if is_last:
                del self.left[name]
        return SimpleNamespace(outputs=outputs)

    def shutdown(self):
        self.is_shut = True


class Processor:
    """Names requests as vLLM does: ours, made unique."""

    def process_inputs(self, name, prompt, params, supported_tasks):
        if params["top_k"] > 64:
            raise ValueError("top_k is 65")
        return SimpleNamespace(request_id=name, prompt=prompt, params=params)

    def assign_request_id(self, request):
        request.request_id += "-unique"


@pytest.fixture
def core(monkeypatch):
    core = Core()
    engine = SimpleNamespace(engine_core=core, input_processor=Processor())
    monkeypatch.setattr(vllm_process, "start_vllm", lambda *_: engine)
    monkeypatch.setattr(vllm_process, "set_engine_environment", lambda _: None)
    monkeypatch.setattr(vllm_process, "measured_environment", lambda _: ENVIRONMENT)
    sampler = ModuleType("subnet.edge.seeded_sampler")
    sampler.seeded_params = lambda **params: params
    monkeypatch.setitem(sys.modules, "subnet.edge.seeded_sampler", sampler)
    exceptions = ModuleType("vllm.exceptions")
    exceptions.VLLMError = KeyError
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.exceptions", exceptions)
    return core


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def ask(number: int, *, top_k: int = 50, tokens_max: int = 9999) -> Ask:
    return Ask(number, [5, 6, 7], 1000, 950, top_k, tokens_max, 3)


def heard(end: socket.socket) -> list:
    end.setblocking(False)
    return [FROM_ENGINE.decode(body) for body in FrameBuffer().feed(end.recv(1 << 20))]


def run_until_left(ends, *messages) -> list:
    """Send `messages`, hang up, and let the engine run until it notices."""
    ours, theirs = ends
    ours.sendall(b"".join(map(frame, messages)))
    ours.shutdown(socket.SHUT_WR)
    assert run_engine(Link(theirs)) == 0
    return heard(ours)


def run_steps(ends, core, steps: int, *messages) -> list:
    """Like `run_until_left`, but hang up only after some steps."""
    ours, theirs = ends
    ours.sendall(b"".join(map(frame, messages)))
    done = iter(range(1, steps + 1))

    def hang_up_at_last() -> None:
        if next(done) == steps:
            ours.shutdown(socket.SHUT_WR)

    core.before_step = hang_up_at_last
    assert run_engine(Link(theirs)) == 0
    return heard(ours)


def test_all_tokens_of_a_step_leave_in_one_frame(core, ends):
    started, *emitted = run_steps(ends, core, 2, START, ask(1), ask(2))
    assert started == Started(ENVIRONMENT.to_bytes())
    assert emitted == [
        Emitted([(1, [11], [-0.5], None), (2, [11], [-0.5], None)]),
        Emitted([(1, [10], [-0.5], 1), (2, [10], [-0.5], 1)]),
    ]
    assert core.is_shut


def test_an_answer_never_outgrows_the_context(core, ends, monkeypatch):
    seen = []
    monkeypatch.setattr(core, "add_request", lambda request: seen.append(request.params))
    run_until_left(ends, START, ask(1), ask(2, tokens_max=4))
    assert [params["tokens_max"] for params in seen] == [RELEASE.context_tokens_max - 3, 4]


def test_a_refused_request_stops_nobody_else(core, ends):
    _, refused, first, _ = run_steps(ends, core, 2, START, ask(1, top_k=65), ask(2))
    assert refused == Refused(1, "top_k is 65")
    assert first.answers[0][0] == 2


def test_an_abort_reaches_vllm_by_its_own_name_and_a_late_one_nobody(core, ends):
    run_until_left(ends, START, ask(1), Abort(1), Abort(1), Abort(99))
    assert core.aborted == ["1-unique"]
    assert core.left == {}


def test_arguments_that_do_not_fit_are_told_as_such(core, ends, monkeypatch):
    def refuses(*_):
        raise ConfigError("--vllm max_num_seq: no such engine argument")

    monkeypatch.setattr(vllm_process, "start_vllm", refuses)
    ours, theirs = ends
    ours.sendall(frame(START))
    assert run_engine(Link(theirs)) == 2
    assert heard(ours) == [Unusable("--vllm max_num_seq: no such engine argument")]


def test_what_keeps_vllm_from_starting_is_one_line(core, ends, monkeypatch, capfd):
    def fails(*_):
        raise RuntimeError("CUDA out of memory\nand a long trace")

    monkeypatch.setattr(vllm_process, "start_vllm", fails)
    ours, theirs = ends
    ours.sendall(frame(START))
    assert run_engine(Link(theirs)) == 1
    assert heard(ours) == [Dead("RuntimeError: CUDA out of memory")]
    assert capfd.readouterr().err == ""


def test_what_kills_the_engine_is_told_before_the_process_ends(core, ends):
    def dies():
        raise RuntimeError("out of memory\nand a long trace")

    core.before_step = dies
    ours, theirs = ends
    ours.sendall(frame(START) + frame(ask(1)))
    with pytest.raises(RuntimeError, match="out of memory"):
        run_engine(Link(theirs))
    assert heard(ours)[-1] == Dead("RuntimeError: out of memory")
    assert core.is_shut
