"""The validator's process against a real chain process and miners served by a small real model.

Everything is real but vLLM: a torch engine samples from the release's own weights with the shared
noise, so that the referee's verdicts are its own.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from subnet.cli.demo_chain import set_up_subnet
from subnet.cli.status import read_status
from subnet.config import ChainSettings, MinerSettings
from subnet.core.admission import AdmissionParams
from subnet.core.verification.claim import Claim
from subnet.core.verification.environments import EnvironmentPair
from subnet.edge.bittensor_chain import BittensorChain
from subnet.edge.btauth import HotkeySigner
from subnet.edge.grammar import release_grammars
from subnet.edge.http_server import bind_socket
from subnet.edge.miner_server import MinerApp, serve_app
from subnet.edge.release_files import load_release
from subnet.edge.state_reader import open_for_reading
from subnet.edge.system import SystemClock
from subnet.edge.torch_referee import TorchReferee
from subnet.edge.wallets import load_wallet
from subnet.ports import EngineDelta, EngineRequest
from subnet.roles.miner import Miner
from tests.miner_support import ENVIRONMENT
from tests.validator_support import make_table

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]
LETTERS = [chr(code) for code in range(32, 127)] + ["\n"]
FAST = {
    "ASSAY_VALIDATOR__ALLOW_PRIVATE_ADDRESSES": "true",
    "ASSAY_VALIDATOR__PORT": "0",
    "ASSAY_VALIDATOR__PROBE_INTERVAL_SECONDS": "0.6",
    "ASSAY_VALIDATOR__AUDIT_INTERVAL_SECONDS": "0.3",
    "ASSAY_VALIDATOR__METAGRAPH_REFRESH_SECONDS": "2",
    "ASSAY_SCORING__FULL_PAY_ANSWERS": "20",
    "ASSAY_CAPACITY__BURSTS_PER_DAY": "8640",
    "ASSAY_CAPACITY__DURATION_SECONDS_MIN": "3",
    "ASSAY_CAPACITY__DURATION_SECONDS_MAX": "4",
    "ASSAY_CAPACITY__ANSWER_SECONDS_MAX": "4",
    "ASSAY_VALIDATOR__REQUEST_TIMEOUT_SECONDS": "4",
    "ASSAY_CAPACITY__CONCURRENCY_MAX": "2",
    "OMP_NUM_THREADS": "1",
}


def make_release(folder: Path) -> Path:
    """A random Llama of an alphabet, its tokenizer and a table that covers it."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.25,
        eos_token_id=[0, 1, 2, 3],
        dtype="float32",
    )
    LlamaForCausalLM(config).float().save_pretrained(folder)
    words = {"<end>": 0, "<unk>": 4} | {letter: 5 + n for n, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)
    table = make_table()
    digest = load_release(str(folder)).digest()
    provenance = table.provenance.model_copy(update={"release_digest": digest})
    referee = TorchReferee(folder, dtype="float32", slack_logits=table.slack_logits)
    pairs = (EnvironmentPair(miner=ENVIRONMENT, referee=referee.environment),)
    made = table.model_copy(update={"provenance": provenance, "pairs": pairs})
    (folder / "calibration.json").write_text(made.model_dump_json())
    return folder


class TorchEngine:
    """Samples from the release token by token; `seed_shift` makes it a cheat."""

    concurrent_requests_max = 8

    def __init__(self, folder: Path, seed_shift: int = 0) -> None:
        self.release = load_release(str(folder))
        self.environment = ENVIRONMENT
        self.seed_shift = seed_shift
        self._referee = TorchReferee(
            folder,
            dtype="float32",
            slack_logits=0.05,
            grammars=release_grammars(self.release, folder),
        )
        self._turn = asyncio.Lock()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineDelta, None]:
        claim = Claim(
            request.prompt_token_ids,
            (),
            request.temperature_milli,
            request.top_p_milli,
            request.top_k,
            request.seed + self.seed_shift,
            None,
            "length",
            request.structure,
        )
        for number in range(1, request.tokens_max + 1):
            async with self._turn:
                (claim,) = await asyncio.to_thread(self._referee.continued, [claim], 1)
            token = claim.output_token_ids[-1]
            is_stop = token in self.release.stop_token_ids
            finish = "stop" if is_stop else "length" if number == request.tokens_max else None
            yield EngineDelta((token,), (-1.0,), finish)
            if finish:
                return

    async def failed(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("release") / "model")


@pytest.fixture(autouse=True)
def sdk_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(tmp_path / "symbols.json"))


@asynccontextmanager
async def process(log: Path, *arguments: object, **environment: str):
    """A child whose output goes to `log`; terminated, then killed, at the end."""
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(part) for part in arguments),
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), 20)
            except TimeoutError:
                child.kill()
                await child.wait()


async def until(condition, seconds: float, log: Path):
    """Poll until the condition holds; its value."""
    async with asyncio.timeout(seconds):
        while not (value := await condition()):  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.25)
    return value


