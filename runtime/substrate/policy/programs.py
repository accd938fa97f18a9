"""What is known of single programs' options: tables, and nothing but tables.

A program that is not here is read by the general rules, which lean towards stopping.
"""

from __future__ import annotations

# Options that mean the same: each leads to one of them.
SYNONYMS: dict[str, dict[str, str]] = {
    "rm": {"--recursive": "-r", "-R": "-r", "--force": "-f", "--dir": "-d"},
    "cp": {"--recursive": "-r", "-R": "-r", "--force": "-f", "--archive": "-a"},
    "mv": {"--force": "-f"},
    "ln": {"--force": "-f", "--symbolic": "-s"},
    "chmod": {"--recursive": "-R"},
    "chown": {"--recursive": "-R"},
    "chgrp": {"--recursive": "-R"},
    "shred": {"--force": "-f", "--remove": "-u"},
    "sed": {"--in-place": "-i"},
    "git": {"--force": "-f", "--delete": "-d", "--all": "-a"},
    "tar": {"--extract": "-x", "--get": "-x", "--create": "-c"},
    "curl": {"--upload-file": "-T", "--data": "-d", "--output": "-o"},
    "wget": {"--output-document": "-O"},
    "make": {"--always-make": "-B"},
    "docker": {"--volume": "-v"},
    "podman": {"--volume": "-v"},
    "systemctl": {"--force": "-f"},
    "kill": {"--signal": "-s"},
}

# Programs none of whose options take the next word as their value.
NO_VALUES = frozenset(("rm", "rmdir", "chown", "chmod", "chgrp"))

# Options that surely do. What follows any other option may be its value or an operand.
OPTION_VALUES: dict[str, frozenset[str]] = {
    "git": frozenset(
        ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env")
    ),
}

# Programs whose options are whole words behind one dash.
WHOLE_WORD_OPTIONS = frozenset(
    (
        *("find", "java", "javac", "terraform", "tofu", "openssl", "ffmpeg", "gcc", "g++", "clang"),
        *("convert", "magick", "xterm", "go", "qemu-system-x86_64"),
    )
)
