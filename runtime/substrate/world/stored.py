"""The configuration a world was made with, as it was then."""

from __future__ import annotations

from substrate import jsontext
from substrate.errors import SubstrateError
from substrate.world.store import CONFIG_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.bundle.model import Config, DiffSettings
    from substrate.world.store import World

# By content: who runs many commands in one process reads each world's configuration into records
# once (0.6 ms). Records do not change.
_MOST_PARSED = 16
_parsed: dict[bytes, Config] = {}


def stored_config(world: World) -> Config:
    """Return the configuration. Raises `SubstrateError` when it is gone."""
    from substrate.bundle.model import parse_config

    raw = _read(world)
    config = _parsed.get(raw)
    if config is None:
        config = parse_config(jsontext.loads(raw))
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        _parsed[raw] = config
    return config


def diff_settings(config: Config) -> DiffSettings:
    """Return what a configuration says of diffs."""
    from substrate.bundle.model import DiffSettings

    return DiffSettings() if config.substrate is None else config.substrate.diff


def has_hooks(world: World) -> bool:
    """Whether the configuration has any hook; cheaper than reading it into records."""
    hooks: dict[str, Any] = read_stored(world).get("hooks") or {}
    return any(hooks.values())


def read_stored(world: World) -> dict[str, Any]:
    """Return the configuration as JSON. Raises `SubstrateError` when it is gone."""
    data: dict[str, Any] = jsontext.loads(_read(world))
    return data


def _read(world: World) -> bytes:
    raw = world.read_file(CONFIG_FILE)
    if raw is None:
        message = f"{world.path}/{CONFIG_FILE} is gone"
        raise SubstrateError(message, f"substrate-runtime delete --force {world.world_id}")
    return raw
