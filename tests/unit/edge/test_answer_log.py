"""A miner keeps what it signed, within bounds, for its own eyes."""

import stat

import pytest

from protocol.inference import EndLine
from subnet.config import ConfigError
from subnet.edge.answer_log import AnswerLog, read_log
from tests.miner_support import CALLER, ScriptedEngine, make_miner, make_request


async def end_line(nonce: int) -> EndLine:
    miner = await make_miner(ScriptedEngine())
    request = make_request(tokens_max=3).model_copy(update={"nonce": f"{nonce:064x}"})
    return [
        line async for line in miner.serve(request, CALLER.hotkey, miner._clock.monotonic_us())
    ][-1]


async def test_what_was_signed_is_read_back_by_request(tmp_path, monkeypatch):
    path, lines = tmp_path / "answers.jsonl", [await end_line(n) for n in range(3)]
    for part in (lines[:2], lines[2:]):
        log = AnswerLog(path, 10**6)
        for line in part:
            log(line)
        log.close()
    found = read_log([path])
    assert found == {
        line.response.request_digest: (line.response, line.signature) for line in lines
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_others_could_read_is_the_owners_alone_from_now_on(tmp_path):
    files = [tmp_path / "answers.jsonl", tmp_path / "answers.jsonl.1"]
    for file in files:
        file.touch()
        file.chmod(0o644)
    AnswerLog(files[0], 10**6).close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_half_a_line_costs_itself_alone(tmp_path, caplog):
    path, first, second = tmp_path / "answers.jsonl", await end_line(1), await end_line(2)
    path.write_bytes(first.to_bytes() + b"\n" + second.to_bytes()[:100])
    log = AnswerLog(path, 10**6)
    log(second)
    log.close()
    digests = {line.response.request_digest for line in (first, second)}
    assert read_log([path]).keys() == digests
    assert caplog.messages == [f"{path}: 1 of 3 lines are no signed answers"]
    path.write_bytes(b"\xff\n" + path.read_bytes())
    assert read_log([path]).keys() == digests
    for nothing in (b"\xff\n", second.to_bytes()[:100]):
        path.write_bytes(nothing)
        with pytest.raises(ConfigError, match="is no answer log"):
            read_log([path])


async def test_a_full_log_forgets_its_oldest_half(tmp_path):
    path, line = tmp_path / "answers.jsonl", await end_line(1)
    log = AnswerLog(path, 20_000)
    for _ in range(100):
        log(line)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["answers.jsonl", "answers.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= 20_000
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_what_is_no_log_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot write the answer log"):
        AnswerLog(tmp_path / "no" / "such" / "folder", 10**6)
    with pytest.raises(ConfigError, match="cannot read the answer log"):
        read_log([tmp_path / "none"])
    (tmp_path / "x").write_text("{}\n")
    with pytest.raises(ConfigError, match="is no answer log"):
        read_log([tmp_path / "x"])
