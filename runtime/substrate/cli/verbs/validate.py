"""`validate`."""

from __future__ import annotations

from substrate import jsontext
from substrate.bundle.load import validate_bundle
from substrate.cli.requests import bundle_directory
from substrate.cli.terminal import write
from substrate.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    directory = bundle_directory(arguments)
    problems = validate_bundle(directory)
    if arguments.flag("json"):
        write(jsontext.dumps({"bundle": directory, "problems": problems}, 2) + "\n")
        return BundleError.status if problems else 0
    if problems:
        raise BundleError(problems)
    write(f"{directory}/config.json is valid\n")
    return 0
