"""`subnet.toml` is the manual of all knobs: complete, and true to the code's defaults."""

import tomllib
from pathlib import Path

import pytest

from subnet.config import ConfigError, Settings, load_settings

FILE = Path(__file__).parents[2] / "subnet.toml"


def test_the_file_says_exactly_what_the_code_would_do_without_it():
    assert load_settings(FILE, environ={}) == Settings()


def test_every_knob_is_listed():
    listed = tomllib.loads(FILE.read_text())
    text = FILE.read_text()
    missing = [
        f"{section}.{key}"
        for section, knobs in Settings().model_dump().items()
        for key, default in knobs.items()
        if key not in listed.get(section, {}) and not (default is None and f"# {key} = " in text)
    ]
    assert missing == []


def test_nothing_is_listed_that_the_code_does_not_know(tmp_path):
    broken = tmp_path / "subnet.toml"
    broken.write_text(FILE.read_text().replace("probation_answers", "probation_anwsers"))
    with pytest.raises(ConfigError, match=r"unknown key scoring.probation_anwsers"):
        load_settings(broken, environ={})


def test_a_turn_leaves_a_burst_as_long_as_an_answer_may_take():
    """A validator whose requests outlive its turn loads miners while another one measures them."""
    longer = {"validator.request_timeout_seconds": 31.0}
    with pytest.raises(ConfigError) as caught:
        load_settings(FILE, longer, environ={})
    assert str(caught.value) == (
        f"{FILE}: capacity.answer_seconds_max 30.0 lies below validator.request_timeout_seconds "
        "31.0: a burst's last answers would load miners in another validator's turn; lower the "
        "timeout, or raise what a turn leaves"
    )
    for mended in ({"capacity.answer_seconds_max": 31.0}, {"capacity.is_measured": False}):
        load_settings(FILE, longer | mended, environ={})


def test_a_section_at_odds_with_itself_is_one_line_that_does_not_repeat_it():
    with pytest.raises(ConfigError) as caught:
        load_settings(FILE, {"capacity.duration_seconds_min": 300.0}, environ={})
    said = "capacity: duration_seconds_min must not lie above duration_seconds_max"
    assert str(caught.value) == f"{FILE}: {said}"


def test_a_file_that_is_not_utf_8_is_one_clear_line(tmp_path):
    saved_by_an_old_editor = tmp_path / "subnet.toml"
    saved_by_an_old_editor.write_bytes('[chain]\nwallet_name = "Müller"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"subnet\.toml is not UTF-8 text: byte 24 is 0xfc$"):
        load_settings(saved_by_an_old_editor, environ={})


def test_every_plain_knob_says_what_it_is_for():
    lines = FILE.read_text().splitlines()
    exempt = ("token_share", "response_share", "profile", "share", "temperature_milli")
    exempt += ("top_p_milli", "top_k", "wallet_path", "]", '"')
    bare = [
        line
        for line in lines
        if "=" in line and "#" not in line and not line.strip().startswith(exempt)
    ]
    assert bare == []
