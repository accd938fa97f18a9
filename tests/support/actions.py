"""What a world may do to its project, at random: lists of actions for `OverlayHost.act`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# For properties that are tried on them, on the real kernel.
SETTINGS = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    report_multiple_bugs=False,
)
NAMES = ("a", "b", "c", "d", ".wh.a", "new\nline", "\udcff\udcfe", "x" * 255)
TEXTS = ("", "1", "one", "two", "x" * 5000)

names = st.sampled_from(NAMES[:4]) | st.sampled_from(NAMES)
there = st.integers(0, 30).map("@{}".format)
fresh = st.tuples(there, names).map("/".join) | names
paths = there | fresh
texts = st.sampled_from(TEXTS)
keys = st.sampled_from(("user.one", "user.two"))
# What only a world does: names the overlay must hide from its own.
forged = st.sampled_from(
    (
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "user.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
    )
)


def _action(
    word: str, where: st.SearchStrategy[str], *arguments: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.just(word), where, *arguments).map(list)


making = (
    _action("write", fresh, texts),
    _action("write", fresh, texts),
    _action("mkdir", fresh),
    _action("mkdir", fresh),
    _action("symlink", fresh, names),
    _action("link", there, fresh),
    _action("mkfifo", fresh),
    # Null, and one that nobody drives: a move between mounts copies what it reads from a device.
    _action("mknod", fresh, st.sampled_from((3, 12))),
    _action("truncate", there, st.sampled_from((0, 2, 70_000))),
    _action("setxattr", there, keys, texts),
    _action("chmod", there, st.sampled_from((0o600, 0o644, 0o755, 0o4755))),
)
changing = (
    *making,
    _action("write", there, texts),
    _action("append", there, texts),
    _action("open", there),
    _action("remove", there),
    _action("rmdir", there),
    _action("rename", there, fresh),
    _action("rename", there, fresh),
    _action("rename", there, paths),
    _action("move", there, fresh),
    _action("exchange", there, there),
    _action("chown", there, st.sampled_from((0, 1000)), st.sampled_from((0, 1000))),
    _action("removexattr", there, keys),
    _action("setxattr", there, forged, st.sampled_from(("y", "x", "/a", "../../etc", "b"))),
    _action("touch", there, st.sampled_from((1, 1_000_000_000))),
    _action("folder", there),
    _action("file", there, texts),
)
setups = st.lists(st.one_of(making), min_size=15, max_size=40)
sequences = st.lists(st.one_of(changing), min_size=5, max_size=25)
