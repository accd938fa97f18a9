"""A helper process that mounts overlays in a mount namespace of its own, and changes files there.

    with OverlayHost(rootless=False) as host:
        before, after = host.play(directory, setup, actions)

Started as a program it is the helper: one JSON request per line on standard input, one answer per
line on standard output. Actions are lists of words; one that the kernel refuses is left out, so
that sequences can be drawn at random. The path `@7` is one of those that exist at that moment,
`@7/name` a name in or beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

# Path ("." is the root) -> kind and content; mode, owner and attributes; times.
Snapshot = dict[str, tuple[Any, Any, int]]

ROOTFUL = "redirect_dir=on,metacopy=on,index=on"
ROOTLESS = "userxattr"
# As spans are mounted, see filesystem.layers.stack_options.
STACKED = "redirect_dir=on,metacopy=on,index=off,volatile"
STACKED_ROOTLESS = "userxattr,volatile"


class OverlayHost:
    """The helper process; `rootless` gives it a user namespace too."""

    def __init__(self, *, rootless: bool) -> None:
        self.rootless = rootless
        options = ["--user", "--map-root-user"] if rootless else []
        command = ["unshare", *options, "--mount", "--propagation", "private"]
        self._process = subprocess.Popen(
            [*command, sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        # Before that it has another name, by which it would be a leak of the first test.
        self.act("/", [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)

    @property
    def prefix(self) -> str:
        """The prefix of the overlay's extended attributes."""
        return "user.overlay." if self.rootless else "trusted.overlay."

    def mount(self, directory: str, *, index: bool = True) -> None:
        """Mount `merged` in `directory` from its `lower`, `upper` and `work`."""
        options = ROOTLESS if self.rootless else ROOTFUL
        if not index:
            options = options.replace("index=on", "index=off")
        self._ask({"do": "mount", "directory": directory, "options": options})

    def stack(self, directory: str, number: int) -> None:
        """Mount `merged` with `upper<number>` over those of smaller numbers and `lower`."""
        options = STACKED_ROOTLESS if self.rootless else STACKED
        request = {"do": "mount", "directory": directory, "options": options, "number": number}
        self._ask(request)

    def show(self, directory: str, below: list[str]) -> None:
        """Mount `merged` from these directories, the topmost first, to be read only."""
        options = STACKED_ROOTLESS if self.rootless else STACKED
        options = ",".join(word for word in options.split(",") if word != "volatile")
        request = {"do": "mount", "directory": directory, "options": options, "below": below}
        self._ask(request)

    def over(self, directory: str, layer: str, below: list[str]) -> None:
        """Mount `merged` with `upper` and `work` of a layer over these directories.

        As a span is mounted; all names are relative, and the topmost of those below comes first.
        """
        options = STACKED_ROOTLESS if self.rootless else STACKED
        names = f"lowerdir={':'.join(below)},upperdir={layer}/upper,workdir={layer}/work"
        request = {"do": "mount", "directory": directory, "options": f"{names},{options}"}
        self._ask(request | {"whole": True})

    def unmount(self, directory: str) -> None:
        """Unmount `merged`."""
        self._ask({"do": "unmount", "directory": directory})

    def act(self, root: str, actions: list[list[Any]]) -> None:
        """Do the actions below `root`."""
        self._ask({"do": "act", "root": root, "actions": actions})

    def snapshot(self, root: str) -> Snapshot:
        """Walk the tree at `root`."""
        found = self._ask({"do": "snapshot", "root": root})
        return {path: (content, metadata, times) for path, content, metadata, times in found}

    def links(self, root: str) -> set[frozenset[str]]:
        """Return the names of each file below `root` that has several."""
        return {frozenset(names) for names in self._ask({"do": "links", "root": root})}

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]


# --- in the helper ---------------------------------------------------------------------------


