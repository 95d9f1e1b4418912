"""ask -> STEP -> emitted tokens: the process that owns the vLLM engine and does nothing else.

The engine holds Python's lock for half of each step, so the miner's HTTP lives in another process
(`vllm_engine`), which starts this one with its end of a socket and ends it by closing that.

Core outputs are read directly: vLLM's own output processor would build Python objects a token that
nobody here needs.
"""

import gc
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from protocol.release import Release
from protocol.structure import Structure
from subnet.config import ConfigError
from subnet.edge.engine_wire import (
    TO_ENGINE,
    Abort,
    Ask,
    Dead,
    Emitted,
    FrameBuffer,
    FromEngine,
    Refused,
    Start,
    Started,
    ToEngine,
    Unsupported,
    Unusable,
    frame,
)
from subnet.edge.vllm_runtime import (
    check_native_seeds,
    first_line,
    measured_environment,
    set_engine_environment,
    start_vllm,
    uses_native_seeds,
)

if TYPE_CHECKING:
    from subnet.edge.grammar import Grammars

RECEIVE_BYTES: Final = 1 << 20
COMPILE_WAIT_SECONDS: Final = 0.01
"""Between two looks at the socket while nothing runs and a structure compiles."""


class ParentLeftError(Exception):
    """The miner's process closed its end: time to go."""


class Link:
    """This process's end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = FrameBuffer()
        self._waiting: deque[ToEngine] = deque()

    def take(self) -> ToEngine:
        """The next message; waits for it. Raises ParentLeftError."""
        while not self._waiting:
            self._receive(wait=True)
        return self._waiting.popleft()

    def take_all(self, *, wait: bool) -> list[ToEngine]:
        """What has come; waits for something if asked to. Raises ParentLeftError."""
        if not self._waiting:
            self._receive(wait=wait)
        while wait and not self._waiting:  # A part of a frame came.
            self._receive(wait=True)
        messages = list(self._waiting)
        self._waiting.clear()
        return messages

    def _receive(self, *, wait: bool) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise ParentLeftError from error
        if not data:
            raise ParentLeftError
        self._waiting.extend(map(TO_ENGINE.decode, self._buffer.feed(data)))

    def send(self, message: FromEngine) -> None:
        """Hand over; waits while the miner is behind. Raises ParentLeftError."""
        try:
            self._socket.sendall(frame(message))
        except ConnectionError as error:
            raise ParentLeftError from error


class EngineLoop:
    """Adds what is asked, steps, and hands over what a step emitted."""

    def __init__(self, engine: Any, release: Release, folder: Path, link: Link) -> None:
        """`engine` is vLLM's `LLMEngine`. Raises ConfigError for a grammar not to be had."""
        self._engine = engine
        self._core = engine.engine_core
        self._release = release
        self._link = link
        self._has_native_seeds = uses_native_seeds()
        self._numbers: dict[str, int] = {}
        """Of the running requests, by vLLM's name."""
        self._names: dict[int, str] = {}
        self._grammars = _grammars(release, folder)
        self._compiler = ThreadPoolExecutor(1, "grammar")
        """A large structure takes up to a tenth of a second, which no engine step waits for."""
        self._compiling: dict[int, tuple[Ask, Future[Any]]] = {}

    def run(self) -> NoReturn:
        """Until ParentLeftError, or whatever vLLM raises."""
        while True:
            is_idle = not self._names and not self._compiling
            for message in self._link.take_all(wait=is_idle):
                if isinstance(message, Ask):
                    self._take(message)
                else:
                    assert isinstance(message, Abort), "an engine starts once"
                    self._abort(message.number)
            self._add_compiled()
            if self._names:
                self._step()

    def close(self) -> None:
        """Give the engine's resources back."""
        self._compiler.shutdown(wait=False, cancel_futures=True)
        self._core.shutdown()

    def _take(self, ask: Ask) -> None:
        """Add the request, once its structure is compiled if it has one."""
        if ask.structure is None:
            self._add(ask)
            return
        assert self._grammars is not None, "the miner admits no structure without a grammar"
        structure = Structure.model_validate_json(ask.structure)
        self._compiling[ask.number] = ask, self._compiler.submit(self._grammars.walk, structure)

    def _add_compiled(self) -> None:
        """Add what is compiled; waits a moment for the first if there is nothing else to do."""
        from subnet.edge.grammar import StructureError

        for number, (ask, compiled) in list(self._compiling.items()):
            try:
                compiled.result(0 if self._names else COMPILE_WAIT_SECONDS)
            except TimeoutError:
                return
            except StructureError as error:
                del self._compiling[number]
                self._link.send(Unsupported(number, f"sampling.structure: {error}"[:500]))
            else:
                del self._compiling[number]
                self._add(ask)

    def _add(self, ask: Ask) -> None:
        from vllm.exceptions import VLLMError

        params = self._params_maker()(
            temperature_milli=ask.temperature_milli,
            top_p_milli=ask.top_p_milli,
            top_k=ask.top_k,
            seed=ask.seed,
            tokens_max=min(
                ask.tokens_max, self._release.context_tokens_max - len(ask.prompt_token_ids)
            ),
            stop_token_ids=self._release.stop_token_ids,
            **({} if ask.structure is None else {"structure": ask.structure.decode()}),
        )
        prompt = {"type": "token", "prompt_token_ids": ask.prompt_token_ids}
        processor = self._engine.input_processor
        try:
            request = processor.process_inputs(
                str(ask.number), prompt, params, supported_tasks=("generate",)
            )
        except (ValueError, VLLMError) as error:
            self._link.send(Refused(ask.number, str(error)))
            return
        processor.assign_request_id(request)
        self._core.add_request(request)
        self._numbers[request.request_id] = ask.number
        self._names[ask.number] = request.request_id

    def _params_maker(self) -> Callable[..., Any]:
        if self._has_native_seeds:
            from subnet.edge.native_seeds import native_params

            return native_params
        from subnet.edge.seeded_sampler import seeded_params

        return seeded_params

    def _abort(self, number: int) -> None:
        _, compiled = self._compiling.pop(number, (None, None))
        if compiled is not None:
            compiled.cancel()
        name = self._names.pop(number, None)
        if name is not None:
            del self._numbers[name]
            self._core.abort_requests([name])

    def _step(self) -> None:
        answers = []
        for output in self._core.get_output().outputs:
            number = self._numbers.get(output.request_id)
            if number is None:
                continue
            logprobs = output.new_logprobs
            finish = output.finish_reason
            answers.append(
                (
                    number,
                    output.new_token_ids,
                    [] if logprobs is None else logprobs.logprobs[:, 0].tolist(),
                    None if finish is None else int(finish),
                )
            )
            if finish is not None:
                del self._numbers[output.request_id], self._names[number]
        if answers:
            self._link.send(Emitted(answers))


