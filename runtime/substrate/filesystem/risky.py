"""Which changes can run code or reach outside later, after the person has accepted them.

A command may write these in its world; they are marked so that accepting them is a decision.
Names are compared without regard to case: marking one too many does no harm.
"""

from __future__ import annotations

import os.path
import stat

GIT_HOOK = "git-hook"
GIT_CONFIG = "git-config"
GIT_FOLDER = "git-folder"
SHELL_START = "shell-start-file"
CI = "ci-configuration"
EDITOR = "editor-or-tool-runs-it"
POLICY = "policy"
SETUID = "setuid"
SETGID = "setgid"
CAPABILITIES = "file-capabilities"
LINK_OUTSIDE = "symlink-leaves-project"
DEVICE = "device-node"
DENIED = "denied-to-the-world"
# Named by the bundle, or by the policy the world was made with: see `named.py`.
NAMED = "named-risky"
READ_ONLY = "read-only-in-the-world"
ISOLATED = "isolated-command"

_SHELL_FILES = (
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases"),
    *(".profile", ".login", ".logout", ".kshrc", ".mkshrc", ".cshrc", ".tcshrc", ".inputrc"),
    *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", "config.fish"),
    *(".xprofile", ".xinitrc", ".xsession", ".xsessionrc", ".pam_environment"),
)
_CI_FILES = (
    *(".gitlab-ci.yml", ".travis.yml", ".cirrus.yml", ".drone.yml", ".woodpecker.yml"),
    *(".appveyor.yml", "appveyor.yml", "jenkinsfile", "azure-pipelines.yml"),
    *("bitbucket-pipelines.yml", "cloudbuild.yaml", "buildspec.yml"),
)
_TOOL_FILES = (
    *(".envrc", ".direnvrc", ".mise.toml", ".vimrc", ".exrc", ".nvimrc", ".nvim.lua"),
    *(".dir-locals.el", ".gdbinit", ".lldbinit", ".npmrc", ".yarnrc.yml", ".mcp.json"),
    "sitecustomize.py",
)
# The last name of a path.
_NAMES = {
    ".gitmodules": GIT_CONFIG,
    ".gitconfig": GIT_CONFIG,
    ".gitattributes": GIT_CONFIG,
    ".pre-commit-config.yaml": GIT_HOOK,
    **dict.fromkeys(_SHELL_FILES, SHELL_START),
    **dict.fromkeys(_CI_FILES, CI),
    **dict.fromkeys(_TOOL_FILES, EDITOR),
}
# A directory, as the names that lead to it, wherever it is in the project: all in it counts.
_FOLDERS = (
    ((".github", "workflows"), CI),
    ((".github", "actions"), CI),
    ((".circleci",), CI),
    ((".buildkite",), CI),
    ((".woodpecker",), CI),
    ((".forgejo",), CI),
    ((".gitea",), CI),
    ((".husky",), GIT_HOOK),
    ((".githooks",), GIT_HOOK),
    ((".vscode",), EDITOR),
    ((".idea",), EDITOR),
    ((".devcontainer",), EDITOR),
    ((".direnv",), EDITOR),
    ((".claude",), EDITOR),
    ((".cursor",), EDITOR),
    ((".config", "git"), GIT_CONFIG),
    ((".substrate",), POLICY),
)
_FOLDER_STARTS = frozenset(names[0] for names, _ in _FOLDERS)
# Inside a `.git` directory: files that make git run something or read from elsewhere.
_GIT_FILES = frozenset(
    ("config", "config.worktree", "attributes", "alternates", "commondir", "gitdir")
)


def risky_reasons(path: str, kind: str, mode: int, target: str = "") -> tuple[str, ...]:
    """Return why accepting a change at `path` deserves a look; empty for most.

    `target` is where a symbolic link points. Capabilities of files are `diff.py`'s to add: they
    are not in the mode.
    """
    reasons: list[str] = []
    names = path.lower().split("/")
    by_name = _NAMES.get(names[-1])
    if by_name is not None:
        reasons.append(by_name)
    if ".git" in names:
        reasons += _in_git(names, kind)
    if not _FOLDER_STARTS.isdisjoint(names):
        reasons += [reason for folder, reason in _FOLDERS if _leads_through(names, folder)]
    if kind not in {"dir", "symlink"}:
        if mode & stat.S_ISUID:
            reasons.append(SETUID)
        if mode & stat.S_ISGID and mode & stat.S_IXGRP:
            reasons.append(SETGID)
    if kind in {"chardev", "blockdev"}:
        reasons.append(DEVICE)
    if kind == "symlink" and leaves_project(path, target):
        reasons.append(LINK_OUTSIDE)
    return tuple(dict.fromkeys(reasons)) if reasons else ()


def leaves_project(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` may lead out of the project.

    Decided from the text alone. An absolute target counts as leaving, and so does `..` after a
    name: that name may be a link itself, and then nobody can say where `..` leads.
    """
    if target.startswith("/"):
        return True
    names = [name for name in target.split("/") if name not in {"", "."}]
    ups = 0
    while ups < len(names) and names[ups] == "..":
        ups += 1
    depth = len(os.path.dirname(path).split("/")) if "/" in path else 0
    return ups > depth or ".." in names[ups:]


def _in_git(names: list[str], kind: str) -> list[str]:
    inside = names[names.index(".git") + 1 :]
    if not inside:
        # A `.git` that is a file or a link sends git to another directory, with its own hooks.
        return [GIT_FOLDER if kind == "dir" else GIT_CONFIG]
    if "hooks" in inside:
        return [GIT_HOOK]
    return [GIT_CONFIG] if inside[-1] in _GIT_FILES else []


def _leads_through(names: list[str], folder: tuple[str, ...]) -> bool:
    length = len(folder)
    return any(
        tuple(names[start : start + length]) == folder for start in range(len(names) - length + 1)
    )
