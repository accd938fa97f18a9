"""The system call filter of a bundle: which profile, compiled or from the cache."""

from __future__ import annotations

import os

from substrate.isolation.spec import Filter
from substrate.seccomp.cache import cached_filter
from substrate.world.context import prepare_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config
    from substrate.world.context import Context


# By the configuration, of which `stored_config` keeps as many: who runs many commands in one
# process looks each filter up once.
_MOST_FOUND = 16
_found: dict[int, tuple[Config, str, Filter | None]] = {}


def find_filter(context: Context, config: Config) -> Filter | None:
    """Return the compiled system call filter of a bundle, from the cache when it is there."""
    known = _found.get(id(config))
    if known is not None and known[0] is config and known[1] == context.cache:
        return known[2]
    found = _find(context, config)
    if len(_found) >= _MOST_FOUND:
        _found.clear()
    _found[id(config)] = (config, context.cache, found)
    return found


def _find(context: Context, config: Config) -> Filter | None:
    extension = config.substrate
    profile = config.linux.seccomp
    log_only = extension is not None and extension.seccomp.mode == "log"
    if profile is None and extension is not None and extension.seccomp.profile is not None:
        from substrate.seccomp.profiles import load_profile

        profile = load_profile(extension.seccomp.profile)
    if profile is None:
        return None
    prepare_directory(context.cache)
    compiled = cached_filter(profile, log_only, os.path.join(context.cache, "seccomp"))
    return Filter(compiled.bpf, compiled.flags)
