"""A structure is compiled by whoever serves it, so its cost is bounded before it gets there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocol.structure import (
    REPETITIONS_MAX,
    SCHEMA_DEPTH_MAX,
    STRUCTURE_CHARACTERS_MAX,
    Structure,
)


def schema(content):
    return Structure(kind="json_schema", text=json.dumps(content))


def nested(levels):
    content = {"type": "integer"}
    for _ in range(levels - 1):
        content = {"items": content}
    return content


def test_a_schema_and_a_regex_are_kept_as_they_came():
    text = '{"type": "object",  "properties": {}}'
    assert Structure(kind="json_schema", text=text).text == text
    assert Structure(kind="regex", text="(yes|no)").text == "(yes|no)"
    assert schema(nested(SCHEMA_DEPTH_MAX))


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        ("json_schema", "{", "not JSON"),
        ("json_schema", "[" * 9000, "not JSON"),
        ("json_schema", "[]", "JSON object"),
        ("json_schema", "true", "JSON object"),
        ("json_schema", json.dumps(nested(SCHEMA_DEPTH_MAX + 1)), "levels"),
        ("json_schema", '{"a": ' * 500 + "1" + "}" * 500, "levels"),
        ("regex", "", "at least 1 character"),
        ("regex", "a" * (STRUCTURE_CHARACTERS_MAX + 1), "at most"),
        ("lark", "start: x", "json_schema"),
    ],
)
def test_what_no_backend_should_see_is_refused(kind, text, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Structure(kind=kind, text=text)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "string", "maxLength": REPETITIONS_MAX + 1},
        {"properties": {f"p{n}": {"minLength": 30, "maxItems": 11} for n in range(50)}},
        {"properties": {f"p{n}": {"pattern": "^[a-z]{1,900}$"} for n in range(3)}},
        {"patternProperties": {"x{99999999999999999999}": {}}},
        {"items": [{"anyOf": [{"maxProperties": 1e9}]}]},
    ],
)
def test_lengths_and_repetitions_are_bounded_in_sum(content):
    with pytest.raises(ValidationError, match="add up"):
        schema(content)


@given(st.lists(st.integers(0, 300), max_size=10))
def test_repetitions_of_a_regex_add_up(counts):
    text = "a" + "".join(f"b{{0,{count}}}" for count in counts)
    if sum(counts) > REPETITIONS_MAX:
        with pytest.raises(ValidationError, match="add up"):
            Structure(kind="regex", text=text)
    else:
        assert Structure(kind="regex", text=text)


@given(st.text(min_size=1, max_size=200))
def test_any_text_is_a_regex_or_a_clear_refusal(text):
    try:
        assert Structure(kind="regex", text=text).text == text
    except ValidationError as error:
        assert "add up" in str(error)
