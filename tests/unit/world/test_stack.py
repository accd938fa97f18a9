"""The stack on disk: names are the record, and every interruption leaves one that counts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from substrate.errors import SubstrateError, UsageError, WorldNotFoundError, WorldStateError
from substrate.world.accepted import highest_accepted
from substrate.world.stack import BASE_LAYER, LayerStack, SpanLayer, check_span_id, read_layers
from substrate.world.state import Layer


@pytest.fixture
def stack(tmp_path: Path) -> LayerStack:
    data, project = tmp_path / "data", tmp_path / "project"
    for path in (data / "layer/upper", data / "layer/work", project):
        path.mkdir(parents=True)
    layer = Layer(str(project), "/work", str(data / "layer"), userxattr=True)
    return LayerStack(layer, str(data))


def push(stack: LayerStack, *span_ids: str) -> list[SpanLayer]:
    layers = stack.layers()
    for span_id in span_ids:
        layers.append(stack.push(span_id, layers))
    return layers


def test_layers_are_in_the_order_in_which_they_were_pushed(stack: LayerStack) -> None:
    with stack:
        made = push(stack, *(f"s{number}" for number in range(12)))
        assert stack.layers() == made
    assert [layer.number for layer in read_layers(stack.data)] == list(range(1, 13))


def test_root_of_a_new_layer_is_like_the_one_below(stack: LayerStack) -> None:
    with stack:
        layers = push(stack, "s1")
        upper = Path(stack.path(layers[0]), "upper")
        upper.chmod(0o1775)
        os.utime(upper, ns=(1, 2))
        layers = push(stack, "s2")
        status = Path(stack.path(layers[1]), "upper").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o1775, 2)


def test_an_empty_layer_is_told_from_one_with_changes(stack: LayerStack) -> None:
    with stack:
        one, two = push(stack, "s1", "s2")
        assert stack.is_empty(one, BASE_LAYER)
        assert stack.is_empty(BASE_LAYER, None)
        Path(stack.path(two), "upper/file").touch()
        assert not stack.is_empty(two, one)
        Path(stack.path(one), "upper").chmod(0o700)
        assert not stack.is_empty(one, BASE_LAYER)


def test_what_an_idle_span_leaves_is_used_again(stack: LayerStack) -> None:
    with stack:
        (one,) = push(stack, "s1")
        inode = os.stat(stack.path(one)).st_ino
        volatile = Path(stack.path(one), "work/work/incompat/volatile")
        volatile.mkdir(parents=True)
        (volatile / "dirty").touch()
        stack.spare(one)
        assert stack.layers() == []
        (two,) = push(stack, "s2")
        assert os.stat(stack.path(two)).st_ino == inode
        assert os.listdir(f"{stack.path(two)}/work") == []


def test_a_torn_layer_is_no_layer_and_in_nobodys_way(stack: LayerStack) -> None:
    with stack:
        push(stack, "s1")
        Path(stack.data, "layers/.new/upper").mkdir(parents=True)
        Path(stack.data, "layers/.dropped-2/upper").mkdir(parents=True)
        assert [layer.span_id for layer in push(stack, "s2")] == ["s1", "s2"]
        assert sorted(path.name for path in Path(stack.data, "layers").glob("[.0-9]*")) == [
            ".dropped-2", "1.s1", "2.s2",
        ]  # fmt: skip
        stack.drop(SpanLayer(2, "s2"))
        assert os.listdir(f"{stack.data}/layers") == ["1.s1"]


def test_layers_that_were_made_one_count_no_more_even_if_they_are_left(stack: LayerStack) -> None:
    with stack:
        layers = push(stack, "s1", "s2", "s3")
        os.mkdir(f"{stack.data}/layers/2.squash-1")
        whole = SpanLayer(2, "squash-1")
        assert whole.first == 1
        assert read_layers(stack.data) == [whole, layers[2]]
        # Whoever holds the lock removes them.
        assert stack.layers() == [whole, layers[2]]
        assert sorted(os.listdir(f"{stack.data}/layers")) == ["2.squash-1", "3.s3"]


def test_layers_below_those_that_were_made_one_still_count(stack: LayerStack) -> None:
    for name in ("1.s1", "2.s2", "5.squash-3", "3.s3", "4.squash-3", "5.s5", "6.s6"):
        os.makedirs(f"{stack.data}/layers/{name}")
    names = ["1.s1", "2.s2", "5.squash-3", "6.s6"]
    with stack:
        assert [layer.name for layer in stack.layers()] == [f"layers/{name}" for name in names]
    assert sorted(os.listdir(f"{stack.data}/layers")) == names


def test_numbers_go_on_above_those_of_layers_that_may_come_back(stack: LayerStack) -> None:
    for place in ("1/layers/2.s2", "1/layers/.spare", "2/pieces", "3/layers/7.squash-3"):
        os.makedirs(f"{stack.data}/accept/undo/{place}")
    assert highest_accepted(stack.data) == 7
    with stack:
        assert [layer.number for layer in push(stack, "s8", "s9")] == [8, 9]


def test_nobody_has_a_stack_in_the_middle_of_a_change_but_who_completes_it(
    stack: LayerStack,
) -> None:
    for store in ("accept", "discard"):
        os.mkdir(f"{stack.data}/{store}")
        mark = Path(stack.data, store, "unfinished")
        mark.touch()
        with pytest.raises(WorldStateError, match="in the middle of an accept"):
            stack.__enter__()
        with LayerStack(stack.layer, stack.data, unfinished=True) as completing:
            assert completing.layers() == []
        mark.unlink()
    with stack:
        assert stack.layers() == []


@pytest.mark.parametrize("bad", ["", ".", "a.b", "a/b", "x" * 65, "é", "squash-1", "a b"])
def test_bad_ids_of_spans_are_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        check_span_id(bad)


def test_stack_of_a_world_that_is_gone_is_told_so(stack: LayerStack, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(WorldNotFoundError):
        stack.__enter__()


def test_no_space_for_a_layer_is_told_and_leaves_the_stack_as_it_was(
    stack: LayerStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack:
        layers = push(stack, "s1")

        def full(*_: object) -> None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", full)
            with pytest.raises(SubstrateError, match="quota exceeded"):
                stack.push("s2", layers)
        assert stack.layers() == layers
        assert stack.push("s2", layers).number == 2