def _grammars(release: Release, folder: Path) -> "Grammars | None":
    if release.grammar is None:
        return None
    if uses_native_seeds():
        raise ConfigError(
            "vLLM's own seeds serve no structured output; unset VLLM_USE_V2_MODEL_RUNNER, or set "
            'grammar = "none" under [release] in subnet.toml'
        )
    from subnet.edge.grammar import release_grammars

    return release_grammars(release, folder)


def load_engine(link: Link) -> EngineLoop:
    """Load what the first message says. Raises ConfigError, ParentLeftError, and vLLM's own."""
    start = link.take()
    assert isinstance(start, Start), "the first message says what to load"
    release = Release.model_validate_json(start.release)
    set_engine_environment(start.arguments)
    engine = start_vllm(release, Path(start.folder), start.concurrent_requests_max, start.arguments)
    if uses_native_seeds():
        check_native_seeds(engine, release)
    loop = EngineLoop(engine, release, Path(start.folder), link)
    gc.collect()
    gc.freeze()
    link.send(Started(measured_environment(release).to_bytes()))
    return loop


def run_engine(link: Link) -> int:
    """Load and serve until the miner leaves; the process's exit code.

    What keeps vLLM from starting is told in one line, for the operator; what kills it later is
    raised as well, for whoever mends it.
    """
    try:
        loop = load_engine(link)
    except ParentLeftError:
        return 0
    except ConfigError as error:
        link.send(Unusable(str(error)))
        return 2
    except Exception as error:  # noqa: BLE001
        link.send(Dead(first_line(error)))
        return 1
    try:
        loop.run()
    except ParentLeftError:
        return 0
    except Exception as error:
        link.send(Dead(first_line(error)))
        raise
    finally:
        loop.close()


def main(file_descriptor: int) -> int:
    """The process. Signals are for the miner, which says when to stop by closing its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=file_descriptor) as end:
        return run_engine(Link(end))


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # The engine has shut down; taking apart all that was imported would keep the miner for seconds.
    os._exit(code)