def _open_and_write(path: str, text: str, flags: int) -> None:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _truncate(path: str, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _replace_by_folder(path: str) -> None:
    _remove(path)
    os.mkdir(path)


def _replace_by_file(path: str, text: str) -> None:
    _remove(path)
    _open_and_write(path, text, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def _chmod(path: str, mode: int) -> None:
    # chmod follows links; the target may be outside the tree.
    if not os.path.islink(path):
        os.chmod(path, mode)


def _move(path: str, other: str) -> None:
    shutil.move(path, other, copy_function=_copy)


def _copy(path: str, other: str) -> None:
    """Copy a file as mv(1) would: what is read from a device like /dev/zero has no end."""
    status = os.lstat(path)
    if stat.S_ISCHR(status.st_mode):
        os.mknod(other, status.st_mode, status.st_rdev)
    else:
        shutil.copy2(path, other, follow_symlinks=False)


def _exchange(path: str, other: str) -> None:
    aside = path + "~"
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)


ACTIONS: dict[str, Callable[..., object]] = {
    "write": lambda p, text: _open_and_write(p, text, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    "append": lambda p, text: _open_and_write(p, text, os.O_WRONLY | os.O_APPEND),
    "open": lambda p: _open_and_write(p, "", os.O_RDWR),
    "truncate": _truncate,
    "mkdir": os.mkdir,
    "remove": _remove,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "rename": os.rename,
    "move": _move,
    "exchange": _exchange,
    "chmod": _chmod,
    "chown": lambda p, uid, gid: os.chown(p, uid, gid, follow_symlinks=False),
    "symlink": lambda p, target: os.symlink(target, p),
    "link": lambda p, new: os.link(p, new, follow_symlinks=False),
    "mkfifo": os.mkfifo,
    "mknod": lambda p, minor: os.mknod(p, 0o644 | stat.S_IFCHR, os.makedev(1, minor)),
    "setxattr": lambda p, key, text: os.setxattr(p, key, text.encode(), follow_symlinks=False),
    "removexattr": lambda p, key: os.removexattr(p, key, follow_symlinks=False),
    "touch": lambda p, seconds: os.utime(p, (seconds, seconds), follow_symlinks=False),
    "folder": _replace_by_folder,
    "file": _replace_by_file,
}
# These take a second path.
TWO_PATHS = ("rename", "move", "exchange", "link")


def _existing(root: str) -> list[str]:
    """Return every path below the root, but not the root."""
    found: list[str] = []
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for name in sorted(os.listdir(root + folder)):
            path = f"{folder}/{name}"
            found.append(path[1:])
            if os.path.isdir(root + path) and not os.path.islink(root + path):
                waiting.append(path)
    return found


def _resolve(root: str, path: str) -> str:
    if not path.startswith("@"):
        return f"{root}/{path}"
    number, _, name = path[1:].partition("/")
    existing = _existing(root)
    if not existing:
        return f"{root}/{name or 'a'}"
    chosen = f"{root}/{existing[int(number) % len(existing)]}"
    if not name:
        return chosen
    if os.path.isdir(chosen) and not os.path.islink(chosen):
        return f"{chosen}/{name}"
    return f"{os.path.dirname(chosen)}/{name}"


def _act(root: str, actions: list[list[Any]]) -> None:
    for word, path, *rest in actions:
        if word in TWO_PATHS:
            rest[0] = _resolve(root, rest[0])
        # What the kernel refuses is no change; shutil.Error: into itself, or already there.
        with contextlib.suppress(OSError, shutil.Error):
            ACTIONS[word](_resolve(root, path), *rest)


def _snapshot(root: str) -> list[tuple[str, Any, Any, int]]:
    found: list[tuple[str, Any, Any, int]] = []
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        whole = os.path.join(root, path)
        status = os.lstat(whole)
        content: list[Any] = [stat.S_IFMT(status.st_mode)]
        if stat.S_ISDIR(status.st_mode):
            waiting += [f"{path}/{name}" if path != "." else name for name in os.listdir(whole)]
        elif stat.S_ISREG(status.st_mode):
            with open(whole, "rb") as stream:
                content.append(hashlib.sha256(stream.read()).hexdigest())
        elif stat.S_ISLNK(status.st_mode):
            content.append(os.readlink(whole))
        else:
            content.append(status.st_rdev)
        attributes = {
            key: os.getxattr(whole, key, follow_symlinks=False).hex()
            for key in os.listxattr(whole, follow_symlinks=False)
        }
        metadata = [stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, attributes]
        found.append((path, content, metadata, status.st_mtime_ns))
    return found


def _links(root: str) -> list[list[str]]:
    names: dict[tuple[int, int], list[str]] = {}
    for path in _existing(root):
        status = os.lstat(f"{root}/{path}")
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
    return [group for group in names.values() if len(group) > 1]


def _layers(number: int, shown: list[str]) -> str:
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    if number:
        below = ":".join([*(f"upper{one}" for one in range(number - 1, 0, -1)), "lower"])
        layers = f"lowerdir={below},upperdir=upper{number},workdir=work{number}"
    if shown:
        layers = "lowerdir=" + ":".join(shown)
    return layers


def _mount(directory: str, options: str) -> None:
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, "merged"],
        cwd=directory,
        check=True,
    )


def _unmount(directory: str) -> None:
    subprocess.run(["umount", directory + "/merged"], check=True)


def _serve(request: dict[str, Any]) -> Any:
    if request["do"] == "mount":
        number, shown = request.get("number", 0), request.get("below", [])
        options = request["options"]
        if not request.get("whole"):
            options = f"{_layers(number, shown)},{options}"
        return _mount(request["directory"], options)
    if request["do"] == "unmount":
        return _unmount(request["directory"])
    if request["do"] == "act":
        return _act(request["root"], request["actions"])
    if request["do"] == "links":
        return _links(request["root"])
    return _snapshot(request["root"])


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        try:
            answer = {"result": _serve(json.loads(line))}
        except (OSError, subprocess.SubprocessError) as error:
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
