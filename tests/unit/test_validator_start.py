"""What a validator refuses to start with: questions whose answers nobody could judge."""

import pytest

from subnet.cli.exits import UsageError
from subnet.cli.validator import assert_judgeable, load_calibration, load_schema
from subnet.config import ConfigError, Settings, load_settings
from subnet.edge.release_files import ReleaseFiles
from tests.validator_support import RELEASE, ByteTokenizer, make_table

TABLE = make_table()


def start(context, prompts=(), release=RELEASE):
    table = TABLE.model_copy(update={"context_tokens_max": context})
    assert_judgeable(Settings(), release, table, ByteTokenizer(), prompts)


def test_what_the_table_covers_is_asked():
    start(2048, ["x" * (2048 - 96)])


def test_benchmarks_that_are_longer_than_the_table_are_refused_at_start():
    with pytest.raises(ConfigError, match="cover 200"):
        start(200)


def test_a_prompt_whose_answer_could_not_be_judged_is_refused():
    with pytest.raises(UsageError, match=r"--prompt is 1953 tokens long.*at most 1952"):
        start(2048, ["x" * (2048 - 95)])


def test_a_prompt_that_the_model_has_no_room_for_is_refused():
    with pytest.raises(UsageError, match="at most 904"):
        start(2048, ["x" * 1000], RELEASE.model_copy(update={"context_tokens_max": 1000}))


def test_a_limit_that_a_family_needs_more_than_is_refused():
    with pytest.raises(ConfigError, match=r"up to 96 tokens: raise draws.answer_tokens_max"):
        settings = load_settings(overrides={"draws.answer_tokens_max": 64}, environ={})
        assert_judgeable(settings, RELEASE, TABLE, ByteTokenizer(), ())


def test_a_schema_that_nobody_could_check_is_refused(tmp_path):
    file = tmp_path / "schema.json"
    with pytest.raises(UsageError, match="No such file"):
        load_schema(file)
    file.write_text('{"pattern": "a+"}')
    with pytest.raises(UsageError, match="keyword pattern is not verified"):
        load_schema(file)
    file.write_text("")
    with pytest.raises(UsageError, match=r"schema\.json: text: String should have at least"):
        load_schema(file)
    file.write_text('{"enum": ["yes", "no"]}')
    assert load_schema(file).text == '{"enum": ["yes", "no"]}'


def test_a_calibration_that_is_none_says_where_and_how_to_mend_it(tmp_path):
    file = tmp_path / "calibration.json"
    file.write_text("{}")
    says = r"is no calibration: sigma_logits: Field required; measure one with assay calibrate"
    with pytest.raises(ConfigError, match=says):
        load_calibration(Settings(), ReleaseFiles(RELEASE, tmp_path))


@pytest.mark.parametrize("engine", ["torch", "vllm"])
def test_a_second_opinion_from_the_referee_itself_is_none(engine):
    with pytest.raises(ConfigError, match=f"second_opinion {engine} is the referee itself"):
        load_settings(
            overrides={"validator.referee": engine, "validator.second_opinion": engine}, environ={}
        )
