"""preflight finds the way in: over the tailnet, over the public address, or by neither."""

from __future__ import annotations

import json
import pathlib
import re
import time
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _preflight as preflight

from tests.unit.fixtures import document
from tests.unit.fixtures.playbook import Project, Result, write

PUBLIC, TAILNET = "192.0.2.1", "100.64.0.5"
# As in an inventory: by reference, which the action has to resolve.
VARIABLES = {"sapflux_tailnet_host": "{{ the_address }}", "the_address": TAILNET, "ansible_user": "ops"}
PREFLIGHT: dict[str, Any] = {"name": "look", "sapflux.hosting.preflight": {"admin_user": "ops"}}
SSH = """#!/bin/sh
host= timeout=
for word; do
    case $word in
    ServerAliveInterval=*) touch {calls}.alive ;;
    ConnectTimeout=*) timeout=${{timeout:-${{word#*=}}}} ;;
    {public}|{tailnet}) host=$word ;;
    esac
done
echo "$host $timeout" >>{calls}
case " {open} " in
*" $host "*) cat >/dev/null; echo '{answer}' ;;
*) echo "ssh: connect to host $host port 22: Connection timed out" >&2; exit 255 ;;
esac
"""


def answer(locked: bool) -> str:
    """What a good host says."""
    facts = {
        "distribution": "Debian",
        "distribution_version": "13.2",
        "distribution_major_version": "13",
        "sapflux": {
            "free_mb": dict.fromkeys(("/", "/var/lib/postgresql", "/var/lib/docker", "/tmp"), 9000),
            "lockdown": {"locked": True} if locked else {},
        },
    }
    said = {
        "facts": facts,
        "root": True,
        "time": time.time(),
        "python": "/usr/bin/python3",
        "python_version": [3, 13, 5],
    }
    return preflight.MARK + json.dumps(said)


class Scene:
    """One host that answers at some of its addresses; `calls` holds (address, ConnectTimeout) of every try."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.project = Project(folder, document())
        self.folder = folder
        self.calls: list[tuple[str, str]] = []

    def run(
        self, *opened: str, tasks: tuple[dict[str, Any], ...] = (PREFLIGHT,), locked: bool = False, **more: Any
    ) -> Result:
        """Run tasks on it."""
        ssh, log = self.folder / "ssh", self.folder / "calls"
        log.write_text("")
        ssh.write_text(
            SSH.format(public=PUBLIC, tailnet=TAILNET, calls=log, open=" ".join(opened), answer=answer(locked))
        )
        ssh.chmod(0o755)
        variables = {
            **VARIABLES,
            "ansible_ssh_executable": str(ssh),
            "ansible_ssh_args": "-o ConnectTimeout=10",
            **more,
        }
        result = self.project.run([{"hosts": "edge", "gather_facts": False, "vars": variables, "tasks": list(tasks)}])
        lines = log.read_text().splitlines()
        self.calls = [(line.split()[0], line.split()[1]) for line in lines if len(line.split()) == 2]
        return result


@pytest.fixture
def scene(tmp_path: pathlib.Path) -> Scene:
    """A host."""
    return Scene(tmp_path)


def later(scene: Scene) -> tuple[dict[str, Any], ...]:
    """The look, and what the tasks after it are given."""
    wanted = (
        "{'host': hostvars['sapflux-1']['ansible_host'], "
        "'public': hostvars['sapflux-1']['sapflux_public_host'] | default(''), "
        "'locked': ansible_facts['sapflux']['lockdown'].get('locked', false)}"
    )
    return (PREFLIGHT, write(scene.folder, wanted))


def test_a_locked_host_is_found_on_its_tailnet_in_one_try(scene: Scene) -> None:
    result = scene.run(TAILNET, tasks=later(scene), locked=True)
    assert result.code == 0, result.output
    assert scene.calls == [(TAILNET, "4")]
    assert result.out == {"host": TAILNET, "public": PUBLIC, "locked": True}
    # The connection is shared with later runs: it must end when the tailnet does, and not hold them up.
    assert (scene.folder / "calls.alive").exists()


def test_an_open_host_is_found_at_its_public_address_after_a_short_wait(scene: Scene) -> None:
    result = scene.run(PUBLIC, tasks=later(scene))
    assert result.code == 0, result.output
    assert scene.calls == [(TAILNET, "4"), (PUBLIC, "10")]
    assert result.out == {"host": PUBLIC, "public": "", "locked": False}


def test_a_host_that_is_known_to_be_open_is_tried_there_first(scene: Scene) -> None:
    cache = f"[defaults]\nfact_caching = ansible.builtin.jsonfile\nfact_caching_connection = {scene.folder}/cache\n"
    (scene.folder / "ansible.cfg").write_text(cache)
    assert scene.run(PUBLIC).code == 0
    assert scene.run(PUBLIC).code == 0
    assert scene.calls == [(PUBLIC, "4")]
    assert scene.run(TAILNET, locked=True).code == 0
    assert scene.calls == [(PUBLIC, "4"), (TAILNET, "10")]
    assert scene.run(TAILNET, locked=True).code == 0
    assert scene.calls == [(TAILNET, "4")]


def test_a_second_look_goes_where_the_first_one_ended(scene: Scene) -> None:
    result = scene.run(TAILNET, tasks=(PREFLIGHT, *later(scene)), locked=True)
    assert result.code == 0, result.output
    assert scene.calls == [(TAILNET, "4"), (TAILNET, "4")]
    assert result.out["public"] == PUBLIC


def test_a_host_without_a_tailnet_is_looked_for_as_ever(scene: Scene) -> None:
    result = scene.run(PUBLIC, sapflux_tailnet_host="")
    assert result.code == 0, result.output
    assert scene.calls == [(PUBLIC, "10")]


def test_a_host_that_answers_nowhere_is_named_with_both_addresses_and_the_way_out(scene: Scene) -> None:
    result = scene.run(ansible_ssh_retries=0)
    assert result.code == 4
    said = re.sub(r"\s+", " ", result.output)
    for line in (
        f"host sapflux-1 ({TAILNET}:22) does not answer SSH: Connection timed out",
        f"host sapflux-1 ({PUBLIC}:22) does not answer SSH: Connection timed out",
        "try again in three minutes, or run `lockdown open` at the provider's console",
    ):
        assert line in said
    assert [call[0] for call in scene.calls] == [TAILNET, PUBLIC]


@pytest.mark.parametrize(
    ("public", "tailnet", "state", "expected"),
    [
        (PUBLIC, "", None, [PUBLIC]),
        (None, "", None, [None]),
        (PUBLIC, TAILNET, None, [TAILNET, PUBLIC]),
        (PUBLIC, TAILNET, {"locked": True}, [TAILNET, PUBLIC]),
        (PUBLIC, TAILNET, {"locked": False}, [PUBLIC, TAILNET]),
        (PUBLIC, TAILNET, {}, [PUBLIC, TAILNET]),
        (TAILNET, TAILNET, None, [TAILNET]),
    ],
)
def test_the_address_that_is_more_likely_is_first(
    public: str | None, tailnet: str, state: dict[str, Any] | None, expected: list[str | None]
) -> None:
    assert preflight.places(public, tailnet, state) == expected
