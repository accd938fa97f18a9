"""The list for the stage: which mounts of host files a world of root's is sent, in which order."""

from __future__ import annotations

from substrate.bundle.mount_options import MountOptions
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.hostview import READ_ONLY
from substrate.isolation.steps.project import project_options
from substrate.isolation.steps.staging import (
    NEVER,
    WHERE_POSSIBLE,
    PassIntoUserNamespace,
    ReturnMounts,
    SetStage,
    StageBind,
    StageLayers,
    StageOverlay,
    StageProject,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import ResolvedProject, WorldSpec

_WHOLE_TREE = MountOptions(bind=True, recursive_bind=True)


def staged_mounts(spec: WorldSpec) -> tuple[str, ...]:
    """Return the names the world's plan knows the mounts by, in the order they are sent."""
    if not spec.mounts_from_runtime:
        return ()
    names = [] if spec.root_path is None else ["root"]
    names += [str(number) for number, mount in enumerate(spec.mounts) if mount.kind == "bind"]
    if spec.project is not None:
        names.append("project")
    return tuple(names)


def stage_sequence(spec: WorldSpec) -> Iterator[Step]:
    """Yield the steps that make, lock and return the mounts `staged_mounts` names."""
    yield SetStage()
    yield from _binds(spec)
    count = len(staged_mounts(spec))
    if spec.project is not None:
        yield from _project(spec, spec.project, count - 1)
    yield PassIntoUserNamespace()
    yield ReturnMounts(count)


def stage_mounts(spec: WorldSpec, userns_fd: int, executor: str) -> tuple[list[int], list[str]]:
    """Return descriptors of the mounts, and the sources that could not be id-mapped.

    `userns_fd` is the world's user namespace. The caller closes the descriptors.
    """
    names = staged_mounts(spec)
    if not names:
        return [], []
    sources = [] if spec.root_path is None else [spec.root_path]
    sources += [mount.source for mount in spec.mounts if mount.kind == "bind"]
    talk = Conversation(compile_plan(stage_sequence(spec)), {"userns": userns_fd}, executor)
    try:
        fds, unmapped = talk.expect_mounts(len(names))
    finally:
        end(talk)
    return fds, [sources[number] for number in unmapped]


def _binds(spec: WorldSpec) -> Iterator[Step]:
    wish = WHERE_POSSIBLE if spec.identity is not None and spec.identity.idmapped else NEVER
    number = 0
    if spec.root_path is not None:
        yield StageBind(number, spec.root_path, _WHOLE_TREE, is_directory=True, id_maps=wish)
        number += 1
    for mount in spec.mounts:
        if mount.kind != "bind":
            continue
        # The host view keeps its owners, who are nobody's inside: shown as the world's own, uid 0
        # would read what only root may, such as /etc/ssl/private.
        maps = NEVER if mount.options is READ_ONLY else wish
        yield StageBind(number, mount.source, mount.options, mount.is_directory, maps)
        number += 1


def _project(spec: WorldSpec, project: ResolvedProject, number: int) -> Iterator[Step]:
    identity = spec.identity
    mapped = identity is not None and identity.idmapped
    if project.bound is not None or project.layer is None:
        # A copy belongs to the world's own ids outside.
        mapped = mapped and project.copy is None
        source = project.bound or project.path
        yield StageProject(number, source, project_options(project), mapped)
        return
    yield StageLayers(project.path, project.layer, mapped)
    if identity is None or not mapped:
        yield StageOverlay(number, project.path)
    else:
        owner, group = identity.uid_map[0].host_id, identity.gid_map[0].host_id
        yield StageOverlay(number, project.path, owner, group)
