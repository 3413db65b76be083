"""The inventory of a Pulumi stack, in runs of the real ansible-inventory: saved outputs, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils import _pulumi

from tests.unit.fixtures import ROOT

HOST = {
    "groups": ["edge", "app", "db"],
    "ipv4": "198.51.100.10",
    "ipv6": "2001:db8::10",
    "tailnet_host": "sapflux-1.tail1234.ts.net",
    "token": "[secret]",
}
OUTPUTS = {"hosts": {"sapflux-1": HOST}, "other": "[secret]"}
PULUMI = """#!{python}
import json, sys
arguments = sys.argv[1:]
open({log!r}, "a").write(json.dumps(arguments) + "\\n")
if "--stack" in arguments and arguments[arguments.index("--stack") + 1] == "nothing":
    print("error: no stack named 'nothing' found", file=sys.stderr)
    sys.exit(255)
print({outputs!r})
"""


def listed(folder: Path, name: str = "pulumi.yml", **options: Any) -> tuple[dict[str, Any], str]:
    """(what ansible-inventory lists, what it says besides)."""
    source = folder / name
    source.write_text(yaml.safe_dump({"plugin": "sapflux.hosting.pulumi", **options}), encoding="utf-8")
    (folder / "ansible.cfg").write_text("[inventory]\nenable_plugins = sapflux.hosting.pulumi\n", encoding="utf-8")
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(Path(sys.executable).parent / "ansible-inventory")
    done = subprocess.run(
        [program, "-i", str(source), "--list"], env=environment, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout or "{}"), done.stderr


def plain(value: Any) -> Any:
    """A value of the listing; a text that did not come from a person is marked there."""
    return value["__ansible_unsafe"] if isinstance(value, dict) and set(value) == {"__ansible_unsafe"} else value


def test_from_saved_outputs(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(OUTPUTS), encoding="utf-8")
    found, said = listed(
        tmp_path,
        file="outputs.json",
        compose={"seen": "pulumi_ipv4"},
        keyed_groups=[{"key": "pulumi_ipv6", "prefix": "at"}],
    )
    assert [found.get(group, said)["hosts"] for group in ("edge", "app", "db")] == [["sapflux-1"]] * 3
    variables = {key: plain(value) for key, value in found["_meta"]["hostvars"]["sapflux-1"].items()}
    assert variables["ansible_host"] == "sapflux-1.tail1234.ts.net"
    assert variables["sapflux_public_host"] == variables["public_ipv4"] == variables["seen"] == "198.51.100.10"
    assert variables["public_ipv6"] == "2001:db8::10"
    assert "[secret]" not in json.dumps(found)
    assert any(group.startswith("at_") for group in found)


def test_from_the_command_line(tmp_path: Path) -> None:
    program, log = tmp_path / "pulumi", tmp_path / "log"
    program.write_text(
        PULUMI.format(python=sys.executable, log=str(log), outputs=json.dumps(OUTPUTS)), encoding="utf-8"
    )
    program.chmod(0o755)
    found, said = listed(tmp_path, program=str(program), stack="me/hosting/production", cwd=str(tmp_path))
    assert found["edge"]["hosts"] == ["sapflux-1"], said
    (arguments,) = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert arguments == [
        *("stack", "output", "--json", "--non-interactive", "--cwd", str(tmp_path)),
        *("--stack", "me/hosting/production"),
    ]
    assert "--show-secrets" not in arguments
    with pytest.raises(_pulumi.PulumiError, match="refused: no stack named 'nothing' found; check the options stack"):
        _pulumi.asked(str(program), str(tmp_path), "nothing")


def test_errors_name_the_way_out(tmp_path: Path) -> None:
    _found, said = listed(tmp_path, file="nowhere.json")
    assert "nowhere.json cannot be read: No such file or directory; write it with `pulumi stack output" in " ".join(
        said.split()
    )
    with pytest.raises(
        _pulumi.PulumiError, match="there is no program pulumi-of-nobody; install Pulumi, or name a file"
    ):
        _pulumi.asked("pulumi-of-nobody", str(tmp_path), "")


@pytest.mark.parametrize(
    ("text", "says"),
    [("not JSON", "has no JSON in it"), ("[1]", "has no mapping of outputs")],
)
def test_what_is_no_output_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(_pulumi.PulumiError, match=says) as refused:
        _pulumi.saved(str(path))
    assert text not in str(refused.value)
    path.write_bytes(b"\xff")
    with pytest.raises(_pulumi.PulumiError, match="not UTF-8"):
        _pulumi.saved(str(path))


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"hosts": "[secret]"}, "is a secret"),
        ({"hosts": ["sapflux-1"]}, "is no mapping of hosts"),
        ({"hosts": {"sapflux-1": {}}}, "has no list of groups"),
        ({"hosts": {"sapflux-1": {"groups": [1]}}}, "has no list of groups"),
        ({"hosts": {"sapflux-1": "x"}}, "has no list of groups"),
    ],
)
def test_an_output_of_another_form_is_refused(outputs: dict[str, Any], says: str) -> None:
    with pytest.raises(_pulumi.PulumiError, match=says):
        _pulumi.hosts(outputs, "hosts")


def test_a_stack_that_is_not_up_has_no_hosts() -> None:
    assert _pulumi.hosts({}, "hosts") == {}


def test_without_a_tailnet_a_host_is_reached_at_its_address() -> None:
    host: dict[str, Any] = {"groups": [], "ipv4": "198.51.100.10", "ipv6": None, "tailnet_host": ""}
    assert _pulumi.hosts({"hosts": {"one": host}}, "hosts")["one"]["variables"]["ansible_host"] == "198.51.100.10"
    unknown = _pulumi.hosts({"hosts": {"one": {"groups": []}}}, "hosts")
    assert "ansible_host" not in unknown["one"]["variables"]
