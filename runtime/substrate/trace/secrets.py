"""What a secret looks like: names of settings that hold one, and shapes of well-known tokens.

Only tables and their two look-ups; `redact.py` walks over a command with them. No regular
expressions: importing and compiling them costs more than all commands of a short session.
"""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALNUM = _DIGITS + _UPPER + _UPPER.lower()
_WORD = _ALNUM + "_"
_URL64 = _WORD + "-"
_LONGEST_TOKEN = 1 << 14


@record
class Shape:
    """Tokens that begin with `prefix` and go on with `least` or more characters of `alphabet`."""

    prefix: str
    alphabet: str
    least: int
    # What a word of that look needs besides, to be no ordinary one: a digit, or so many dots.
    digit: bool = False
    dots: int = 0


# From the issuers' documentation of their formats; a prefix alone is never a token.
SHAPES = (
    Shape("AKIA", _UPPER + _DIGITS, 16),  # Amazon: long-lived and temporary key ids
    Shape("ASIA", _UPPER + _DIGITS, 16),
    Shape("ghp_", _ALNUM, 30),  # GitHub: personal, OAuth, user-to-server, server, refresh
    Shape("gho_", _ALNUM, 30),
    Shape("ghu_", _ALNUM, 30),
    Shape("ghs_", _ALNUM, 30),
    Shape("ghr_", _ALNUM, 30),
    Shape("github_pat_", _WORD, 40),
    Shape("glpat-", _URL64 + ".", 18),  # GitLab: personal, runner, deploy, job, agent
    Shape("glrt-", _URL64 + ".", 18),
    Shape("gldt-", _URL64 + ".", 18),
    Shape("glcbt-", _URL64 + ".", 18),
    Shape("glptt-", _URL64 + ".", 18),
    Shape("xoxb-", _ALNUM + "-", 20),  # Slack
    Shape("xoxp-", _ALNUM + "-", 20),
    Shape("xoxa-", _ALNUM + "-", 20),
    Shape("xoxr-", _ALNUM + "-", 20),
    Shape("xoxs-", _ALNUM + "-", 20),
    Shape("xapp-", _ALNUM + "-", 20),
    Shape("sk-", _URL64, 20, digit=True),  # OpenAI, Anthropic and others
    Shape("sk_live_", _ALNUM, 16),  # Stripe
    Shape("sk_test_", _ALNUM, 16),
    Shape("rk_live_", _ALNUM, 16),
    Shape("whsec_", _ALNUM, 20),
    Shape("AIza", _URL64, 35),  # Google
    Shape("ya29.", _URL64, 20),
    Shape("GOCSPX-", _URL64, 20),
    Shape("npm_", _ALNUM, 30),  # package registries
    Shape("pypi-", _URL64, 40),
    Shape("rubygems_", _ALNUM, 40),
    Shape("dckr_pat_", _URL64, 20),
    Shape("hf_", _ALNUM, 30),  # Hugging Face
    Shape("SG.", _URL64 + ".", 40),  # SendGrid
    Shape("dop_v1_", _ALNUM, 40),  # DigitalOcean
    Shape("hvs.", _URL64, 20),  # HashiCorp Vault
    Shape("shpat_", _ALNUM, 30),  # Shopify
    Shape("tskey-", _URL64, 20),  # Tailscale
    Shape("AGE-SECRET-KEY-1", _UPPER + _DIGITS, 40),
    Shape("eyJ", _URL64 + ".", 30, dots=2),  # JSON Web Token
)

# Ends of names, compared without `-`, `_`, `.` and case, so that `--token-file`,
# `--password-stdin` and `--max-tokens` are not among them.
_ENDS = (
    "password", "passwd", "passphrase", "passwort", "secret", "token", "apikey", "secretkey",
    "accesskey", "accountkey", "sharedkey", "masterkey", "encryptionkey", "authkey", "credential",
    "credentials", "authorization", "dbpass", "userpass", "dbpwd", "userpwd", "mysqlpwd",
    "connectionstring", "sessionkey", "bearer", "npmauth", "basicauth",
)  # fmt: skip
_WHOLE = frozenset(("pass", "passw", "jwt", "cookie", "setcookie"))
_DROPPED = str.maketrans("", "", "-_.")

# Programs whose short options take a secret. GLUED: as in "-pSECRET"; "-p" alone makes some of
# them ask. SPACED: as in "-p SECRET".
GLUED = {
    "mysql": "p", "mysqldump": "p", "mysqladmin": "p", "mysqlimport": "p", "mysqlshow": "p",
    "mariadb": "p", "mariadb-dump": "p", "mariadb-admin": "p", "sshpass": "p", "7z": "p",
    "7za": "p", "7zz": "p", "zip": "P", "unzip": "P", "ldapsearch": "w", "ldapmodify": "w",
    "ldapadd": "w", "sqlcmd": "P",
}  # fmt: skip
SPACED = {
    "sshpass": "p", "zip": "P", "unzip": "P", "ldapsearch": "w", "ldapmodify": "w", "ldapadd": "w",
    "sqlcmd": "P", "redis-cli": "a", "mongo": "p", "mongosh": "p",
}  # fmt: skip
# "-p" is a port or a profile of these until they are told to log in.
LOGIN = {"docker": "p", "podman": "p", "az": "p", "helm": "p", "skopeo": "p", "buildah": "p"}
# The value is `user:secret`.
USER = {"curl": "u", "http": "a", "https": "a"}
USER_OPTIONS = frozenset(("--user", "--proxy-user"))
PROGRAMS = frozenset((*GLUED, *SPACED, *LOGIN, *USER))


def is_secret_name(name: str, more: tuple[str, ...] = ()) -> bool:
    """Whether a setting, option, variable or header of that name holds a secret.

    `more` are names that do besides; leading dashes do not count.
    """
    plain = name.translate(_DROPPED).lower()
    return plain.endswith(_ENDS) or plain in _WHOLE or (bool(more) and name.lstrip("-") in more)


def tokens(text: str, shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield where tokens of a shape are: the first character, and the one behind the last."""
    at = text.find(shape.prefix)
    while at >= 0:
        end = at + len(shape.prefix)
        # Inside a longer word it is no token: `disk-`, `task-`.
        if not at or not (text[at - 1].isalnum() or text[at - 1] == "_"):
            rest = text[end : end + _LONGEST_TOKEN]
            run = rest[: len(rest) - len(rest.lstrip(shape.alphabet))]
            end += len(run)
            if _is_token(run, shape):
                yield at, end
        # What failed here fails from any later character of the run, too.
        at = text.find(shape.prefix, end)


def _is_token(run: str, shape: Shape) -> bool:
    return (
        len(run) >= shape.least
        and run.count(".") >= shape.dots
        and (not shape.digit or any(character in _DIGITS for character in run))
    )
