"""`@record`: the frozen, slotted data class of the hot path.

`dataclasses` costs 13 ms to import (it loads `inspect`, `re` and `enum`), more than a whole
`state` command, so records are made here: fields from the annotations, defaults from the class
body, equality by value. Type checkers see a frozen data class through `dataclass_transform`.
Not here: conversion from and to JSON, which belongs to the room that owns the record.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_options: object) -> object:
        """Stand in for `typing.dataclass_transform`, which would cost the import of typing."""
        return lambda decorator: decorator


@dataclass_transform(frozen_default=True, eq_default=True)
def record(cls: type[T]) -> type[T]:
    """Return `cls` as a frozen class with slots, made from its own annotations.

    Defaults must be immutable; fields without one come first. A method named `__post_init__` is
    called once all fields are set. Inheritance from another record is not supported.
    """
    fields = tuple(cls.__annotations__)
    body = {name: value for name, value in vars(cls).items() if name not in fields}
    defaults = {name: vars(cls)[name] for name in fields if name in vars(cls)}
    for stale in ("__dict__", "__weakref__"):
        body.pop(stale, None)
    body |= {
        "__slots__": fields,
        "__match_args__": fields,
        "__field_defaults__": defaults,
        "__init__": _initialiser(cls.__name__, fields, defaults, hasattr(cls, "__post_init__")),
        "__setattr__": _refuse_change,
        "__delattr__": _refuse_change,
        "__eq__": _equal,
        "__hash__": _hash,
    }
    body.setdefault("__repr__", _represent)
    metaclass: Any = type(cls)
    made: type[T] = metaclass(cls.__name__, cls.__bases__, body)
    return made


def replace(instance: T, **changes: Any) -> T:
    """Return a copy of a record with some fields changed."""
    return type(instance)(**(dict(_items(instance)) | changes))


def as_dict(instance: object) -> dict[str, Any]:
    """Return the fields of a record by name; nested records stay records."""
    return dict(_items(instance))


def field_defaults(cls: type[object]) -> dict[str, Any]:
    """Return the defaults of a record's fields by name, without those that have none."""
    found: dict[str, Any] = vars(cls)["__field_defaults__"]
    return found


def _initialiser(
    name: str, fields: tuple[str, ...], defaults: dict[str, Any], post_init: bool
) -> Any:
    count = len(fields)
    known = frozenset(fields)
    store = object.__setattr__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 -- it becomes one
        if len(args) == count and not kwargs:
            # The plan makes a thousand of these; by position they cost a third.
            for field, value in zip(fields, args, strict=True):
                store(self, field, value)
            if post_init:
                self.__post_init__()
            return
        if len(args) > count:
            message = f"{name} takes {count} fields, not {len(args)}"
            raise TypeError(message)
        values = defaults | kwargs
        for field, value in zip(fields, args, strict=False):
            if field in kwargs:
                message = f"{name} got two values for {field}"
                raise TypeError(message)
            values[field] = value
        if len(values) != count or not known.issuperset(values):
            missing = ", ".join(sorted(known - values.keys()))
            unknown = ", ".join(sorted(values.keys() - known))
            message = f"{name}: missing fields [{missing}], unknown fields [{unknown}]"
            raise TypeError(message)
        for field in fields:
            store(self, field, values[field])
        if post_init:
            self.__post_init__()

    return __init__


def _items(instance: Any) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(instance, name)) for name in type(instance).__slots__)


def _refuse_change(self: object, name: str, _value: object = None) -> None:
    message = f"{type(self).__name__}.{name} cannot change: records are frozen"
    raise AttributeError(message)


def _equal(self: Any, other: object) -> bool:
    if type(other) is not type(self):
        return NotImplemented  # type: ignore[no-any-return]
    same: bool = all(value == getattr(other, name) for name, value in _items(self))
    return same


def _hash(self: Any) -> int:
    return hash((type(self), *(value for _, value in _items(self))))


def _represent(self: Any) -> str:
    inner = ", ".join(f"{name}={value!r}" for name, value in _items(self))
    return f"{type(self).__name__}({inner})"
