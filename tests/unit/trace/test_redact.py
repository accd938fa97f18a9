from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.trace.redact import REDACTED, Rules, redact_argv, redact_text
from substrate.trace.secrets import SHAPES, is_secret_name
from tests.support.examples import examples

R = REDACTED
_JWT = f"eyJ{'hbGciOi' * 3}.{'eyJzdWI' * 3}.{'c2lnbmF' * 3}"
_GITHUB = "ghp_" + "a1B2" * 9

_SECRET: list[tuple[list[str], list[str]]] = [
    (["deploy", "--token=abc"], ["deploy", f"--token={R}"]),
    (["deploy", "--api-key", "abc"], ["deploy", "--api-key", R]),
    (["deploy", "--password", "-abcdef"], ["deploy", "--password", R]),
    (["env", "DB_PASSWORD=two words", "make"], ["env", f"DB_PASSWORD={R}", "make"]),
    (["java", "-Ddb.password=x y", "-jar", "a"], ["java", f"-Ddb.password={R}", "-jar", "a"]),
    (["mysql", "-psecret", "shop"], ["mysql", f"-p{R}", "shop"]),
    (["sudo", "/usr/bin/mysqldump", "-px"], ["sudo", "/usr/bin/mysqldump", f"-p{R}"]),
    (["sshpass", "-p", "x y", "ssh", "h"], ["sshpass", "-p", R, "ssh", "h"]),
    (["docker", "login", "-u", "me", "-p", "x"], ["docker", "login", "-u", "me", "-p", R]),
    (["curl", "-u", "me:x:y", "h"], ["curl", "-u", f"me:{R}", "h"]),
    (["curl", "-ume:x", "h"], ["curl", f"-ume:{R}", "h"]),
    (["curl", "--user", "me:x"], ["curl", "--user", f"me:{R}"]),
    (["curl", "-H", "Authorization: Bearer x"], ["curl", "-H", f"Authorization: {R}"]),
    (["curl", "-HPRIVATE-TOKEN: x", "h"], ["curl", f"-HPRIVATE-TOKEN: {R}", "h"]),
    (["curl", "-H", "Cookie: a=b; c=d"], ["curl", "-H", f"Cookie: {R}"]),
    (["curl", "-d", '{"password": "x", "a": 1}'], ["curl", "-d", f'{{"password": "{R}", "a": 1}}']),
    (["psql", "postgres://u:p@h/db"], ["psql", f"postgres://u:{R}@h/db"]),
    (["psql", "postgres://u:p/w@h/db"], ["psql", f"postgres://u:{R}@h/db"]),
    (["redis-cli", "-u", "redis://:x@h"], ["redis-cli", "-u", f"redis://:{R}@h"]),
    (["git", "clone", f"https://{_GITHUB}@github.com/a"], ["git", "clone", f"https://{R}@github.com/a"]),
    (["curl", "https://h/?a=1&token=x&b=2"], ["curl", f"https://h/?a=1&token={R}&b=2"]),
    (["mount", "-o", "user=a,password=x,uid=3"], ["mount", "-o", f"user=a,password={R},uid=3"]),
    (["echo", f"key {_GITHUB}, thanks"], ["echo", f"key {R}, thanks"]),
    (["aws", "AKIAIOSFODNN7EXAMPLE"], ["aws", R]),
    (["x", f"Bearer {_JWT}"], ["x", f"Bearer {R}"]),
    (
        ["sh", "-c", "TOKEN=x curl -H 'Authorization: Bearer y' h && mysql -px --password 'a b'"],
        ["sh", "-c", f"TOKEN={R} curl -H 'Authorization: {R}' h && mysql -p{R} --password '{R}'"],
    ),
    (["sh", "-c", "export PASSWORD=\"a \\\" b\"; go"], ["sh", "-c", f'export PASSWORD="{R}"; go']),
    (["sh", "-c", "PASSWORD=$'a' go"], ["sh", "-c", f"PASSWORD=$'{R}' go"]),
    (["ssh", "h", "mysql --password hunter2 db"], ["ssh", "h", f"mysql --password {R} db"]),
    (
        ["ssh-add", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n"],
        ["ssh-add", f"{R}\n"],
    ),
]  # fmt: skip

_HARMLESS = [
    ["ls", "-la", "--color=auto"],
    ["git", "commit", "-m", "fix token: handle expiry = done"],
    ["git", "-p", "log"],
    ["docker", "run", "-p", "80:80", "--rm", "x"],
    ["docker", "login", "--password-stdin"],
    ["mysql", "-p", "shop"],
    ["mysql", "-P", "3306"],
    ["deploy", "--password", "--verbose", "-v"],
    ["llm", "--max-tokens=100", "--tokenizer=x", "--token-file=/run/t"],
    ["env", "TOKENIZERS_PARALLELISM=false", "PWD=/x"],
    ["kubectl", "create", "secret", "generic", "x"],
    ["npm", "install", "https://h/@scope/pkg"],
    ["git", "clone", "ssh://git@github.com/a/b"],
    ["curl", "http://localhost:8080/a@b"],
    ["pip", "install", "sk-learn-contrib-with-a-long-name"],
    ["sh", "-c", "TOKEN=$TOKEN PASSWORD=$(cat f) SECRET=${S} make"],
    ["sh", "-c", "curl -H \"Authorization: Bearer $TOKEN\" h"],
    ["test", "$password", "==", "password==x"],
    ["mkdir", "-p", "a/b"],
    ["echo", "", "\udcff", "ü", "\n"],
]  # fmt: skip


@pytest.mark.parametrize(("argv", "shown"), _SECRET, ids=lambda argv: argv[-1][:30])
def test_the_value_of_a_secret_is_replaced_whole(argv: list[str], shown: list[str]) -> None:
    redacted, count = redact_argv(argv)
    assert list(redacted) == shown
    assert count == sum(word.count(R) for word in shown)


@pytest.mark.parametrize("argv", _HARMLESS, ids=lambda argv: " ".join(argv)[:40])
def test_words_without_a_secret_stay_as_they_are(argv: list[str]) -> None:
    assert redact_argv(argv) == (tuple(argv), 0)


@pytest.mark.parametrize("argv", [argv for argv, _ in _SECRET], ids=lambda argv: argv[-1][:30])
def test_what_is_redacted_stays_so_and_counts_no_more(argv: list[str]) -> None:
    shown, _ = redact_argv(argv)
    assert redact_argv(shown) == (shown, 0)


def test_a_typed_line_is_redacted_as_a_shell_reads_it() -> None:
    text = "API_TOKEN=abc make deploy && curl -u me:pw https://u:p@h --password x"
    shown, count = redact_text(text)
    assert count == 4
    assert shown == (f"API_TOKEN={R} make deploy && curl -u me:{R} https://u:{R}@h --password {R}")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.prefix)
