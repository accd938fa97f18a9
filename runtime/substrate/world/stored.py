"""The configuration a world was made with, as it was then."""

from __future__ import annotations

from substrate import jsontext
from substrate.errors import SubstrateError
from substrate.world.store import CONFIG_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.bundle.model import Config
    from substrate.world.store import World


def stored_config(world: World) -> Config:
    """Return the configuration. Raises `SubstrateError` when it is gone."""
    from substrate.bundle.model import parse_config

    return parse_config(read_stored(world))


def has_hooks(world: World) -> bool:
    """Whether the configuration has any hook; cheaper than reading it into records."""
    hooks: dict[str, Any] = read_stored(world).get("hooks") or {}
    return any(hooks.values())


def read_stored(world: World) -> dict[str, Any]:
    """Return the configuration as JSON. Raises `SubstrateError` when it is gone."""
    raw = world.read_file(CONFIG_FILE)
    if raw is None:
        message = f"{world.path}/{CONFIG_FILE} is gone"
        raise SubstrateError(message, f"substrate-runtime delete --force {world.world_id}")
    data: dict[str, Any] = jsontext.loads(raw)
    return data
