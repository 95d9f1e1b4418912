"""Users and benchmarks: what a miner sees of them, and whether the classifier would notice."""

import asyncio
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from subnet.cli.main import app
from subnet.config import Settings
from subnet.core.audit import Traffic
from subnet.lab import tell_apart, watched
from subnet.lab.auc import auc_of
from subnet.lab.watched import Prompt, watch_traffic
from subnet.lab.wire_features import TIMING, WIRE, length_of, timing_of, wire_of
from subnet.roles.user_desk import UserDesk
from tests.validator_support import RELEASE, ByteTokenizer

SAMPLE = Path(__file__).parents[3] / "assets" / "prompts" / "users.jsonl"
PROMPTS = [Prompt(json.loads(line)["text"]) for line in SAMPLE.read_text().splitlines()]


@cache
def traced(seed):
    return watch_traffic(PROMPTS[:170], RELEASE, ByteTokenizer(), Settings(), seed)


def traffic(seed):
    found = traced(seed)
    return [one.arrival for one in found], np.asarray([one.is_organic for one in found])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=60))
def test_the_auc_is_the_text_book_s_and_lies_in_its_interval(rows):
    scores, kinds = np.asarray([float(s) for s, _ in rows]), np.asarray([k for _, k in rows])
    if min(kinds.sum(), (~kinds).sum()) < 2:
        return
    found = auc_of(scores, kinds)
    assert found.value == pytest.approx(roc_auc_score(kinds, scores))
    assert found.low <= found.value <= found.high


def test_when_a_request_comes_tells_nothing_of_whose_it_is():
    """When users waited for the next benchmark's instant, the gap before told them: AUC .71."""
    seen = [traffic(seed) for seed in range(4)]
    timing = np.concatenate([timing_of(arrivals) for arrivals, _ in seen])
    kinds = np.concatenate([organic for _, organic in seen])
    assert 0.15 < kinds.mean() < 0.4
    for place, name in enumerate(TIMING):
        found = auc_of(timing[:, place], kinds)
        assert abs(found.value - 0.5) < 0.06, (name, found)


def test_nothing_on_the_wire_tells_but_the_prompt():
    arrivals, kinds = traffic(1)
    wire = wire_of(arrivals)
    fixed = [WIRE.index(name) for name in ("limit", "timeout", "top-k")]
    assert np.ptp(wire[:, fixed], axis=0).tolist() == [0, 0, 0]
    structured = wire[:, WIRE.index("structured")]
    assert 0 < structured[~kinds].mean() < 0.12
    assert auc_of(length_of(arrivals)[:, 0], kinds).organic == kinds.sum()


def test_a_miner_that_is_good_enough_gets_as_many_users_prompts_as_the_best():
    """In proportion to scores, a slow miner knew that most of its requests were benchmarks."""
    arrivals, kinds = traffic(2)
    counts = np.bincount([one.miner for one, k in zip(arrivals, kinds, strict=True) if k])
    assert len(counts) == watched.BUSY.miners and counts.min() > 0
    slow, quick = counts[: watched.SLOW_MINERS].mean(), counts[watched.SLOW_MINERS :].mean()
    assert slow > 0.7 * quick


def test_a_dispatcher_that_leaks_is_noticed(monkeypatch):
    """Users' prompts that leave at full seconds are found by their phase."""
    gap = UserDesk._gap_seconds
    monkeypatch.setattr(UserDesk, "_gap_seconds", lambda self, turn: gap(self, turn) * 0)
    monkeypatch.setattr(
        "subnet.roles.user_desk.user_delay_seconds",
        lambda secret, prompt_id: -_loop_seconds() % 1,
    )
    report = tell_apart.tell_apart(
        PROMPTS, "x", RELEASE, ByteTokenizer(), Settings(), 2, 0, lambda *_: lambda _: None
    )
    assert not report.is_within
    (timing,) = [one for one in report.sights if one.name == "timing"]
    assert timing.auc > 0.7


def _loop_seconds():
    return asyncio.get_running_loop().time()


def test_the_sample_is_what_its_page_says():
    texts = [prompt.text for prompt in PROMPTS]
    assert len(texts) == len(set(texts)) == 353
    assert all(text.strip() for text in texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"text": "a"}\nnot json', "line 2"), ('{"word": "a"}', "line 1"), ("", "0 prompts")],
)
def test_a_file_that_holds_no_prompts_is_refused(tmp_path, content, message):
    (tmp_path / "p.jsonl").write_text(content)
    ran = CliRunner().invoke(app, ["lab", "tell-apart", "--prompts", str(tmp_path / "p.jsonl")])
    assert ran.exit_code != 0
    assert message in str(ran.exception)


def test_echoes_are_asked_like_users_prompts_and_hide_the_tests_by_their_words():
    rules = Settings()
    seen = [
        watch_traffic(
            PROMPTS[start + 140 : start + 176],
            RELEASE,
            ByteTokenizer(),
            rules,
            start,
            watched.TALKATIVE,
            PROMPTS[start : start + 140],
        )
        for start in (0, 176)
    ]
    kinds = Counter(one.traffic for run in seen for one in run)
    share = kinds[Traffic.ECHO] / (kinds[Traffic.ECHO] + kinds[Traffic.BENCHMARK])
    assert 0.75 < share <= 1, "94 % by the rules"
    for run, start in zip(seen, (0, 176), strict=True):
        assert run
        earlier = {ByteTokenizer().render(one.text) for one in PROMPTS[start : start + 140]}
        echoed = [
            one.arrival.request.prompt_token_ids for one in run if one.traffic is Traffic.ECHO
        ]
        assert set(echoed) <= earlier
        assert len(echoed) == len(set(echoed)), "each once in a period"
        assert all(bool(one.family) is (one.traffic is Traffic.BENCHMARK) for one in run)
        assert not {one.arrival.request.prompt_token_ids for one in run if one.is_organic} & set(
            echoed
        )


def test_content_would_need_so_many_prompts_asked_again():
    report = tell_apart.tell_apart(
        PROMPTS, "x", RELEASE, ByteTokenizer(), Settings(), 2, 0, lambda *_: lambda _: None
    )
    content, echoed = report.sights[-1], report.with_echoes
    assert content.auc > 0.6, "families are no secret to whoever reads them"
    assert (report.without_echoes.echo_share, echoed.echo_percent) == (0, 94)
    assert echoed.echo_share > 0.75
    assert echoed.sights[-1].auc < report.without_echoes.sights[-1].auc - 0.1
    share = report.echo_share_for_auc_max
    assert share / 2 + (1 - share) * content.auc == pytest.approx(0.55)