def test_a_token_of_a_known_shape_is_found_in_any_word(shape: object) -> None:
    prefix, alphabet = shape.prefix, shape.alphabet  # type: ignore[attr-defined]
    token = prefix + (alphabet[-1] + alphabet[:1] + "2" * 30 + ".a.b") * 2
    token = "".join(c for c in token[len(prefix) :] if c in alphabet)
    word = f"({prefix}{token})"
    assert redact_argv(["x", word]) == (("x", f"({R})"), 1)
    assert redact_argv(["x", f"z{prefix}{token}"]) == (("x", f"z{prefix}{token}"), 0)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "--client-secret",
        "GITHUB_TOKEN",
        "aws_secret_access_key",
        "apiKey",
        "PGPASSWORD",
    ],
)
def test_names_of_secrets_in_any_spelling(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["", "key", "PWD", "token_file", "tokens", "path", "secrets_dir"])
def test_names_that_only_look_like_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_rules_add_names_values_and_patterns() -> None:
    rules = Rules(("licence",), ("hunter22",), (r"[0-9]{4}-[0-9]{4}",))
    argv = ["x", "--licence=a", "--licence", "b", "say-hunter22!", "card 1234-5678"]
    shown, count = redact_argv(argv, rules)
    assert list(shown) == ["x", f"--licence={R}", "--licence", R, f"say-{R}!", f"card {R}"]
    assert count == 4


def test_a_very_short_known_value_does_not_blank_the_command() -> None:
    assert redact_argv(["a", "banana"], Rules(values=("a", ""))) == (("a", "banana"), 0)


_PLAIN = st.text("abcdefghijklmnop /.+,0123456789\n\t'\"", max_size=40)


@settings(max_examples=examples(25))
@given(st.lists(_PLAIN, max_size=6))
def test_plain_words_pass_unchanged(argv: list[str]) -> None:
    assert redact_argv(argv) == (tuple(argv), 0)


@settings(max_examples=examples(25))
@given(st.lists(st.text(max_size=60), max_size=6))
def test_words_are_never_joined_split_or_reordered(argv: list[str]) -> None:
    shown, count = redact_argv(argv)
    assert len(shown) == len(argv)
    changed = [new for old, new in zip(argv, shown, strict=True) if old != new]
    assert all(REDACTED in word for word in changed)
    assert (count > 0) == bool(changed)


@settings(max_examples=examples(15))
@given(
    st.lists(_PLAIN, max_size=4),
    st.integers(0, 4),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
)
def test_only_the_word_with_the_secret_changes(words: list[str], at: int, secret: str) -> None:
    at = min(at, len(words))
    argv = [*words[:at], f"--token={secret}", *words[at:]]
    shown, _ = redact_argv(argv)
    assert shown[at] == (f"--token={R}" if secret != R else argv[at])
    assert [*shown[:at], *shown[at + 1 :]] == words


@pytest.mark.parametrize(
    "part",
    ["password=", "token=$", "a://", "a://b:c/", "a://b:c@", "'token':", '"token":"', "x:", "sk-",
     "eyJ.", "bearer ", "--password '", '="', "-----BEGIN ", "\\\"token\\\":"],
)  # fmt: skip
def test_a_word_made_to_be_slow_to_read_is_not(part: str) -> None:
    """Each would take minutes if something in it were read again for each of its parts."""
    text = part * (32_000 // len(part))
    redact_argv(["x", text])
    redact_text(text)


def test_a_long_script_is_walked_in_one_go() -> None:
    text = "a=b; password=x; " * 5_000
    shown, count = redact_text(text)
    assert count == 5_000
    assert "password=x" not in shown
