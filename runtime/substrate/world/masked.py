"""Whether a bundle hides, or makes read-only, parts of its project."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config


def is_masked(config: Config, at: str) -> bool:
    """Whether anything of a project shown at `at` is hidden from the world."""
    extension = config.substrate
    if extension is not None and extension.project is not None and extension.project.deny:
        return True
    return _is_inside(config.linux.masked_paths, at)


def is_partly_readonly(config: Config, at: str) -> bool:
    """Whether anything of a project shown at `at` is read-only in the world."""
    return _is_inside(config.linux.readonly_paths, at)


def _is_inside(paths: tuple[str, ...], at: str) -> bool:
    inside = at.rstrip("/") + "/"
    return any(path.startswith(inside) for path in paths)
