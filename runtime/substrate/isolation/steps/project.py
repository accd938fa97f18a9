"""The project directory in the world: an overlay whose layers are outside the world's reach."""

from __future__ import annotations

from substrate.bundle.mount_options import MountOptions
from substrate.filesystem.layers import Layer, overlay_options
from substrate.isolation.steps.mounts import BindMount, new_filesystem
from substrate.kernel.constants import MountAttr, O
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.isolation.spec import ResolvedProject

# Where the two directories of an overlay are put for it to find them: above whatever a plan opens,
# below the usual limit of 1,024.
_LOWER_FD, _LAYER_FD = 1000, 1001
AN_OVERLAY = "(an overlay)"
PROJECT_ATTRIBUTES = MountAttr.NOSUID | MountAttr.NODEV


@record
class ProjectOverlay:
    """Show the project at its place: its layers over it, itself, or itself read-only."""

    project: ResolvedProject
    rootful: bool
    from_runtime: bool

    def describe(self) -> str:
        """Say what the step does."""
        how = {"layers": AN_OVERLAY, "live": "(writable)", "readonly": "(read-only)"}
        word = how[self.project.write] if self.project.copy is None else "(a copy)"
        return f"show {self.project.path} on {self.project.at} {word}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        project = self.project
        if project.bound is not None or project.layer is None:
            source, options = project.bound or project.path, project_options(project)
            name = "project" if self.from_runtime else None
            BindMount(source, project.at, options, is_directory=True, name=name).lower(out)
            return
        tree = out.plan.cell("mount:project") if self.from_runtime else out.new_cell("project")
        if not self.from_runtime:
            lower = pinned(out, project.path, _LOWER_FD)
            layer = layer_of(lower, pinned(out, project.layer, _LAYER_FD), rootful=self.rootful)
            data = overlay_options(layer)
            new_filesystem(out, "overlay", None, data, tree, PROJECT_ATTRIBUTES)
        out.attach(tree, project.at)
        out.close(tree)


def project_options(project: ResolvedProject) -> MountOptions:
    """Return the attributes of a project that is bound instead of layered."""
    readonly = MountAttr.RDONLY if project.write == "readonly" else 0
    return MountOptions(recursive_set=PROJECT_ATTRIBUTES | readonly, bind=True, recursive_bind=True)


def layer_of(lower: str, directory: str, *, rootful: bool) -> Layer:
    """Return the layer in a directory, over a project."""
    return Layer(f"{directory}/upper", f"{directory}/work", lower, lower, not rootful)


def pinned(out: Lowering, path: str, number: int) -> str:
    """Open a directory of the host under a fixed number and return a name for it.

    The path itself cannot be an overlay's option everywhere: before Linux 6.5 none may hold a
    comma, and no character of it can be taken for an option's this way.
    """
    opened = out.new_cell(path)
    out.open_path(path, store=opened)
    out.plan.call("dup3", opened, number, O.CLOEXEC)
    out.close(opened)
    return f"/proc/self/fd/{number}"
