"""References to secrets and the file they are kept in."""

from __future__ import annotations

import pathlib
import stat
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils._secrets import Reference, SecretError

SECRETS = {"A": "plain", "B": "p@ss/w:rd %20", "C": "{{ 7 * 7 }} ${A}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("$A ${A", []),
        ("${A}", [Reference("A", False)]),
        ("x${A:url}y${B}${A}", [Reference("A", True), Reference("B", False), Reference("A", False)]),
        ("${A:-default}", []),
        ("${a-b}", []),
    ],
)
def test_references(text: str, expected: list[Reference]) -> None:
    assert _secrets.references(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A} $$ $x {A}", []),
        ("${A", ["${A"]),
        ("${A:-default}", ["${A:-default}"]),
        ("${}", ["${}"]),
        ("${A:URL} ${A}", ["${A:URL}"]),
    ],
)
def test_malformed_references(text: str, expected: list[str]) -> None:
    assert _secrets.malformed(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${A}", "plain"),
        ("postgres://u:${B:url}@h", "postgres://u:p%40ss%2Fw%3Ard%20%2520@h"),
        ("${B}", SECRETS["B"]),
        # What a secret holds is not looked at again.
        ("${C}", SECRETS["C"]),
        ("$A costs $5", "$A costs $5"),
        ({"x": ["${A}", 1, None, True]}, {"x": ["plain", 1, None, True]}),
        (7, 7),
    ],
)
def test_resolve(value: Any, expected: Any) -> None:
    assert _secrets.resolve(value, SECRETS) == expected


def test_resolve_names_everything_that_is_missing_and_no_value() -> None:
    with pytest.raises(SecretError, match=r"the secret store has no X, Y; add them") as caught:
        _secrets.resolve({"a": "${A}${Y}", "b": ["${X}"]}, SECRETS)
    assert "plain" not in str(caught.value)


def store(folder: pathlib.Path, text: str, mode: int = 0o600) -> pathlib.Path:
    """A secrets file with that content and mode."""
    path = folder / "secrets.yml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440])
def test_tight_files_are_read(tmp_path: pathlib.Path, mode: int) -> None:
    path = store(tmp_path, '---\nA: "1"\nB: two\n', mode)
    assert _secrets.load("file", str(path)) == {"A": "1", "B": "two"}


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o601, 0o666, 0o700, 0o650])
def test_wide_files_are_refused_with_the_way_out(tmp_path: pathlib.Path, mode: int) -> None:
    path = store(tmp_path, 'A: "marker-value"\n', mode)
    with pytest.raises(SecretError) as caught:
        _secrets.read_file(str(path))
    assert f"has mode {mode:04o}" in str(caught.value)
    assert f"`chmod 0600 {path}`" in str(caught.value)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_missing_file_says_how_to_make_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SecretError, match=r"there is no secrets file .*; make it with `install -m 0600 /dev/null"):
        _secrets.read_file(str(tmp_path / "none.yml"))


def test_a_directory_is_no_file(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "secrets.yml"
    folder.mkdir(mode=0o600)
    with pytest.raises(SecretError, match=r"has mode|cannot be read"):
        _secrets.read_file(str(folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('A: "marker-value\n', "is not YAML at line"),
        ("A: [marker-value", "is not YAML at line"),
        ("- marker-value\n", "is not a mapping"),
        ("marker-value\n", "is not a mapping"),
        ("A: 1234567\nB: x\nC: true\n", "has values that are not text: A, C; put them in quotes"),
        ("A: null\n", "has values that are not text: A"),
        ("A-B: marker-value\n", "has names that are none: A-B"),
        ("1: marker-value\n", "has names that are none: 1"),
        ("A: !!python/object/apply:os.system [marker-value]\n", "is not YAML at line"),
    ],
)
def test_unfit_files_are_refused_without_showing_a_value(tmp_path: pathlib.Path, text: str, says: str) -> None:
    with pytest.raises(SecretError) as caught:
        _secrets.read_file(str(store(tmp_path, text)))
    assert says in str(caught.value)
    assert "marker-value" not in str(caught.value)
    assert "1234567" not in str(caught.value)


def test_an_empty_file_holds_nothing(tmp_path: pathlib.Path) -> None:
    assert _secrets.read_file(str(store(tmp_path, "---\n"))) == {}


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(SecretError, match="no secret provider 'vault'"):
        _secrets.load("vault", "/x")
