"""The miner as a process: what can be mended is one line and code 2; stopping is clean."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from bittensor.wallet import Wallet

from protocol.inference import INFER_PATH
from subnet.edge.answer_reader import AnswerReader, StreamFaultError
from subnet.edge.btauth import sign_request, verify_signature
from subnet.edge.http_server import bind_socket
from subnet.edge.miner_client import HttpMinerClient
from subnet.edge.release_files import load_release
from subnet.edge.system import SystemClock
from subnet.ports import Endpoint, Exchange
from tests.miner_support import CALLER, MINER, make_request, make_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
LONG_TOKENS = 1000
DEAD_CHAIN = "ws://127.0.0.1:9"


@pytest.fixture(scope="module")
def wallets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wallets")
    Wallet("miner", "default", str(folder)).create_new_hotkey(
        use_password=False, overwrite=True, suppress=True
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", is_endless=True)


def run_miner(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "neurons" / "miner.py"), *flags],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "ASSAY_CHAIN__TIMEOUT_SECONDS": "2", **environment},
    )


def test_whatever_the_operator_can_mend_is_one_line_and_code_2(wallets, model, tmp_path):
    taken = bind_socket("127.0.0.1", 0)
    taken.listen()
    busy = str(taken.getsockname()[1])
    known = ["--network", DEAD_CHAIN, "--wallet", "miner", "--wallet-path", str(wallets)]
    good = [*known, "--model", str(model), "--port", "0"]
    misspelt = tmp_path / "subnet.toml"
    misspelt.write_text("[miner]\nprot = 8091\n")
    cases = {
        "no hotkey": ["--wallet", "nobody", "--wallet-path", str(wallets), "--model", str(model)],
        "no model folder": [*known, "--model", str(tmp_path / "nothing")],
        "is busy": [*known, "--model", str(model), "--port", busy],
        "127.0.0.1:9": good,
        "refused": [*good, "--vllm", "quantization=fp8"],
        "key=value": [*good, "--vllm", "quantization"],
        "--external-host": [*good, "--host", "0.0.0.0"],
        "prot": [*good, "--config", str(misspelt)],
        "miner.port": [*good, "--port", "99999"],
    }
    with taken:
        for words, flags in cases.items():
            done = run_miner(*flags)
            assert done.returncode == 2, (words, done.stderr)
            errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, done.stderr
            assert words in errors[0]
            assert "Traceback" not in done.stderr


async def ask_while_stopping(
    process: subprocess.Popen[str], port: int, digest: str
) -> tuple[Exchange, AnswerReader, str | None]:
    """One whole answer; then a long one, at whose first tokens the miner is told to stop."""
    endpoint = Endpoint(MINER.hotkey, "127.0.0.1", port)
    async with HttpMinerClient(CALLER, SystemClock(), allow_private=True) as client:
        whole = await client.infer(endpoint, make_request(release_digest=digest))
    request = make_request(tokens_max=LONG_TOKENS, timeout_ms=60_000, release_digest=digest)
    body = request.to_bytes()
    headers = sign_request(
        CALLER,
        method="POST",
        path=INFER_PATH,
        body=body,
        receiver=MINER.hotkey,
        nonce_ns=time.time_ns(),
    )
    reader = AnswerReader(request, MINER.hotkey, CALLER.hotkey, verify_signature)
    is_told = False
    url = f"http://127.0.0.1:{port}{INFER_PATH}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        async for line in answer.content:
            try:
                reader.read_line(line.rstrip(b"\n"), 0)
            except StreamFaultError as error:
                return whole, reader, error.rejection_reason
            if not is_told:
                assert 0 < len(reader.token_ids) < LONG_TOKENS
                process.send_signal(signal.SIGTERM)
                is_told = True
    return whole, reader, None


@pytest.mark.engine
def test_a_miner_serves_and_stops_cleanly_in_the_middle_of_a_stream(model):
    """The benchmark's own server role: the whole composition but for the chain."""
    process = subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "scripts" / "bench_miner.py"), "--role", "ours"),
            *("--model", str(model), "--streams", "4", "--vllm", "enforce_eager=true"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        port = json.loads(next(line for line in process.stdout if line.startswith("{")))["port"]
        whole, cut, reason = asyncio.run(
            ask_while_stopping(process, port, load_release(str(model)).digest())
        )
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert whole.fault is None
    if reason is None:
        assert cut.response is not None
        assert len(cut.token_ids) == LONG_TOKENS
    else:
        assert reason == "STOPPING"
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def engine_of(miner_id: int) -> int | None:
    """The miner's only child, once it is the engine and no longer what became it."""
    children = Path(f"/proc/{miner_id}/task/{miner_id}/children").read_text().split()
    for child in children:
        if b"subnet.edge.vllm_process\0" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def wait_for(condition, seconds_max: float):
    for _ in range(int(seconds_max / 0.05)):
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_a_miner_killed_while_it_loads_leaves_no_engine_behind(model):
    """Its engine listens to nobody yet."""
    command = [sys.executable, str(ROOT / "scripts" / "bench_miner.py"), "--role", "ours"]
    with subprocess.Popen(
        [*command, "--model", str(model), "--streams", "4"], stderr=subprocess.DEVNULL
    ) as miner:
        engine_id = wait_for(lambda: engine_of(miner.pid), 60)
        time.sleep(1.0)
        assert engine_of(miner.pid) == engine_id
        miner.kill()
    wait_for(lambda: not Path(f"/proc/{engine_id}").exists(), 5)
