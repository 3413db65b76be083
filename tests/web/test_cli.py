"""The command line against the real API, from a container beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bed import images
from tests.bed.shell import run
from tests.web.stack import Stack

PAYLOAD = '{"b":1.234567890123456789012345,  "a":["ü"]}'
OBSERVATION = f'{{"longitude":-60.2,"latitude":-3.1,"observed_at":"2026-03-01T12:00:00Z","payload":{PAYLOAD}}}'
BOX = "-61,-4,-60,-3"


@pytest.fixture
def home(stack: Stack) -> Iterator[str]:
    """A volume for the files of one person."""
    name = f"{stack.network}-home"
    run("docker", "volume", "create", name)
    yield name
    run("docker", "volume", "rm", "--force", name)


def test_an_observation_goes_in_and_comes_out(stack: Stack, home: str) -> None:
    code, said, error = stack.cli("login", stdin=stack.token(life=3600), home=home)
    assert code == 0, error
    assert said.startswith("signed in as user_1, for ")
    assert "kept in /home/sapflux/.config/sapflux/session.json" in said
    mode = ("run", "--rm", "--volume", f"{home}:/home/sapflux", "--entrypoint", "stat", images.build("cli"))
    assert run("docker", *mode, "--format", "%a", "/home/sapflux/.config/sapflux/session.json").stdout == b"600\n"

    code, said, error = stack.cli("put", "-", stdin=f"{OBSERVATION}\n{OBSERVATION}\n", home=home)
    assert code == 0, error
    first, second = (int(line) for line in said.splitlines())
    assert second == first + 1
    assert stack.cli("get", str(first), "--payload")[1] == f"{PAYLOAD}\n"
    feature = json.loads(stack.cli("get", str(first))[1])
    assert feature["geometry"]["coordinates"] == [-60.2, -3.1]
    size = len(PAYLOAD.encode())
    rows = stack.cli("list", "--bbox", BOX, "--format", "csv")[1].splitlines()
    assert rows == [
        "id,observed_at,longitude,latitude,payload_bytes",
        f"{second},2026-03-01T12:00:00Z,-60.2,-3.1,{size}",
        f"{first},2026-03-01T12:00:00Z,-60.2,-3.1,{size}",
    ]
    assert len(json.loads(stack.cli("list", "--bbox", BOX, "--format", "geojson")[1])["features"]) == 2
    code, said, error = stack.cli("list", "--bbox", BOX, "--limit", "1")
    assert (code, len(said.splitlines())) == (0, 2)
    assert "raise --limit" in error

    assert stack.cli("logout", home=home) == (0, "signed out\n", "")
    code, said, error = stack.cli("put", "-", stdin=OBSERVATION, home=home)
    assert (code, said) == (77, "")
    assert "sapflux login" in error


def test_what_was_stored_before_an_error_is_said(stack: Stack, home: str) -> None:
    stack.cli("login", stdin=stack.token(life=3600), home=home)
    bad = OBSERVATION.replace("-60.2", "200")
    code, said, error = stack.cli("put", "-", stdin=f"{OBSERVATION}{bad}{OBSERVATION}", home=home)
    assert (code, len(said.splitlines())) == (1, 1)
    assert "longitude 200" in error
    assert "1 of 3 are stored, number 2 is not" in error


def test_a_token_is_checked_before_it_is_kept(stack: Stack, home: str) -> None:
    for token, code, words in (
        (stack.token(life=-60), 77, "expired"),
        ("hunter2", 77, "not a JSON Web Token"),
        ("", 65, "is no token"),
        ("two words", 65, "is no token"),
    ):
        found, said, error = stack.cli("login", stdin=token, home=home)
        assert (found, said) == (code, ""), error
        assert words in error
        assert "hunter2" not in error
    assert stack.cli("logout", home=home)[1] == "there was no session\n"


def test_migrations_are_applied_once(stack: Stack) -> None:
    assert stack.cli("migrate") == (0, "nothing to apply\n", "")


def test_a_server_that_is_not_there_or_not_ours_is_said(stack: Stack) -> None:
    code, _, error = stack.cli("--api", "http://nowhere:1", "list")
    assert code == 69, error
    code, _, error = stack.cli("--api", "http://site:3000", "list")
    assert code == 1
    code, _, error = stack.cli("--api", "http://site:3000/api", "list", "--bbox", BOX)
    assert code == 0, error


def test_shells_and_the_manual_know_every_command(stack: Stack) -> None:
    commands = ("login", "logout", "whoami", "put", "get", "list", "migrate")
    for shell in ("bash", "zsh", "fish"):
        code, script, error = stack.cli("completions", shell)
        assert code == 0, error
        assert all(command in script for command in commands)
    run("bash", "-n", stdin=stack.cli("completions", "bash")[1].encode())
    page = stack.cli("man")[1]
    assert ".TH sapflux 1" in page
    assert all(f"sapflux\\-{command}(1)" in page for command in commands)
