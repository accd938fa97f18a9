from __future__ import annotations

import inspect
import re

import pytest

from substrate import errors
from substrate.errors import BundleError, StepError, SubstrateError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, SubstrateError)
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    told = {
        name: int(status)
        for name, status in re.findall(r"(\w+Error) +(\d+) ", errors.__doc__ or "")
    }
    assert told == {found.__name__: found.status for found in CLASSES}


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: str(found.__name__))
def test_every_error_says_what_it_is(found: type[SubstrateError]) -> None:
    assert found.__doc__
    assert found.status in (1, 2, 3, 4, 5, 6, 126, 127)


def test_an_error_has_a_message_and_a_hint() -> None:
    error = SubstrateError("doing it: no", "do it so")
    assert (str(error), error.message, error.hint) == ("doing it: no", "doing it: no", "do it so")
    assert SubstrateError("no").hint == ""


def test_a_bundle_error_is_a_line_per_problem() -> None:
    error = BundleError(["a: wrong", "b: wrong"], "look")
    assert error.problems == ("a: wrong", "b: wrong")
    assert error.message == "a: wrong\nb: wrong"
    assert error.hint == "look"


def test_a_step_error_keeps_the_kernels_answer() -> None:
    assert StepError("cannot do it", errno=13).errno == 13
    assert StepError("cannot do it").errno == 0
