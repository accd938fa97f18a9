from __future__ import annotations

import pytest

from substrate.record import as_dict, field_defaults, record, replace


@record
class Point:
    """A record with a default and a method."""

    x: int
    y: int = 2

    @property
    def sum(self) -> int:
        return self.x + self.y


@record
class Other:
    x: int
    y: int = 2


@record
class Checked:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            message = f"{self.low} > {self.high}"
            raise ValueError(message)


@record
class Shown:
    secret: str

    def __repr__(self) -> str:
        return "Shown(…)"


@record
class Empty:
    pass


def test_fields_are_taken_by_position_and_by_name() -> None:
    assert Point(1, 5) == Point(1, y=5) == Point(x=1, y=5)


def test_a_default_fills_in_for_a_field_not_given() -> None:
    assert Point(1).y == 2


def test_the_defaults_of_a_record_are_known() -> None:
    assert field_defaults(Point) == {"y": 2}
    assert field_defaults(Empty) == {}


def test_methods_and_docstring_stay() -> None:
    assert Point(1, 5).sum == 6
    assert Point.__doc__ == "A record with a default and a method."
    assert Point.__module__ == __name__
    assert Point.__qualname__ == "Point"


def test_a_record_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot change: records are frozen"):
        point.x = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x  # pyright: ignore[reportAttributeAccessIssue]
    assert point.x == 1


def test_a_record_has_no_room_for_anything_else() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(Point(1), "__dict__")


def test_equality_is_by_value_and_type() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    strangers: list[object] = [Other(1), (1, 2)]
    assert Point(1) not in strangers


def test_equal_records_hash_alike_and_types_differ() -> None:
    assert hash(Point(1)) == hash(Point(1, 2))
    assert {Point(1), Point(1, 2), Other(1)} == {Point(1), Other(1)}
    assert len({Point(1), Other(1)}) == 2


def test_a_record_of_something_unhashable_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point([]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_representation_names_the_fields() -> None:
    assert repr(Point(1, 5)) == "Point(x=1, y=5)"


def test_a_representation_of_ones_own_is_kept() -> None:
    assert repr(Shown("hunter2")) == "Shown(…)"


def test_post_init_sees_all_fields() -> None:
    assert Checked(1, 2).high == 2
    with pytest.raises(ValueError, match="2 > 1"):
        Checked(2, 1)


def test_a_record_without_fields_is_a_record() -> None:
    assert Empty() == Empty()
    assert repr(Empty()) == "Empty()"


def test_records_match_by_position() -> None:
    match Point(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)


def test_replace_changes_a_copy() -> None:
    point = Point(1, 5)
    assert replace(point, y=6) == Point(1, 6)
    assert point == Point(1, 5)


def test_replace_checks_again() -> None:
    with pytest.raises(ValueError, match="3 > 2"):
        replace(Checked(1, 2), low=3)


def test_replace_refuses_what_is_no_field() -> None:
    with pytest.raises(TypeError, match=r"unknown fields \[z\]"):
        replace(Point(1), z=3)


def test_as_dict_is_one_level_deep_and_in_order() -> None:
    inner = Point(1)
    assert list(as_dict(Checked(1, 2)).items()) == [("low", 1), ("high", 2)]
    assert as_dict(Point(inner))["x"] is inner  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match=r"Point: missing fields \[x\], unknown fields \[\]"):
        Point()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(TypeError, match=r"Point: missing fields \[\], unknown fields \[z\]"):
        Point(1, z=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_an_unknown_field_does_not_stand_in_for_a_missing_one() -> None:
    with pytest.raises(TypeError, match=r"missing fields \[x\], unknown fields \[z\]"):
        Point(z=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_too_many_values_are_refused() -> None:
    with pytest.raises(TypeError, match="Point takes 2 fields, not 3"):
        Point(1, 2, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_two_values_for_one_field_are_refused() -> None:
    with pytest.raises(TypeError, match="Point got two values for x"):
        Point(1, x=1)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
