"""Where policy files lie, and reading them by descriptor.

No link is followed at the place a file is expected: a link there would let whoever can make one
choose the policy. A file of the person or the machine that somebody else can write is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.digests import sha256_of
from substrate.errors import PolicyError, RefusedError
from substrate.kernel.accounts import home_of
from substrate.kernel.reading import read_at_most
from substrate.policy.provenance import GIVEN, PROJECT, SYSTEM, USER
from substrate.policy.yamltext import LARGEST_BYTES
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "policy.yaml"
PROJECT_FOLDER = ".substrate"
SYSTEM_FILE = "/etc/substrate/policy.yaml"

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


@record
class PolicyFile:
    """A policy file as it was read."""

    layer: str
    path: str
    text: bytes

    @property
    def digest(self) -> str:
        """The digest by which a person's policy trusts a project's."""
        return "sha256:" + sha256_of(self.text)


def read_policy_files(
    project: str | None, environment: Mapping[str, str], given: str | None = None
) -> tuple[PolicyFile, ...]:
    """Return the policy files that are there, weakest first.

    `given` is the one of `--policy`, which must be there. Raises `PolicyError`, `RefusedError`.
    """
    found = [_read_own(layer, path) for layer, path in own_places(environment)]
    if given is not None:
        file = _read_own(GIVEN, os.path.abspath(given))
        if file is None:
            raise PolicyError([f"{given}: no such file"], "name a policy file with --policy")
        found.append(file)
    if project is not None:
        found.append(_read_project(project))
    return tuple(file for file in found if file is not None)


def own_places(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return layer and path of the machine's and the person's file, there or not.

    With `SUBSTRATE_HOME` everything of Substrate's is below it, so the machine's file is not
    read.
    """
    if home := environment.get("SUBSTRATE_HOME"):
        return ((USER, os.path.join(os.path.abspath(home), "config", NAME)),)
    if os.geteuid() == 0:
        return ((SYSTEM, SYSTEM_FILE),)
    config = environment.get("XDG_CONFIG_HOME") or ""
    if not os.path.isabs(config):
        # Relative ones are to be ignored (XDG base directory specification).
        config = os.path.join(home_of(environment), ".config")
    return ((SYSTEM, SYSTEM_FILE), (USER, os.path.join(config, "substrate", NAME)))


def project_file(project: str) -> str:
    """Return where a project's policy file lies."""
    return os.path.join(project, PROJECT_FOLDER, NAME)


def _read_own(layer: str, path: str) -> PolicyFile | None:
    fd = _open(path, None, path)
    if fd is None:
        return None
    try:
        status = os.fstat(fd)
        owners = {0} if layer == SYSTEM else {0, os.geteuid()}
        if status.st_uid not in owners:
            message = f"{path} belongs to uid {status.st_uid}"
            raise RefusedError(message, f"chown {min(owners)} {path}")
        if status.st_mode & 0o022:
            raise RefusedError(f"{path} can be changed by other users", f"chmod go-w {path}")
        return PolicyFile(layer, path, _read(fd, path))
    finally:
        os.close(fd)


def _read_project(project: str) -> PolicyFile | None:
    path = project_file(project)
    folder = os.path.join(project, PROJECT_FOLDER)
    # The project's own path is the person's choice and may lead through links.
    try:
        project_fd = os.open(project, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PolicyError([f"{project}: {error.strerror}"]) from error
    try:
        folder_fd = _open(PROJECT_FOLDER, project_fd, folder, os.O_DIRECTORY)
    finally:
        os.close(project_fd)
    if folder_fd is None:
        return None
    try:
        fd = _open(NAME, folder_fd, path)
    finally:
        os.close(folder_fd)
    if fd is None:
        return None
    try:
        return PolicyFile(PROJECT, path, _read(fd, path))
    finally:
        os.close(fd)


def _open(name: str, directory_fd: int | None, path: str, flags: int = 0) -> int | None:
    """Open without following a link; None where nothing is."""
    try:
        return os.open(name, _OPEN | flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno == errno.ELOOP or (flags and os.path.islink(path)):
            message = f"{path} is a symbolic link: a policy is read where it lies"
            raise RefusedError(message, f"rm {path}, and put the file itself there") from error
        if error.errno == errno.ENOTDIR:
            # Something of another kind has the name: no policy, and nothing of ours.
            raise PolicyError([f"{path}: not a directory"]) from error
        raise PolicyError([f"{path}: cannot open: {error.strerror}"]) from error
    except ValueError as error:
        raise PolicyError([f"{path!r}: the path contains NUL"]) from error


def _read(fd: int, path: str) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise PolicyError([f"{path}: not a regular file"])
    text = read_at_most(fd, LARGEST_BYTES)
    if text is None:
        raise PolicyError([f"{path}: larger than {LARGEST_BYTES >> 10} KiB"])
    return text
