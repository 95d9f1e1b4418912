"""A structure is compiled by whoever serves it, so its cost is bounded before it gets there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocol.structure import (
    LENGTHS_MAX,
    SCHEMA_DEPTH_MAX,
    SCHEMA_NODES_MAX,
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


def test_a_schema_is_kept_as_it_came():
    text = '{"type": "object",  "properties": {}}'
    assert Structure(kind="json_schema", text=text).text == text
    assert schema(nested(SCHEMA_DEPTH_MAX))


def test_what_users_need_is_there():
    assert schema(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Order",
            "$defs": {"line": {"type": "object", "properties": {"sku": {"const": "{9000}"}}}},
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "a property may have any name"},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 9},
                "note": {"anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}]},
                "rating": {"enum": [1, 2, {"not": "a schema"}], "default": 1},
            },
            "required": ["lines"],
            "additionalProperties": False,
        }
    )


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        ("json_schema", "{", "not JSON"),
        ("json_schema", "[" * 9000, "not JSON"),
        ("json_schema", "[]", "JSON object"),
        ("json_schema", "true", "JSON object"),
        ("json_schema", json.dumps(nested(SCHEMA_DEPTH_MAX + 1)), "levels"),
        ("json_schema", '{"items": ' * 500 + "1" + "}" * 500, "levels"),
        ("json_schema", "", "at least 1 character"),
        ("json_schema", "{" + " " * STRUCTURE_CHARACTERS_MAX + "}", "at most"),
        ("regex", "(yes|no)", "json_schema"),
    ],
)
def test_what_no_backend_should_see_is_refused(kind, text, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Structure(kind=kind, text=text)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "string", "pattern": "a{1,9000}"},
        {"items": {"anyOf": [{"patternProperties": {"x": {}}}]}},
        {"properties": {"a": {"minProperties": 3}}},
        {"$defs": {"a": {"not": {}}}},
        {"additionalProperties": {"format": "uri"}},
        {"items": [{"propertyNames": {}}]},
    ],
)
def test_what_is_slow_or_ignored_is_refused_by_name(content):
    with pytest.raises(ValidationError, match="is not verified"):
        schema(content)


def test_an_escaped_keyword_is_the_keyword_that_it_spells():
    with pytest.raises(ValidationError, match="pattern is not verified"):
        Structure(kind="json_schema", text='{"p\\u0061ttern": "(a|b)\\u007b1,9000\\u007d"}')


@pytest.mark.parametrize(
    "content",
    [
        {"type": "string", "maxLength": LENGTHS_MAX + 1},
        {"properties": {f"p{n}": {"minLength": 30, "maxItems": 11} for n in range(50)}},
        {"items": {"anyOf": [{"maxItems": 1500}, {"$defs": {"a": {"maxLength": 501}}}]}},
        {"maxLength": 1e9},
        {"maxLength": -1},
        {"maxLength": True},
        {"maxLength": "9"},
    ],
)
def test_lengths_are_bounded_in_sum(content):
    with pytest.raises(ValidationError, match=f"{LENGTHS_MAX}"):
        schema(content)


def test_objects_are_counted_wherever_they_are():
    assert schema({"properties": {f"p{n}": {} for n in range(SCHEMA_NODES_MAX - 2)}})
    with pytest.raises(ValidationError, match="objects"):
        schema({"properties": {f"p{n}": {} for n in range(SCHEMA_NODES_MAX - 1)}})
    with pytest.raises(ValidationError, match="objects"):
        schema({"enum": [{} for _ in range(SCHEMA_NODES_MAX)]})


@given(st.text(min_size=1, max_size=200))
def test_any_text_is_a_schema_or_a_clear_refusal(text):
    try:
        assert Structure(kind="json_schema", text=text).text == text
    except ValidationError as error:
        assert "not JSON" in str(error) or "JSON object" in str(error) or "keyword" in str(error)
