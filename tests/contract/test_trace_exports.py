"""The exports as the libraries of their own communities read them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from hypothesis import given, settings
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from prov.model import ProvDocument

from substrate.trace.exports.otlp import otlp
from substrate.trace.exports.prov import prov
from tests.support import records
from tests.support.examples import examples

if TYPE_CHECKING:
    from substrate.trace.events import CommandStart


def test_otlp_is_read_by_the_official_messages() -> None:
    done, unfinished = (
        json_format.ParseDict(_hex_to_base64(document), TracesData())
        .resource_spans[0]
        .scope_spans[0]
        .spans[0]
        for document in otlp(records.stream(), host="build-1")
    )
    assert done.trace_id.hex() == records.SESSION
    assert (done.span_id.hex(), done.parent_span_id.hex()) == (records.SPAN, records.PARENT)
    assert done.kind == Span.SPAN_KIND_CLIENT
    assert done.end_time_unix_nano - done.start_time_unix_nano == 2
    assert done.status.code == 2
    facts = {one.key: one.value for one in done.attributes}
    assert facts["process.exit.code"].int_value == 1
    assert [v.string_value for v in facts["process.command_args"].array_value.values][:2] == [
        "git",
        "commit",
    ]
    assert [event.name for event in done.events] == ["substrate.net", *["substrate.file"] * 3]
    facts = {one.key: one.value for one in unfinished.attributes}
    assert facts["substrate.unfinished"].bool_value
    assert unfinished.status.code == 0


def _hex_to_base64(document: dict[str, Any]) -> dict[str, Any]:
    """OTLP/JSON has ids in hexadecimal, protobuf's own JSON in base64."""
    (span,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    for name in ("traceId", "spanId", "parentSpanId"):
        if name in span:
            span[name] = b64encode(bytes.fromhex(span[name])).decode()
    return document


def test_prov_is_read_by_the_reference_library() -> None:
    (document,) = prov(records.stream(), host="build-1")
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    kinds: dict[str, int] = {}
    for one in read.get_records():
        name = type(one).__name__
        kinds[name] = kinds.get(name, 0) + 1
    assert kinds == {
        "ProvActivity": 2,
        "ProvAgent": 2,
        "ProvEntity": 7,
        "ProvAssociation": 2,
        "ProvGeneration": 3,
        "ProvUsage": 3,
        "ProvDerivation": 2,
        "ProvInvalidation": 2,
        "ProvCommunication": 1,
    }


@settings(max_examples=examples(30))
@given(records.starts())
def test_any_command_is_read_by_both(start: CommandStart) -> None:
    stream = records.finished(start)
    for document in otlp(stream):
        json_format.ParseDict(_hex_to_base64(document), TracesData())
    for document in prov(stream):
        ProvDocument.deserialize(content=json.dumps(document), format="json")
