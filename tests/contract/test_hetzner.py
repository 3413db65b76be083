"""Our requests to Hetzner, those of its own modules, and our double's answers keep to the published description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud import Hcloud, HcloudError
from ansible_collections.sapflux.hosting.plugins.modules import hcloud_drift, hcloud_shutdown

from tests.contract.proxy import Proxy
from tests.doubles.hetzner import PREFIX, hetzner
from tests.unit.fixtures import ROOT, SECRETS, document, put
from tests.unit.plugins.modules.hcloud_module import TOKEN, Runner, fill, wanted

SPEC = ("hetzner", PREFIX)
pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture
def runner(proxy: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(hcloud_drift, capsys, monkeypatch)
    made.port, made.through = proxy.upstream, proxy.url
    return made


def test_a_look_at_a_project(runner: Runner) -> None:
    with runner.double():
        assert runner(resources=wanted())["differences"] == []
        assert runner(resources=wanted(put("hetzner.servers[0].type", "cpx21")))["todo"]["resize"]
        assert runner(resources=wanted(put("hetzner.servers[0].name", "two")), strict=True)["todo"]["new_servers"]


def test_a_server_is_shut_down(runner: Runner) -> None:
    runner.module = hcloud_shutdown
    with runner.double() as double:
        double.polls = 1
        assert runner(name="sapflux-1")["status"] == "off"


def test_refusals(runner: Runner) -> None:
    """Errors keep to the description, too."""
    runner.module = hcloud_shutdown
    with runner.double() as double:
        double.tokens[TOKEN] = "read"
        assert "the token may only read" in runner.fails(name="sapflux-1")
        double.tokens[TOKEN] = "read-write"
        double.break_action("shutdown_server")
        assert "failed" in runner.fails(name="sapflux-1")
        double.tokens.clear()
        assert "it does not know the token" in runner.fails(name="sapflux-1")


def test_every_kind_is_made_and_changed(runner: Runner, proxy: Proxy) -> None:
    """What the double answers, asked without the modules between."""
    with runner.double(empty=True) as double:
        cloud = Hcloud(TOKEN, proxy.url, lambda _seconds: None)
        fill(cloud, wanted())
        server = f"/servers/{double.named('servers', 'sapflux-1')['id']}"
        double.named("servers", "sapflux-1")["protection"] = {"delete": False, "rebuild": False}
        cloud.act(f"{server}/actions/rebuild", {"image": "debian-12", "user_data": "x"})
        cloud.act(f"{server}/actions/enable_backup")
        cloud.act(f"{server}/actions/poweroff")
        cloud.act(f"{server}/actions/change_type", {"server_type": "cpx21", "upgrade_disk": False})
        cloud.act(f"{server}/actions/poweron")
        cloud.ask("PUT", server, body={"labels": {"a": "b"}})
        cloud.ask("GET", server)
        cloud.ask("DELETE", server)
        for kind in ("placement_groups", "firewalls", "networks", "ssh_keys"):
            for number in list(double.all(kind)):
                cloud.ask("PUT", f"/{kind}/{number}", body={"labels": {"a": "b"}})
                cloud.ask("GET", f"/{kind}/{number}")
        for number in list(double.all("primary_ips")):
            cloud.ask("PUT", f"/primary_ips/{number}", body={"auto_delete": False, "labels": {"a": "b"}})
        for kind in ("locations", "server_types", "images"):
            assert cloud.all(kind)


def play(folder: Path, endpoint: str, tasks: list[str], **variables: Any) -> str:
    """The role's tasks on a project, without the contact with a server that is none."""
    site = document(put("hetzner.endpoint", endpoint), put("secrets.file", str(folder / ".secrets.yml")))
    (folder / "group_vars" / "all").mkdir(parents=True, exist_ok=True)
    (folder / "group_vars" / "all" / "site.yml").write_text(yaml.safe_dump({"site": site}))
    (folder / ".secrets.yml").write_text(json.dumps({**SECRETS, "HCLOUD_TOKEN": TOKEN}))
    (folder / ".secrets.yml").chmod(0o600)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"localhost": local}}}))
    steps = [
        {"name": each, "ansible.builtin.include_role": {"name": "sapflux.hosting.hetzner", "tasks_from": each}}
        for each in tasks
    ]
    names = {"hetzner_known_hosts": str(folder / "known"), **variables}
    (folder / "play").mkdir(exist_ok=True)
    link = folder / "play" / "group_vars"
    if not link.exists():
        link.symlink_to(ROOT / "playbooks" / "group_vars")
    book = folder / "play" / "book.yml"
    book.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": names, "tasks": steps}]))
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
    }
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.yml"), str(book)]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output[-4000:]
    return output


def test_the_whole_life_through_hetzners_own_modules(proxy: Proxy, tmp_path: Path) -> None:
    """Made, resized, rebuilt, removed: what hetzner.hcloud sends, and what it is answered."""
    double = hetzner()
    double.tokens[TOKEN] = "read-write"
    with double.running(port=proxy.upstream):
        play(tmp_path, proxy.url, ["main"])
        server = double.named("servers", "sapflux-1")
        server["server_type"] = double.named("server_types", "cpx21")["id"]
        double.named("firewalls", "sapflux")["rules"].pop()
        server["firewalls"].clear()
        server["protection"] = {"delete": False, "rebuild": False}
        play(tmp_path, proxy.url, ["main", "resize", "rebuild"], hetzner_confirm="sapflux-1")
        play(tmp_path, proxy.url, ["teardown"], hetzner_confirm="sapflux")
    assert not any(double.names(kind) for kind in ("servers", "primary_ips", "firewalls", "networks", "ssh_keys"))


def test_an_answer_that_breaks_the_description_is_caught(runner: Runner, proxy: Proxy) -> None:
    """A double that is wrong in one field: the test of these tests."""
    with runner.double() as double:
        double.named("servers", "sapflux-1")["created"] = 7
        before = len(proxy.violations)
        assert "with 500" in runner.fails(resources=wanted())
        assert "VIOLATIONS" in proxy.more_violations(before)[0]


def test_a_request_that_breaks_the_description_is_caught(runner: Runner, proxy: Proxy) -> None:
    """A field that is missing never reaches the double."""
    with runner.double(empty=True) as double:
        before = len(proxy.violations)
        with pytest.raises(HcloudError, match="with 422"):
            Hcloud(TOKEN, proxy.url, lambda _seconds: None).ask("POST", "/networks", body={"name": "n"})
        assert double.writes() == []
        assert proxy.more_violations(before)


def test_everything_went_through_the_proxy(proxy: Proxy) -> None:
    """The last test of this file: how many requests were looked at."""
    print(f"{proxy.validated} requests validated, none broke the description unless it was meant to")
    assert proxy.validated >= 100
