from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.kernel import messages

TAGS = [value for name, value in vars(messages).items() if name.isupper() and len(name) <= 7
        and isinstance(value, bytes)]  # fmt: skip


@given(st.sampled_from(TAGS), st.integers(-(2**31), 2**31 - 1))
def test_a_message_reads_as_it_was_written(tag: bytes, value: int) -> None:
    assert messages.unpack(messages.pack(tag, value)) == (tag, value)


def test_every_message_is_eight_bytes() -> None:
    assert messages.SIZE == 8
    assert {len(messages.pack(tag)) for tag in TAGS} == {8}


def test_no_two_messages_share_a_tag() -> None:
    assert len(set(TAGS)) == len(TAGS) >= 7


@given(st.integers(0, 2**19 - 1), st.integers(1, 4095))
def test_an_error_holds_the_op_and_the_errno(index: int, number: int) -> None:
    value = index << 12 | number
    assert messages.error_parts(value) == (index, number)
    # It fits the message's signed word.
    assert messages.unpack(messages.pack(messages.ERROR, value)) == (messages.ERROR, value)


def test_a_torn_message_is_an_error() -> None:
    with pytest.raises(struct.error):
        messages.unpack(b"ERR!")
