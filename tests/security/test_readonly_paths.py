"""What of a project is read-only for a world cannot be changed by it, whatever it tries."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import rootless
from tests.support.features import TEST_USER, requires
from tests.support.runtime import ROOT
from tests.support.sessions import NEEDED, PROGRAM, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)

POLICY = 'fs:\n  readonly: ["LICENSE", "conf/deep/keys", "later.txt", "**/*.lock"]\n'
FILES = {
    "LICENSE": "mine\n", "conf/deep/keys/a": "key\n", "conf/deep/free": "free\n",
    "conf/other": "other\n", "pkg/x.lock": "locked\n", "twin": "",
}  # fmt: skip


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place(FILES) as made:
        (made.project / "twin").unlink()
        (made.project / "twin").hardlink_to(made.project / "LICENSE")
        made.write_policy(POLICY)
        yield made


ATTACKS = {
    "writing": "echo x > LICENSE",
    "appending": "echo x >> conf/deep/keys/a",
    "truncating": ": > pkg/x.lock",
    "a new file in it": "touch conf/deep/keys/new",
    "removing": "rm -f LICENSE",
    "removing what is in it": "rm -rf conf/deep/keys",
    "chmod": "chmod 777 LICENSE",
    "chown": "chown 1:1 conf/deep/keys",
    "touching": "touch -d 2001-01-01 LICENSE",
    "an attribute": "python3 -c 'import os; os.setxattr(\"LICENSE\", \"user.x\", b\"1\")'",
    "renaming it": "mv LICENSE elsewhere",
    "renaming over it": "echo x > new; mv -f new LICENSE",
    "exchanging": "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True);"
    ' open("new", "w").write("x"); assert l.renameat2(-100, b"new", -100, b"LICENSE", 2) == 0\'',
    "renaming the directory above": "mv conf/deep conf/moved",
    "renaming the one above that": "mv conf moved",
    "renaming where another stands then": "mv conf moved && mkdir -p conf/deep/keys",
    "removing the directory above": "rm -rf conf",
    "a link to write through": "ln LICENSE name && echo x > name",
    "a link in another directory": "ln conf/deep/keys/a conf/deep/b && echo x > conf/deep/b",
    "a link in its place": "ln -sf /etc/passwd LICENSE",
    "opening it by /proc": "exec 3< LICENSE; echo x > /proc/self/fd/3",
    "remounting": "mount -o remount,rw,bind LICENSE",
    "unmounting": "umount LICENSE || umount -l conf/deep/keys",
    "a user namespace": "unshare -Urm sh -c 'mount -o remount,rw,bind LICENSE; echo x > LICENSE'",
    "unmounting in one": "unshare -Urm sh -c 'umount LICENSE; umount -l conf; echo x > LICENSE'",
    "another view in one": "unshare -Urm sh -c 'mount --bind . /mnt && echo x > /mnt/LICENSE'",
    "an overlay in one": "unshare -Urm sh -c 'mount -t tmpfs t /tmp; mkdir /tmp/u /tmp/w;"
    " mount -t overlay -o lowerdir=$PWD,upperdir=/tmp/u,workdir=/tmp/w o . && cd . &&"
    " echo x > $PWD/LICENSE'",
}  # fmt: skip


def _shown(place: Place) -> str:
    """Return what the next command sees of what is protected."""
    look = (
        "stat -c '%n %a %u %Y %h' LICENSE conf/deep/keys conf/deep/keys/*;"
        " cat LICENSE conf/deep/keys/* pkg/x.lock"
    )
    done = place.call("-c", look)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_read_only_stays_as_it_is(place: Place) -> None:
    before = _shown(place)
    for number, (attack, command) in enumerate(ATTACKS.items()):
        ran = f"conf/deep/ran{number}"
        done = place.call("-c", f"{{ {command}; }}; status=$?; touch {ran}; exit $status")
        assert _shown(place) == before, attack
        if attack != "an overlay in one":
            assert done.returncode != 0, attack
        # The control: beside it everything can be changed, also in the directories above.
        assert f"+ {ran}\n" in place.call("diff").stdout, attack
    control = "touch conf/fresh; mv conf/fresh conf/moved && rm -f conf/deep/free && mv twin t"
    assert place.call("-c", control).returncode == 0
    assert (place.project / "LICENSE").read_text() == "mine\n"


@requires("rootless_user", "userns.unprivileged", "overlayfs.userxattr")
def test_it_stays_so_in_an_ordinary_user_s_world(place: Place) -> None:
    folder = place.project.parent
    folder.chmod(0o755)
    subprocess.run(["chown", "-R", f"{TEST_USER}:{TEST_USER}", str(folder)], check=True)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*rootless.prefix(ROOT), str(PROGRAM), *words], capture_output=True, text=True,
            cwd=place.project, env=place.environment | {"HOME": f"/var/lib/{TEST_USER}"},
            timeout=60, check=False,
        )  # fmt: skip

    for command in ATTACKS.values():
        call("-c", command)
        shown = call("-c", "cat LICENSE conf/deep/keys/*; ls conf/deep/keys; cat pkg/x.lock")
        assert shown.stdout == "mine\nkey\na\nlocked\n", (command, shown.stderr)
    assert call("-c", "mkdir -p conf/more && touch conf/more/fresh").returncode == 0
    call("end", "--force")


def test_several_commands_together_get_no_further(place: Place) -> None:
    before = _shown(place)
    for command in (
        "mkdir -p other/deep/keys; echo forged > other/deep/keys/a",
        "mv other conf", "rm -rf conf; mv other conf", "mv conf/deep conf/gone",
        "ln -s other link; mv -T link conf", "rmdir conf/deep/keys",
    ):  # fmt: skip
        place.call("-c", command)
        assert _shown(place) == before, command


def test_another_name_of_the_same_file_is_another_file_once_it_is_written(place: Place) -> None:
    assert place.call("-c", "echo x > twin").returncode == 0
    assert place.call("-c", "cat LICENSE twin").stdout == "mine\nx\n"


def test_what_came_later_is_accepted_with_an_explicit_yes_only(place: Place) -> None:
    assert place.call("-c", "echo new > later.txt; echo plain > plain.txt").returncode == 0
    assert "+ later.txt  ! read-only-in-the-world" in place.call("diff").stdout.replace("\x1b", "")
    refused = place.call("accept")
    assert refused.returncode == 5
    assert "later.txt: read-only-in-the-world" in refused.stderr
    assert not (place.project / "plain.txt").exists()
    assert place.call("accept", "--allow-risky").returncode == 0
    assert (place.project / "later.txt").read_text() == "new\n"


def test_what_a_policy_calls_risky_is_accepted_with_an_explicit_yes_only(place: Place) -> None:
    place.write_policy('fs:\n  risky: ["src/**/*.sql"]\n')
    assert place.call("-c", "mkdir -p src/a; echo drop > src/a/x.sql; echo y > y").returncode == 0
    assert place.call("accept").returncode == 5
    assert place.call("accept", "--risky", "src/a/x.sql").returncode == 0
    assert (place.project / "src/a/x.sql").exists()


def test_a_link_and_too_many_paths_are_refused_by_name(place: Place) -> None:
    (place.project / "link").symlink_to("LICENSE")
    place.write_policy('fs:\n  readonly: ["link"]\n')
    refused = place.call("-c", "true")
    assert (refused.returncode, "the link link" in refused.stderr) == (4, True)
    place.write_policy('fs:\n  readonly: ["many/*"]\n')
    (place.project / "many").mkdir()
    for number in range(300):
        (place.project / "many" / str(number)).touch()
    refused = place.call("-c", "true")
    assert (refused.returncode, "matches 300 paths" in refused.stderr) == (4, True)
    place.write_policy('fs:\n  readonly: ["many"]\n')
    assert place.call("-c", "echo x > many/7").returncode != 0
    told = json.loads(place.call("--json", "-c", "touch many/301; touch beside").stdout)
    assert told["fs_diff"]["writes"] == ["beside"]