@asynccontextmanager
async def serving(settings: ChainSettings, wallets: Path, name: str, engine: TorchEngine):
    """A miner of ours on a free port, published."""
    wallet = load_wallet(wallets, name, "default")
    chain = await BittensorChain.connect(settings, wallet)
    miner_settings = MinerSettings(metagraph_refresh_seconds=1)
    miner = Miner(
        chain=chain,
        engine=engine,
        signer=HotkeySigner(wallet.hotkey),
        clock=SystemClock(),
        settings=miner_settings,
        admission=AdmissionParams(),
    )
    await miner.refresh()
    bound = bind_socket("127.0.0.1", 0)
    app = MinerApp(miner, SystemClock(), miner_settings, AdmissionParams())
    tasks = [
        asyncio.create_task(serve_app(app, bound, miner_settings)),
        asyncio.create_task(miner.run("127.0.0.1", bound.getsockname()[1])),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await chain.close()


async def chain_url(log: Path) -> str:
    """The endpoint that the devnet says it listens on."""

    async def announced():
        words = log.read_text().split()  # noqa: ASYNC240 - a short local file
        return next((word for word in words if word.startswith("ws://")), None)

    return await until(announced, 30, log)


def validator_arguments(settings: ChainSettings, wallets: Path, state: Path, release: Path):
    return [
        ROOT / "neurons" / "validator.py",
        *("--network", settings.network, "--netuid", settings.netuid),
        *("--wallet", "validator", "--wallet-path", wallets),
        *("--state", state, "--model", release),
    ]


async def assert_replays(state: Path, url: str, netuid: int) -> None:
    """Weights follow from records, and the chain holds the statements: the last one, and one whose
    secrets are revealed by now."""
    reader = open_for_reading(state)
    blocks = reader.closed_epochs()
    reader.close()
    always = {"signatures", "due", "audits", "paid", "factors", "pool", "weights", "anchor"}
    for block, held_too in ((blocks[-1], {"chain"}), (blocks[-3], {"draws", "secrets"})):
        chain = ("--chain", "--network", url, "--netuid", netuid)
        words = ("replay", "--state", state, "--epoch", block, *chain, "--json")
        log = state.with_name(f"replay-{block}.json")
        async with process(log, "-m", "subnet.cli.main", *words) as replaying:
            assert await asyncio.wait_for(replaying.wait(), 60) == 0, log.read_text()
        outcome = json.loads(log.read_text())
        held = {one["name"] for one in outcome["checks"] if one["outcome"] == "HELD"}
        assert held >= always | held_too, outcome["checks"]


async def test_a_validator_pays_the_honest_survives_kill_and_ends_when_told(tmp_path, release):
    wallets, state = tmp_path / "wallets", tmp_path / "validator.sqlite"
    log, chain_log = tmp_path / "validator.log", tmp_path / "chain.log"
    devnet = ("-m", "subnet.cli.main", "devnet")
    async with process(
        chain_log,
        *devnet,
        "--port",
        0,
        "--state",
        tmp_path / "chain.sqlite",
        "--tempo",
        20,
        "--block-time",
        0.125,
        PYTHONUNBUFFERED="1",
    ):
        url = await chain_url(chain_log)
        subnet = await set_up_subnet(url, wallets, ["honest", "cheat"], lambda line: None)
        settings = ChainSettings(network=url, netuid=subnet.netuid, timeout_seconds=20)
        honest, cheat = subnet.miner_hotkeys
        arguments = validator_arguments(settings, wallets, state, release)
        async with (
            serving(settings, wallets, "honest", TorchEngine(release)),
            serving(settings, wallets, "cheat", TorchEngine(release, seed_shift=1)),
        ):
            chain = await BittensorChain.connect(settings)

            async def audited(count):
                report = await read_status(state, chain)
                rows = {row.hotkey: row for row in report.miners}
                enough = len(rows) == 2 and all(row.audited >= count for row in rows.values())
                return rows if enough else None

            async with process(log, *arguments, "--prompt", "hello", **FAST) as first:
                before = await until(lambda: audited(5), 180, log)
                first.send_signal(signal.SIGKILL)
                await first.wait()

            async with process(log, *arguments, "--epochs", 4, **FAST) as second:
                after = await until(lambda: audited(8), 180, log)
                for hotkey, row in before.items():
                    assert after[hotkey].audited >= row.audited
                assert await asyncio.wait_for(second.wait(), 120) == 0, log.read_text()

            report = await read_status(state, chain)
            rows = {row.hotkey: row for row in report.miners}
            assert rows[honest].weight == 1.0, log.read_text()
            assert rows[honest].incentive > 0.99
            assert rows[honest].emission_rao > 0
            assert (rows[cheat].state, rows[cheat].score_ppm) == ("closed", 0)
            assert json.loads(report.to_json())["miners"][0]["why"]
            await chain.close()
            await assert_replays(state, url, subnet.netuid)
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--wallet", "nobody", "--wallet-path", "nowhere"], "no hotkey at"),
        (["--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (["--network", "ws://127.0.0.1:9"], "ws://127.0.0.1:9"),
    ],
)
async def test_what_the_operator_can_mend_is_one_line_and_exit_code_2(
    tmp_path, release, arguments, words
):
    import bittensor as bt

    bt.Wallet("default", "default", str(tmp_path)).create_new_hotkey(suppress=True)
    log = tmp_path / "validator.log"
    base = [ROOT / "neurons" / "validator.py", "--wallet-path", tmp_path, "--model", release]
    async with process(log, *base, *arguments) as child:
        assert await asyncio.wait_for(child.wait(), 60) == 2, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text
    assert words in text


async def test_a_calibration_of_other_weights_is_refused(tmp_path, release):
    import bittensor as bt

    bt.Wallet("default", "default", str(tmp_path)).create_new_hotkey(suppress=True)
    table = make_table().model_dump_json()
    (tmp_path / "other.json").write_text(table)
    log = tmp_path / "validator.log"
    base = [ROOT / "neurons" / "validator.py", "--wallet-path", tmp_path, "--model", release]
    other = {"ASSAY_RELEASE__CALIBRATION": str(tmp_path / "other.json")}
    async with process(log, *base, **other) as child:
        assert await asyncio.wait_for(child.wait(), 60) == 2, log.read_text()
    assert "was measured for release" in log.read_text()
