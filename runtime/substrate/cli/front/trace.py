"""`substrate trace ACTION`, and `substrate --trace SPAN`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.front.calls import context_of
from substrate.cli.terminal import printable, write
from substrate.errors import UsageError
from substrate.trace.directory import trace_directory
from substrate.trace.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from substrate.cli.parse import Arguments
    from substrate.trace.verify import Fault

FORMATS = ("jsonl", "otlp", "ocsf", "in-toto", "prov")


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    action, *names = arguments.operands
    directory = trace_directory(context_of(arguments).data)
    if action == "verify":
        return _verify(arguments, directory)
    if action == "anchor":
        from substrate.trace.verify import anchor

        write(f"{anchor(directory)}\n")
        return 0
    if action == "export":
        return _export(arguments, directory)
    if not names:
        message = "trace show: SPAN is missing"
        raise UsageError(message, "substrate log lists the spans")
    for name in names:
        show_span(arguments, name)
    return 0


def show_span(arguments: Arguments, span_id: str) -> None:
    """Print the records of a span; raises `SpanNotFoundError`."""
    from substrate.trace.show import span_lines

    with Index(trace_directory(context_of(arguments).data)) as index:
        records = index.span(span_id)
    if arguments.flag("json"):
        write("".join(jsontext.dumps(record) + "\n" for record in records))
    else:
        write("".join(f"{line}\n" for line in span_lines(records)))


def _verify(arguments: Arguments, directory: str) -> int:
    from substrate.trace.verify import parse_anchor, verify

    anchors = [parse_anchor(text) for text in arguments.many("anchor")]
    verdict = verify(
        directory, anchors, pruned=arguments.flag("pruned"), spans=arguments.flag("spans")
    )
    if arguments.flag("json"):
        write(jsontext.dumps(verdict.to_json(), 2) + "\n")
        return 0 if verdict.ok else 1
    for label, faults in (("problem", verdict.problems), ("note", verdict.notes)):
        write("".join(f"{label}: {_told(fault)}\n" for fault in faults))
    word = "unbroken" if verdict.ok else "BROKEN"
    write(f"{word}: {verdict.records} records in {verdict.segments} segments\n")
    if verdict.head is not None:
        write(f"anchor: {verdict.head}\n")
    return 0 if verdict.ok else 1


def _told(fault: Fault) -> str:
    place = fault.segment if fault.offset is None else f"{fault.segment}:{fault.offset}"
    return printable(f"{place}: {fault.kind}: {fault.detail}")


def _export(arguments: Arguments, directory: str) -> int:
    with Index(directory) as index:
        found = index.select(span=arguments.text("span"), session=arguments.text("session"))
        records = [located.data for located in found]
    form = arguments.text("format") or FORMATS[0]
    for line in _exported(form, records):
        write(jsontext.dumps(line) + "\n")
    return 0


def _exported(form: str, records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if form == "otlp":
        from substrate.trace.exports.otlp import otlp

        return otlp(records)
    if form == "ocsf":
        from substrate.trace.exports.ocsf import ocsf

        return ocsf(records)
    if form == "in-toto":
        from substrate.trace.exports.in_toto import in_toto

        return in_toto(records)
    if form == "prov":
        from substrate.trace.exports.prov import prov

        return prov(records)
    return iter(records)
