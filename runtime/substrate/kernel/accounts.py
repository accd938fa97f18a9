"""Where a user's own files are."""

from __future__ import annotations

import os

from substrate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def home_of(environment: Mapping[str, str]) -> str:
    """Return the home directory that an environment names, else that of the account.

    Raises `UsageError` when there is neither.
    """
    if home := environment.get("HOME"):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        message = f"uid {os.geteuid()} has no home directory"
        raise UsageError(message, "set HOME, or SUBSTRATE_HOME") from None
