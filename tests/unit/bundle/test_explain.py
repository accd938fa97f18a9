from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from substrate.bundle.explain import explain


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_alternatives_are_reduced_to_the_best_match(keyword: str) -> None:
    schema: dict[str, Any] = {
        "properties": {
            "a": {
                keyword: [
                    {"type": "object", "properties": {"b": {"type": "array"}}},
                    {"type": "string"},
                ]
            }
        }
    }
    (error,) = Draft202012Validator(schema).iter_errors({"a": {"b": 1}})
    (sentence,) = explain(error)
    assert sentence == "$.a.b: expected an array, got the number 1"


def test_each_missing_key_is_reported_once() -> None:
    validator = Draft202012Validator({"required": ["a", "ab"]})
    sentences = [text for error in validator.iter_errors({}) for text in explain(error)]
    assert sentences == ["$: a is missing", "$: ab is missing"]


def test_a_pattern_without_words_shows_itself() -> None:
    (error,) = Draft202012Validator({"pattern": "^a$"}).iter_errors("b")
    assert list(explain(error)) == ['$: expected a string that matches ^a$, got the string "b"']


def test_an_unforeseen_keyword_is_still_a_sentence() -> None:
    (error,) = Draft202012Validator({"multipleOf": 2}).iter_errors(3)
    assert list(explain(error)) == ["$: expected multipleOf 2, got the number 3"]
